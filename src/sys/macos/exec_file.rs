//! Files that are used by their descriptors, as far as macOS supports that: an anonymous file, and a checked program path.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// macOS has no descriptor that can only be executed.
pub(in super::super) const OPEN_FOR_EXEC: i32 = 0;

/// A file without a name: it is unlinked at once.
pub(in super::super) fn anonymous_file() -> io::Result<File> {
    let name = format!("stayd-handover-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _left_by_a_crash = fs::remove_file(&path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// execve(2) accepts only a path, so this checks immediately before the call that the path still leads to `file`.
pub(in super::super) fn executable_path(
    file: &File,
    _number: RawFd,
    path: &Path,
) -> io::Result<PathBuf> {
    let (opened, found) = (file.metadata()?, fs::metadata(path)?);
    if (opened.dev(), opened.ino()) == (found.dev(), found.ino()) {
        Ok(path.to_owned())
    } else {
        Err(io::Error::other(
            "another file has replaced the program in the meantime",
        ))
    }
}

/// Nothing to do: the process name is the file name of the program.
pub(in super::super) const fn restore_process_name() {}
