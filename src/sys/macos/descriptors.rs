//! Open descriptors of other processes, by libproc. Never run on a Mac yet.
//!
//! The libc crate lacks some of the structures, so they are read by offset. The compiler calculated the offsets from
//! Apple's sys/proc_info.h; they are the same on arm64 and x86_64.
#![expect(unsafe_code, reason = "libproc")]

use super::super::process::OpenFile;
use super::proc_info::gone;
use std::ffi::{CStr, c_int};
use std::io;

const VNODE_PATH_INFO: c_int = 2; // PROC_PIDFDVNODEPATHINFO
const VNODE_BYTES: usize = 1200; // struct vnode_fdinfowithpath
/// The largest number of descriptors of one process that are searched for a file.
const SEARCHED_MAX: usize = 1024;
/// The flags of the open file, as the kernel has them (sys/fcntl.h: FREAD, FWRITE, FAPPEND).
const OPEN_FLAGS: usize = 0;
const READ: u32 = 1;
const WRITE: u32 = 2;
const VNODE_DEV: usize = 24;
const VNODE_INO: usize = 32;
const VNODE_PATH: usize = 176;

/// The open descriptors of `pid`, each with its number and type.
pub(super) fn descriptors(pid: i32) -> io::Result<Vec<libc::proc_fdinfo>> {
    // SAFETY: without a buffer the call only returns the number of bytes that it needs.
    let wanted =
        unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, std::ptr::null_mut(), 0) };
    let each = size_of::<libc::proc_fdinfo>();
    let count = usize::try_from(wanted).map_err(|_| gone())? / each + 1;
    let empty = libc::proc_fdinfo {
        proc_fd: -1,
        proc_fdtype: 0,
    };
    let mut found = vec![empty; count];
    let bytes = c_int::try_from(count * each).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `bytes` into `found`.
    let written = unsafe {
        libc::proc_pidinfo(
            pid,
            libc::PROC_PIDLISTFDS,
            0,
            found.as_mut_ptr().cast(),
            bytes,
        )
    };
    let written = usize::try_from(written).map_err(|_| gone())?;
    if written == 0 {
        return Err(gone());
    }
    found.truncate(written / each);
    Ok(found)
}

/// The structure of `flavor` about one descriptor, as `BYTES` bytes.
pub(super) fn describe<const BYTES: usize>(
    pid: i32,
    fd: i32,
    flavor: c_int,
) -> Option<[u8; BYTES]> {
    let mut buffer = [0; BYTES];
    let bytes = c_int::try_from(BYTES).ok()?;
    // SAFETY: the kernel writes at most BYTES into `buffer`.
    let written =
        unsafe { libc::proc_pidfdinfo(pid, fd, flavor, buffer.as_mut_ptr().cast(), bytes) };
    (written == bytes).then_some(buffer)
}

fn is_file(descriptor: &libc::proc_fdinfo) -> bool {
    descriptor.proc_fdtype == libc::PROX_FDTYPE_VNODE.unsigned_abs()
}

pub(in super::super) fn open_files(pid: i32, max: usize) -> io::Result<Vec<OpenFile>> {
    let descriptors = descriptors(pid)?.into_iter().take(max);
    let files = descriptors.map(|descriptor| OpenFile {
        fd: descriptor.proc_fd,
        target: target(pid, &descriptor),
    });
    Ok(files.collect())
}

pub(in super::super) fn open_file_count(pid: i32, max: usize) -> io::Result<usize> {
    Ok(descriptors(pid)?.len().min(max))
}

fn target(pid: i32, descriptor: &libc::proc_fdinfo) -> String {
    let kind = match descriptor.proc_fdtype.cast_signed() {
        libc::PROX_FDTYPE_VNODE => {
            let vnode = describe::<VNODE_BYTES>(pid, descriptor.proc_fd, VNODE_PATH_INFO);
            let path = vnode.as_ref().and_then(|vnode| vnode.get(VNODE_PATH..));
            let path = path.and_then(|path| CStr::from_bytes_until_nul(path).ok());
            return path.map_or("file".to_owned(), |path| {
                path.to_string_lossy().into_owned()
            });
        }
        libc::PROX_FDTYPE_SOCKET => "socket",
        libc::PROX_FDTYPE_PIPE => "pipe",
        libc::PROX_FDTYPE_KQUEUE => "kqueue",
        _ => "other",
    };
    kind.to_owned()
}

pub(in super::super) fn holds_file(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    let descriptors = descriptors(pid)?;
    let mut files = descriptors
        .iter()
        .take(SEARCHED_MAX)
        .filter(|each| is_file(each));
    Ok(files.any(|file| {
        let vnode = describe::<VNODE_BYTES>(pid, file.proc_fd, VNODE_PATH_INFO);
        vnode.is_some_and(|vnode| is_of_file(&vnode, dev, ino))
    }))
}

/// Whether descriptor `number` of `pid` is the file `dev`:`ino`, opened for reading and marked.
#[expect(clippy::unnecessary_wraps, reason = "the Linux version can fail")]
pub(in super::super) fn is_marked(pid: i32, number: i32, dev: u64, ino: u64) -> io::Result<bool> {
    let vnode = describe::<VNODE_BYTES>(pid, number, VNODE_PATH_INFO);
    Ok(vnode.is_some_and(|vnode| {
        let flags = u32_at(&vnode, OPEN_FLAGS);
        let is_marked =
            flags & (READ | WRITE) == READ && flags & libc::O_APPEND.unsigned_abs() != 0;
        is_marked && is_of_file(&vnode, dev, ino)
    }))
}

fn is_of_file(vnode: &[u8], dev: u64, ino: u64) -> bool {
    // dev_t is signed: st_dev and vst_dev agree in their low 32 bits
    u64::from(u32_at(vnode, VNODE_DEV)) == dev & u64::from(u32::MAX)
        && u64_at(vnode, VNODE_INO) == ino
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk());
    chunk.map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk());
    chunk.map_or(0, |chunk| u64::from_ne_bytes(*chunk))
}
