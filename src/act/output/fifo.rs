//! The FIFO of a life: its name, its owner, its ends.

use crate::act::claims::ClaimFile;
use crate::decide::event::Life;
use crate::sys::pipe;
use std::fs::{self, File, Metadata, OpenOptions};
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

/// All FIFOs in `folder` whose names begin with `prefix`, as claims say it; none where the folder cannot be read.
pub(super) fn identities(folder: &Path, prefix: &str) -> Vec<ClaimFile> {
    let is_ours = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(prefix));
        name.is_some_and(|name| life_of(name).is_some())
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let metas = entries
        .filter(is_ours)
        .filter_map(|entry| entry.metadata().ok());
    metas.map(|meta| identity(&meta)).collect()
}

/// What a claim says of it.
pub(super) fn identify(fifo: &File) -> io::Result<ClaimFile> {
    Ok(identity(&fifo.metadata()?))
}

fn identity(meta: &Metadata) -> ClaimFile {
    let made = meta
        .created()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let start_time = made
        .and_then(|age| u64::try_from(age.as_nanos()).ok())
        .unwrap_or(0);
    ClaimFile {
        dev: meta.dev(),
        inode: meta.ino(),
        created: start_time,
    }
}
