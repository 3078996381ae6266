//! The FIFO that carries an instance's output: its name, its creation, its ends and its identity.

use crate::act::claims::ClaimFile;
use crate::act::dirs::state_dir::create_folder;
use crate::decide::event::Life;
use crate::sys::pipe;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The file name of the FIFO of instance `life`.
pub(super) fn name(life: Life) -> String {
    format!("life-{}.fifo", life.0)
}

/// The number of the instance whose FIFO has this file name.
pub(super) fn life_of(name: &str) -> Option<u32> {
    name.strip_prefix("life-")?
        .strip_suffix(".fifo")?
        .parse()
        .ok()
}

/// Creates the FIFO, replacing an existing one, and gives it to `owner` (uid, gid) if that is not our user.
pub(super) fn create(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    pipe::make(path)?;
    match owner {
        // A service that opens /dev/stdout opens the FIFO again, so it needs the permission.
        Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

/// Opens a read end with O_NONBLOCK: neither the open nor a read waits.
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

/// Opens two blocking write ends, each with its own open file description. The caller holds a read end, so the open
/// does not wait.
pub(super) fn open_write_ends(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
    };
    Ok((open()?.into(), open()?.into()))
}

/// The identities of all instance FIFOs in `folder` whose names begin with `prefix`; empty if the folder cannot be
/// read.
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

/// The identity of the file at `path`, which is not followed if it is a symbolic link.
pub(super) fn identity_at(path: &Path) -> io::Result<ClaimFile> {
    Ok(identity(&fs::symlink_metadata(path)?))
}

/// Whether the file at `path`, which is not followed if it is a symbolic link, is `file`.
pub(super) fn is_at(path: &Path, file: ClaimFile) -> bool {
    identity_at(path).is_ok_and(|found| found == file)
}

/// A read end of the FIFO `file`, opened by the first of `names` that it has; none if it has none of them.
pub(super) fn open_first(names: &[PathBuf], file: ClaimFile) -> Option<File> {
    let mut readers = names.iter().filter_map(|name| open_reader(name).ok());
    readers.find(|reader| identify(reader).is_ok_and(|found| found == file))
}

/// Gives the FIFO at `source` a further name, in a folder that is created if it is missing. Replaces a file of that name.
pub(super) fn link(source: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::hard_link(source, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), create_folder)?;
            fs::hard_link(source, path)
        }
        linked => linked,
    }
}

/// The identity of the FIFO, as recorded in a claim.
pub(super) fn identify(fifo: &File) -> io::Result<ClaimFile> {
    Ok(identity(&fifo.metadata()?))
}

fn identity(meta: &Metadata) -> ClaimFile {
    let created = meta
        .created()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let created = created
        .and_then(|since_1970| u64::try_from(since_1970.as_nanos()).ok())
        .unwrap_or(0);
    ClaimFile {
        dev: meta.dev(),
        inode: meta.ino(),
        created,
    }
}
