//! Removes the state folder of a stayd that does not run.

use super::state_dir::StateDir;
use crate::sys::lock;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};

/// The entries of a state folder, except those of the journal. `run` stands in for a runtime folder that cannot be used.
const ENTRIES: [&str; 6] = ["lock", "control.sock", "claims", "logs", "runtime", "run"];
/// The names of the journal, of its files beside it and of damaged ones begin with this.
const JOURNAL: &str = "journal.db";

/// Why a state folder is not removed, or not completely.
#[derive(Debug)]
pub enum RemovalError {
    /// It is no folder, or no stayd has ever used it.
    NotAStateFolder,
    /// A stayd uses it; its pid, 0 if that is not known.
    Held(i32),
    /// It contains something that is not of stayd. Nothing was removed.
    ForeignEntry(PathBuf),
    /// The system's error.
    System(io::Error),
}

impl From<io::Error> for RemovalError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Removes the state folder `root` with all that stayd has put into it. Holds the lock meanwhile, so that no stayd starts.
///
/// # Errors
/// See [`RemovalError`]. A symbolic link in the place of the folder is [`RemovalError::NotAStateFolder`].
pub fn remove_state(root: &Path) -> Result<(), RemovalError> {
    let is_folder = fs::symlink_metadata(root)?.is_dir();
    let lock = StateDir::lock_below(root);
    if !is_folder || !fs::symlink_metadata(&lock).is_ok_and(|found| found.is_file()) {
        return Err(RemovalError::NotAStateFolder);
    }
    let _held: File = lock::take(&lock)?.map_err(RemovalError::Held)?;
    let entries: Vec<DirEntry> = fs::read_dir(root)?.collect::<io::Result<_>>()?;
    if let Some(foreign) = entries.iter().find(|entry| !is_ours(&entry.file_name())) {
        return Err(RemovalError::ForeignEntry(foreign.path()));
    }
    Ok(fs::remove_dir_all(root)?)
}

fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ENTRIES.contains(&name.as_ref()) || name.starts_with(JOURNAL)
}

#[cfg(test)]
mod tests {
    use super::{RemovalError, remove_state};
    use crate::act::dirs::state_dir::StateDir;
    use crate::sys::{identity, lock};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_state_folder_that_no_stayd_uses_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("state");
        StateDir::open(&root, None).expect("a state folder");
        let refused = || remove_state(&root).expect_err("it stays");
        assert!(
            matches!(refused(), RemovalError::NotAStateFolder),
            "it has no lock"
        );
        let held = lock::take(&StateDir::lock_below(&root)).expect("locked");
        let own = identity::pid();
        assert!(matches!(refused(), RemovalError::Held(pid) if pid == own));
        drop(held);
        fs::write(root.join("journal.db-wal"), "").expect("written");
        fs::write(root.join("thesis.tex"), "").expect("written");
        assert!(
            matches!(refused(), RemovalError::ForeignEntry(path) if path == root.join("thesis.tex"))
        );
        assert!(root.join("journal.db-wal").exists(), "nothing is removed");
        fs::remove_file(root.join("thesis.tex")).expect("removed");
        let link = folder.path().join("link");
        symlink(&root, &link).expect("a link");
        assert!(matches!(
            remove_state(&link),
            Err(RemovalError::NotAStateFolder)
        ));
        remove_state(&root).expect("removed");
        assert!(!root.exists());
    }
}
