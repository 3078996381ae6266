//! Files known by their descriptors alone, as far as there is such a thing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// There is no descriptor that can only be executed.
pub(in super::super) const OPEN_TO_EXECUTE: i32 = 0;

/// A file that nobody else finds: its name goes at once.
pub(in super::super) fn nameless_file() -> io::Result<File> {
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

/// execve(2) takes a path alone, so it is looked at in the last moment whether that still leads to `file`.
pub(in super::super) fn path_of_program(
    file: &File,
    _number: RawFd,
    path: &Path,
) -> io::Result<PathBuf> {
    let (ours, there) = (file.metadata()?, fs::metadata(path)?);
    if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
        Ok(path.to_owned())
    } else {
        Err(io::Error::other("the file was replaced meanwhile"))
    }
}

/// A process goes by the name of its file already.
pub(in super::super) const fn go_by_the_name_of_our_file() {}
