//! Open descriptors of other processes, from /proc/PID/fd.
#![expect(unsafe_code, reason = "statx(2)")]

use super::super::process::OpenFile;
use super::pipe::MARK;
use super::process::gone;
use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::io;

/// The largest number of descriptors of one process that are searched for a file. A process can have a million.
const SEARCHED_MAX: usize = 1024;

/// The open descriptors of `pid` with their readlink targets; unreadable ones are skipped.
fn descriptors(pid: i32) -> io::Result<impl Iterator<Item = OpenFile>> {
    let entries = gone(fs::read_dir(format!("/proc/{pid}/fd")))?;
    Ok(entries.flatten().filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        Some(OpenFile {
            fd,
            target: target.to_string_lossy().into_owned(),
        })
    }))
}

pub(in super::super) fn open_files(pid: i32, max: usize) -> io::Result<Vec<OpenFile>> {
    Ok(descriptors(pid)?.take(max).collect())
}

/// Linux 6.2 counts the descriptors in one step; before that each is listed.
pub(in super::super) fn open_file_count(pid: i32, max: usize) -> io::Result<usize> {
    let list = format!("/proc/{pid}/fd");
    match gone(fs::metadata(&list))?.len() {
        0 => Ok(gone(fs::read_dir(list))?.take(max).count()),
        count => Ok(usize::try_from(count).unwrap_or(usize::MAX).min(max)),
    }
}

/// The inodes among `wanted` that belong to sockets which `pid` has open. Stops reading when it has found all.
pub(super) fn sockets_among(
    pid: i32,
    wanted: impl Iterator<Item = u64>,
) -> io::Result<HashSet<u64>> {
    let mut missing: HashSet<u64> = wanted.collect();
    let mut found = HashSet::new();
    for file in descriptors(pid)? {
        let inode = socket_inode(&file.target).filter(|inode| missing.remove(inode));
        found.extend(inode);
        if missing.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// The inode in `socket:[inode]`, the readlink target of a socket.
fn socket_inode(target: &str) -> Option<u64> {
    let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// The numbers of the descriptors of `pid` that are sockets.
pub(super) fn socket_numbers(pid: i32) -> io::Result<Vec<i32>> {
    let sockets = descriptors(pid)?.filter(|file| file.target.starts_with("socket:["));
    Ok(sockets.map(|file| file.fd).collect())
}

/// The readlink target and the inode in fdinfo come from the kernel's caches: neither accesses a file system. Only for a file
/// with a matching inode the device is read, also from the cache (AT_STATX_DONT_SYNC).
pub(in super::super) fn holds_file(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    Ok(descriptors(pid)?.take(SEARCHED_MAX).any(|file| {
        file.target.starts_with('/')
            && inode_in_fdinfo(pid, file.fd).is_none_or(|found| found == ino)
            && cached_identity(pid, file.fd) == Some((dev, ino))
    }))
}

/// Whether descriptor `number` of `pid` is the file `dev`:`ino` and has the mark of an inherited descriptor. Reads that
/// descriptor only.
pub(in super::super) fn is_marked(pid: i32, number: i32, dev: u64, ino: u64) -> io::Result<bool> {
    let info = match gone(fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        info => info?,
    };
    // proc(5): the flags of the open file, in octal
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    let is_marked = flags.is_some_and(|flags| flags & MARK.bits() != 0);
    Ok(is_marked && cached_identity(pid, number) == Some((dev, ino)))
}

/// The inode of a descriptor from fdinfo; none before Linux 5.14, which does not report it.
fn inode_in_fdinfo(pid: i32, fd: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("ino:"))?;
    line.trim().parse().ok()
}

fn cached_identity(pid: i32, fd: i32) -> Option<(u64, u64)> {
    let path = CString::new(format!("/proc/{pid}/fd/{fd}")).ok()?;
    // SAFETY: an all-zero statx buffer is valid, and the path is a C string that outlives the call.
    unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        let result = libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_STATX_DONT_SYNC,
            libc::STATX_INO,
            &raw mut found,
        );
        let dev = libc::makedev(found.stx_dev_major, found.stx_dev_minor);
        (result == 0).then_some((dev, found.stx_ino))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::pid;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn an_open_file_is_found_and_a_closed_one_is_not() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        let meta = file.metadata()?;
        assert!(holds_file(pid(), meta.dev(), meta.ino())?);
        assert!(!holds_file(pid(), meta.dev() + 1, meta.ino())?);
        let (dev, ino) = (meta.dev(), meta.ino());
        let other = tempfile::NamedTempFile::new()?;
        drop(file);
        assert_ne!(other.as_file().metadata()?.ino(), ino);
        assert!(!holds_file(pid(), dev, ino)?);
        Ok(())
    }
}
