//! A program file: found once, and executed as the very file that was looked at.

use super::imp;
use std::ffi::{CString, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What Linux puts behind the path of a program whose file was replaced (proc(5), exe).
const DELETED: &[u8] = b" (deleted)";

/// How a script begins (execve(2)).
const SCRIPT: &[u8] = b"#!";

/// An open program file; whatever happens to its path, it stays this file.
#[derive(Debug)]
pub struct Program {
    file: File,
    path: PathBuf,
}

impl Program {
    /// Opens the program at `path`, following links.
    ///
    /// # Errors
    /// `NotFound` and the like; `InvalidInput` where it is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(imp::OPEN_TO_EXECUTE)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Owner, mode, identity.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Whether it is a script: its interpreter would be executed in its place, and be given a path that is gone by then.
    ///
    /// # Errors
    /// It cannot be opened to be read.
    pub fn is_script(&self) -> io::Result<bool> {
        let mut head = [0; SCRIPT.len()];
        let path = imp::path_of_program(&self.file, self.file.as_raw_fd(), &self.path)?;
        let read = File::open(path)?.read(&mut head)?;
        Ok(&head[..read] == SCRIPT)
    }

    /// Under which path a child that has this descriptor as `number` executes it, and the descriptor to give it.
    ///
    /// # Errors
    /// No descriptor is left, or the path leads to another file by now.
    pub fn for_a_child(&self, number: RawFd) -> io::Result<(PathBuf, OwnedFd)> {
        let fd = OwnedFd::from(self.file.try_clone()?);
        Ok((imp::path_of_program(&self.file, number, &self.path)?, fd))
    }

    pub(super) fn path_to_execute(&self) -> io::Result<CString> {
        let path = imp::path_of_program(&self.file, self.file.as_raw_fd(), &self.path)?;
        CString::new(path.into_os_string().into_vec()).map_err(io::Error::other)
    }
}

/// Where this very program is found by whoever wants its next version: as it was called, where that is a path or leads
/// through PATH to the file that runs (a link that is moved to the next version stays right); else where its file is.
/// Absolute. Ask at the start: later the file may have another name.
///
/// # Errors
/// The system does not tell where its file is.
pub fn installed_at(
    called: Option<OsString>,
    search: Option<&OsString>,
    here: &Path,
) -> io::Result<PathBuf> {
    let running = std::fs::metadata(super::identity::own_program()?)?;
    let is_it = |path: &PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (running.dev(), running.ino()))
    };
    let called = called.unwrap_or_default();
    let candidates: Vec<PathBuf> = if called.as_bytes().contains(&b'/') {
        vec![here.join(&called)]
    } else {
        let folders = search.map(std::env::split_paths);
        let folders = folders.into_iter().flatten();
        folders
            .map(|folder| here.join(folder).join(&called))
            .collect()
    };
    match candidates.into_iter().find(is_it) {
        Some(path) => Ok(path.components().collect()),
        None => Ok(without_mark(std::env::current_exe()?)),
    }
}

fn without_mark(path: PathBuf) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    match bytes.strip_suffix(DELETED) {
        Some(before) => OsString::from_vec(before.to_vec()).into(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::{Program, installed_at, without_mark};
    use std::io;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};

    #[test]
    fn a_link_that_leads_to_us_is_where_we_are_installed() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let link = folder.path().join("stayd");
        let ours = std::env::current_exe()?;
        std::os::unix::fs::symlink(&ours, &link)?;
        let search = Some(folder.path().as_os_str().to_owned());
        let found =
            |called: &str, here: &Path| installed_at(Some(called.into()), search.as_ref(), here);
        assert_eq!(found("stayd", Path::new("/"))?, link);
        assert_eq!(found("./stayd", folder.path())?, link);
        assert_eq!(found("sh", Path::new("/"))?, ours);
        assert_eq!(without_mark("/a/b (deleted)".into()), PathBuf::from("/a/b"));
        Ok(())
    }

    #[test]
    fn a_program_stays_the_file_that_was_opened() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("program");
        std::fs::write(&path, "one")?;
        let program = Program::open(&path)?;
        std::fs::write(folder.path().join("next"), "two")?;
        std::fs::rename(folder.path().join("next"), &path)?;
        assert_ne!(program.metadata()?.ino(), std::fs::metadata(&path)?.ino());
        assert!(Program::open(folder.path()).is_err());
        Ok(())
    }
}
