//! Where an instance keeps what outlives it: the layout of STATE, and why a folder is refused.

use super::runtime_dir;
use crate::sys::identity;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of STATE and of every folder in it.
pub const DIR_MODE: u32 = 0o700;
/// Mode of every file in it.
pub const FILE_MODE: u32 = 0o600;
/// Mode bits by which others than the owner write.
const OTHERS_WRITE: u32 = 0o022;
/// Mode bits by which others pass through a folder whose names they know.
const OTHERS_SEARCH: u32 = 0o011;

/// An instance's state folder, checked; the folders in it exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
    runtime: Option<PathBuf>,
}

/// Why the folder is not used.
#[derive(Debug)]
pub enum StateDirError {
    /// The system refused a step: (what was tried, where, its answer).
    System(&'static str, PathBuf, io::Error),
    /// Somebody else owns it.
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others could plant claims or logs in it.
    OthersMayWrite(PathBuf),
    /// Others could plant sockets in the runtime folder, in words.
    Runtime(io::Error),
}

impl std::fmt::Display for StateDirError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System(step, path, error) => write!(
                out,
                "cannot {step} {}: {error}; name another folder with --state-dir",
                path.display()
            ),
            Self::Foreign { path, owner } => write!(
                out,
                "cannot use {}: it belongs to user {owner}; name another folder with --state-dir",
                path.display()
            ),
            Self::OthersMayWrite(path) => write!(
                out,
                "cannot use {0}: other users can write it; run chmod 700 {0} when you know what is in it",
                path.display()
            ),
            Self::Runtime(error) => write!(out, "{error}"),
        }
    }
}

impl std::error::Error for StateDirError {}

impl StateDir {
    /// Makes `root` and its folders where they are missing, and checks that they are ours alone. A folder of
    /// ours that others can only read is tightened to 0700. `runtime` is where things go that `root` cannot
    /// take (a FIFO on a disk that is full or knows none); it is used when it is there.
    ///
    /// # Errors
    /// When it cannot be made, belongs to somebody else, or others can write it; the same of `runtime`, if it is there.
    pub fn open(root: &Path, runtime: Option<&Path>) -> Result<Self, StateDirError> {
        let state = Self {
            root: root.to_owned(),
            runtime: runtime.map(Path::to_owned),
        };
        secure(root)?;
        for folder in [state.claims(), state.logs()] {
            secure(&folder)?;
        }
        if let Some(runtime) = runtime {
            runtime_dir::check(runtime).map_err(StateDirError::Runtime)?;
        }
        Ok(state)
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held for life; says our pid.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The control socket, where the path is short enough for one.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The folder of the claims.
    #[must_use]
    pub fn claims(&self) -> PathBuf {
        Self::claims_below(&self.root)
    }

    /// The folder of the claims of an instance that keeps its state in `root`.
    #[must_use]
    pub fn claims_below(root: &Path) -> PathBuf {
        root.join("claims")
    }

    /// The folder of all captured output.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The folder of one service's captured output.
    #[must_use]
    pub fn service_logs(&self, service: &str) -> PathBuf {
        self.logs().join(service)
    }

    /// The journal's database.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.db")
    }

    /// Where a life's FIFO may be, in the order to try.
    #[must_use]
    pub fn fifo_places(&self, service: &str, name: &str) -> Vec<PathBuf> {
        let folders = self.fifo_folders(service).into_iter();
        folders
            .map(|(folder, prefix)| folder.join(format!("{prefix}{name}")))
            .collect()
    }

    /// The folders that FIFOs of a service may be in, and how their names begin there.
    #[must_use]
    pub fn fifo_folders(&self, service: &str) -> Vec<(PathBuf, String)> {
        let beside_the_logs = (self.service_logs(service), String::new());
        let elsewhere = self.runtime.clone().map(|dir| (dir, format!("{service}.")));
        [beside_the_logs].into_iter().chain(elsewhere).collect()
    }
}

/// Makes `path` a folder of ours alone, or says why it is not one.
fn secure(path: &Path) -> Result<(), StateDirError> {
    make_folder(path)
        .map_err(|error| StateDirError::System("make the folder", path.to_owned(), error))?;
    let meta = fs::metadata(path)
        .map_err(|error| StateDirError::System("look at", path.to_owned(), error))?;
    check(path, &meta)?;
    // A service of another user may search its way to its runtime.
    if [DIR_MODE, DIR_MODE | OTHERS_SEARCH].contains(&(meta.mode() & 0o777)) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(DIR_MODE))
        .map_err(|error| StateDirError::System("close to others", path.to_owned(), error))
}

/// Makes a folder, and those above it, for the owner alone; there already is success.
///
/// # Errors
/// What mkdir(2) says.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
}

fn check(path: &Path, meta: &Metadata) -> Result<(), StateDirError> {
    if meta.uid() != identity::euid() {
        return Err(StateDirError::Foreign {
            path: path.to_owned(),
            owner: meta.uid(),
        });
    }
    if meta.mode() & OTHERS_WRITE != 0 {
        return Err(StateDirError::OthersMayWrite(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).expect("folder").mode() & 0o777
    }

    #[test]
    fn a_new_folder_is_ours_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let root = dir.path().join("a/b");
        let state = StateDir::open(&root, None).expect("opens");
        assert_eq!(mode_of(&root), DIR_MODE);
        assert_eq!(mode_of(&state.claims()), DIR_MODE);
        assert_eq!(mode_of(&state.logs()), DIR_MODE);
    }

    #[test]
    fn a_readable_folder_is_tightened_and_a_writable_one_refused() {
        let dir = tempfile::tempdir().expect("folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        StateDir::open(dir.path(), None).expect("opens");
        assert_eq!(mode_of(dir.path()), DIR_MODE);

        fs::set_permissions(dir.path(), Permissions::from_mode(0o770)).expect("chmod");
        let error = StateDir::open(dir.path(), None).expect_err("refused");
        assert!(error.to_string().contains("chmod 700"), "{error}");
        fs::set_permissions(dir.path(), Permissions::from_mode(DIR_MODE)).expect("chmod");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("taken");
        fs::write(&path, "").expect("write");
        let error = StateDir::open(&path, None).expect_err("refused");
        assert!(error.to_string().contains("--state-dir"), "{error}");
    }
}
