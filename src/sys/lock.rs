//! The instance lock.

use std::fs::File;
use std::io;
use std::path::Path;

/// Takes the lock on `path` (flock, CLOEXEC), creating the file 0600, and writes our pid into it.
///
/// # Errors
/// `Ok(Err(pid))` names the holder (0 when it left no number); `Err` is the system's refusal.
pub fn take(_path: &Path) -> io::Result<Result<File, i32>> {
    unimplemented!()
}
