//! The lock file that ensures one stayd per instance, and the holder of a lock in a file of another program.

use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// How often to open the lock file anew when another process keeps replacing it.
const ATTEMPTS_MAX: usize = 8;

/// Takes the lock on `path` (flock, CLOEXEC) and writes the pid of this process into the file, which is created with mode
/// 0600 if needed.
///
/// The lock is held until the returned `File` is dropped; the file itself is not removed.
///
/// # Errors
/// `Ok(Err(pid))` when another process holds the lock (0 when the file contains no pid); `Err` for an error of the system.
pub fn take(path: &Path) -> io::Result<Result<File, i32>> {
    for _ in 0..ATTEMPTS_MAX {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_still_at(&file, path)? {
            write_pid(&mut file)?;
            return Ok(Ok(file));
        }
    }
    Err(io::Error::other(
        "another process keeps replacing the lock file",
    ))
}

/// A process that holds a record lock (fcntl(2), F_SETLK) in the `length` bytes from `start` of `file`, a lock that would
/// keep another one from writing; none where no process does, or where the kernel does not name it (open file description
/// locks, another pid namespace).
///
/// # Errors
/// The system's error.
pub fn record_lock_holder(file: &File, start: i64, length: i64) -> io::Result<Option<i32>> {
    let mut lock = libc::flock {
        l_type: record_lock_kind(libc::F_WRLCK),
        l_whence: record_lock_kind(libc::SEEK_SET),
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    let is_held = lock.l_type != record_lock_kind(libc::F_UNLCK);
    Ok(Some(lock.l_pid).filter(|pid| is_held && *pid > 0))
}

/// Linux declares these constants as int and the fields as short; macOS declares both as short.
fn record_lock_kind(kind: impl Into<i32>) -> libc::c_short {
    libc::c_short::try_from(kind.into()).unwrap_or_default()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn holder(file: &mut File) -> i32 {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    read.ok()
        .and_then(|_| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Whether `path` still names this open file. Another process may unlink the lock file, and a lock on an unlinked file
/// protects nothing.
///
/// # Errors
/// The system's error; a path that does not exist is `false`.
pub fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::take;
    use std::io;

    #[test]
    fn a_second_attempt_returns_the_pid_of_the_holder() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let first = take(&path)?.expect("free");
        assert_eq!(take(&path)?.expect_err("held"), crate::sys::identity::pid());
        drop(first);
        assert!(take(&path)?.is_ok());
        Ok(())
    }

    #[test]
    fn a_lock_on_an_unlinked_file_does_not_block_a_new_one() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let _first = take(&path)?.expect("free");
        std::fs::remove_file(&path)?;
        assert!(take(&path)?.is_ok());
        Ok(())
    }

    #[test]
    fn a_symbolic_link_as_lock_file_is_refused() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path)?;
        assert!(take(&path).is_err());
        Ok(())
    }
}
