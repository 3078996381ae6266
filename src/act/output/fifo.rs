//! The FIFO of a life: its name, its owner, its ends.

use crate::act::claim::ClaimFile;
use crate::decide::event::Life;
use crate::sys::pipe;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

pub(super) fn name(life: Life) -> String {
    format!("life-{}.fifo", life.0)
}

pub(super) fn life_of(name: &str) -> Option<u32> {
    name.strip_prefix("life-")?
        .strip_suffix(".fifo")?
        .parse()
        .ok()
}

/// Makes the FIFO anew and gives it to `owner` (uid, gid), when that is not us.
pub(super) fn make(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    pipe::make(path)?;
    match owner {
        // So that /dev/stdout can be opened again by the service.
        Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

/// A read end that never waits: neither for a writer to come nor for bytes.
pub(super) fn open_reader(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)?;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("not a FIFO"));
    }
    Ok(file)
}

/// Two blocking write ends, each opened for itself. A read end is open, so neither open waits.
pub(super) fn open_ends(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
    };
    Ok((open()?.into(), open()?.into()))
}

/// What a claim says of it.
pub(super) fn identify(fifo: &File) -> io::Result<ClaimFile> {
    let meta = fifo.metadata()?;
    let made = meta
        .created()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let birth = made
        .and_then(|age| u64::try_from(age.as_nanos()).ok())
        .unwrap_or(0);
    Ok(ClaimFile {
        dev: meta.dev(),
        inode: meta.ino(),
        birth,
    })
}
