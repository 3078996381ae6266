//! An executable file that is opened once, checked, and then executed as exactly that file.

use super::platform;
use std::ffi::{CString, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Linux appends this to the path of a program whose file was replaced (proc(5), exe).
const DELETED_MARK: &[u8] = b" (deleted)";

/// The first bytes of a script (execve(2)).
const SCRIPT_MARK: &[u8] = b"#!";

/// An open program file. It remains the same file when another one replaces it under its path.
#[derive(Debug)]
pub struct Program {
    file: File,
    path: PathBuf,
}

impl Program {
    /// Opens the program at `path`, following links.
    ///
    /// # Errors
    /// The error of open(2); `InvalidInput` when it is not a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(platform::OPEN_FOR_EXEC)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// The path under which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its owner, mode, device and inode.
    ///
    /// # Errors
    /// The error of fstat(2).
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Whether it is a script. The kernel would execute its interpreter instead, with a path that no longer exists by then.
    ///
    /// # Errors
    /// It cannot be opened for reading.
    pub fn is_script(&self) -> io::Result<bool> {
        let mut head = [0; SCRIPT_MARK.len()];
        let path = platform::executable_path(&self.file, self.file.as_raw_fd(), &self.path)?;
        let read = File::open(path)?.read(&mut head)?;
        Ok(&head[..read] == SCRIPT_MARK)
    }

    /// A descriptor for a child, and the path under which the child executes the file when it has that descriptor as
    /// `number`.
    ///
    /// # Errors
    /// No descriptor is available, or (macOS) the path names another file by now.
    pub fn for_child(&self, number: RawFd) -> io::Result<(PathBuf, OwnedFd)> {
        let fd = OwnedFd::from(self.file.try_clone()?);
        Ok((
            platform::executable_path(&self.file, number, &self.path)?,
            fd,
        ))
    }

    pub(super) fn path_to_execute(&self) -> io::Result<CString> {
        let path = platform::executable_path(&self.file, self.file.as_raw_fd(), &self.path)?;
        CString::new(path.into_os_string().into_vec()).map_err(io::Error::other)
    }
}

/// The absolute path at which the next version of the running program will be installed.
///
/// This is the path by which the program was called, directly or through PATH, if it leads to the running file: a symbolic
/// link that is moved to the next version stays valid. Otherwise it is the path of the file itself. Call it at the start,
/// because the file may be renamed later.
///
/// `called` is argv\[0\], `search` the value of PATH, `here` the working directory.
///
/// # Errors
/// The system does not report the path of the running file.
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
        None => Ok(strip_deleted_mark(std::env::current_exe()?)),
    }
}

fn strip_deleted_mark(path: PathBuf) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    match bytes.strip_suffix(DELETED_MARK) {
        Some(before) => OsString::from_vec(before.to_vec()).into(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::{Program, installed_at, strip_deleted_mark};
    use std::io;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};

    #[test]
    fn a_symbolic_link_to_the_running_program_is_its_install_path() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let link = folder.path().join("stayd");
        let running = std::env::current_exe()?;
        std::os::unix::fs::symlink(&running, &link)?;
        let search = Some(folder.path().as_os_str().to_owned());
        let found =
            |called: &str, here: &Path| installed_at(Some(called.into()), search.as_ref(), here);
        assert_eq!(found("stayd", Path::new("/"))?, link);
        assert_eq!(found("./stayd", folder.path())?, link);
        assert_eq!(found("sh", Path::new("/"))?, running);
        assert_eq!(
            strip_deleted_mark("/a/b (deleted)".into()),
            PathBuf::from("/a/b")
        );
        Ok(())
    }

    #[test]
    fn a_program_remains_the_file_that_was_opened() -> io::Result<()> {
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
