//! Descriptors and threads of other processes.
#![expect(unsafe_code, reason = "statx(2)")]

use super::super::process::{OpenFile, Thread};
use super::process::{gone, read_stat};
use std::ffi::CString;
use std::fs;
use std::io;

/// The open descriptors of `pid`, by number, with what readlink says; unreadable ones are left out.
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

pub(in super::super) fn holds_socket(pid: i32, inode: u64) -> io::Result<bool> {
    let target = format!("socket:[{inode}]");
    Ok(descriptors(pid)?.any(|file| file.target == target))
}

/// The numbers of the descriptors that are sockets.
pub(super) fn socket_numbers(pid: i32) -> io::Result<Vec<i32>> {
    let sockets = descriptors(pid)?.filter(|file| file.target.starts_with("socket:["));
    Ok(sockets.map(|file| file.fd).collect())
}

/// What readlink says comes from the kernel's name cache, and so does the inode in fdinfo: neither asks a file system.
/// Only a file whose inode fits is asked for its device, and that from what is cached (AT_STATX_DONT_SYNC).
pub(in super::super) fn holds_file(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    Ok(descriptors(pid)?.any(|file| {
        file.target.starts_with('/')
            && inode_in_fdinfo(pid, file.fd).is_none_or(|found| found == ino)
            && cached_identity(pid, file.fd) == Some((dev, ino))
    }))
}

/// None before Linux 5.14, which does not tell.
fn inode_in_fdinfo(pid: i32, fd: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("ino:"))?;
    line.trim().parse().ok()
}

fn cached_identity(pid: i32, fd: i32) -> Option<(u64, u64)> {
    let path = CString::new(format!("/proc/{pid}/fd/{fd}")).ok()?;
    // SAFETY: all-zero is a valid statx buffer; the path is a C string of ours.
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

pub(in super::super) fn threads(pid: i32, max: usize) -> io::Result<Vec<Thread>> {
    let entries = gone(fs::read_dir(format!("/proc/{pid}/task")))?;
    let tids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(tids.filter_map(|tid| thread(pid, tid)).take(max).collect())
}

fn thread(pid: i32, tid: i32) -> Option<Thread> {
    let dir = format!("/proc/{pid}/task/{tid}");
    let stat = read_stat(&format!("{dir}/stat")).ok()?;
    let word = |file: &str| {
        let text = fs::read_to_string(format!("{dir}/{file}")).ok()?;
        Some(text.split_ascii_whitespace().next()?.to_owned())
    };
    Some(Thread {
        tid,
        comm: stat.comm,
        state: stat.state,
        wchan: word("wchan").filter(|name| name != "0"),
        syscall: word("syscall").and_then(|number| number.parse().ok()),
    })
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

    #[test]
    fn our_own_threads_have_names_and_places() -> io::Result<()> {
        let threads = threads(pid(), 64)?;
        assert!(threads.iter().any(|thread| thread.tid == pid()));
        assert!(threads.iter().all(|thread| !thread.comm.is_empty()));
        assert_eq!(super::threads(pid(), 1)?.len(), 1);
        Ok(())
    }
}
