//! The instance lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A lock file that is replaced this often while we look at it is somebody's mistake.
const TRIES: usize = 8;

/// Takes the lock on `path` (flock, CLOEXEC), creating the file 0600, and writes our pid into it.
///
/// The lock is held for as long as the `File` lives; the file stays when it ends.
///
/// # Errors
/// `Ok(Err(pid))` names the holder (0 when it left no number); `Err` is the system's refusal.
pub fn take(path: &Path) -> io::Result<Result<File, i32>> {
    for _ in 0..TRIES {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_still_at(&file, path)? {
            sign(&mut file)?;
            return Ok(Ok(file));
        }
    }
    Err(io::Error::other(
        "the lock file is replaced again and again",
    ))
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

/// Whether `path` leads to this file. Somebody may unlink it at any time, and a lock that nobody finds protects nothing.
///
/// # Errors
/// The system's refusal; a path that leads nowhere is `false`.
pub fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::take;
    use std::io;

    #[test]
    fn the_second_taker_is_told_who_holds_it() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let first = take(&path)?.expect("free");
        assert_eq!(take(&path)?.expect_err("held"), crate::sys::identity::pid());
        drop(first);
        assert!(take(&path)?.is_ok());
        Ok(())
    }

    #[test]
    fn a_lock_on_an_unlinked_file_keeps_nobody_out() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let _first = take(&path)?.expect("free");
        std::fs::remove_file(&path)?;
        assert!(take(&path)?.is_ok());
        Ok(())
    }

    #[test]
    fn a_symbolic_link_is_refused() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path)?;
        assert!(take(&path).is_err());
        Ok(())
    }
}
