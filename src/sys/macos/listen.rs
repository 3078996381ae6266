//! Listening sockets from launchd. macOS cannot copy a descriptor of another process. Never run on a Mac yet.
#![expect(unsafe_code, reason = "launch_activate_socket(3)")]

use super::super::folder::Folder;
use super::super::listen::Address;
use super::super::process::Process;
use nix::sys::socket::{UnixAddr, bind};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use std::ffi::{CString, OsStr, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;

unsafe extern "C" {
    /// <launch.h>: returns 0 or an errno; the caller must free the array.
    fn launch_activate_socket(
        name: *const c_char,
        fds: *mut *mut c_int,
        count: *mut usize,
    ) -> c_int;
}

/// Runs `work`. macOS gives a single thread neither a user nor a umask of its own, so `user` is ignored; [`bind_file`]
/// follows no link.
pub(in super::super) fn with_file_rights<T>(
    _user: Option<(u32, u32)>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    work()
}

/// Binds `socket` to a path and then gives its file `mode`. The change is made in the folder that was opened before, and
/// does not follow a link.
pub(in super::super) fn bind_file(
    socket: &OwnedFd,
    path: &Path,
    name: &OsStr,
    folder: &Folder,
    mode: Mode,
) -> io::Result<()> {
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fchmodat(
        folder.fd(),
        name,
        mode,
        FchmodatFlags::NoFollowSymlink,
    )?)
}

/// macOS does not report a shutdown; calling listen(2) again is all that can be done.
pub(in super::super) const fn is_shut_down(_socket: BorrowedFd<'_>) -> bool {
    false
}

pub(in super::super) fn copy_from_process(
    _process: Process,
    _wanted: &[Address],
) -> io::Result<Vec<(Address, OwnedFd)>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The result is empty for an unknown name (ENOENT) and when the process is not a launchd job (ESRCH). launchd returns the
/// sockets of a name only once.
pub(in super::super) fn from_launchd(name: &str) -> Vec<OwnedFd> {
    let Ok(name) = CString::new(name) else {
        return Vec::new();
    };
    let mut fds: *mut c_int = std::ptr::null_mut();
    let mut count = 0;
    // SAFETY: the name is a C string, and the call writes to two local variables.
    let refused = unsafe { launch_activate_socket(name.as_ptr(), &raw mut fds, &raw mut count) };
    if refused != 0 || fds.is_null() {
        return Vec::new();
    }
    // SAFETY: launchd has stored `count` new descriptors there, which no other code owns, in an array that this code frees.
    unsafe {
        let numbers = std::slice::from_raw_parts(fds, count);
        let own = |&fd: &c_int| {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            OwnedFd::from_raw_fd(fd)
        };
        let sockets = numbers.iter().map(own).collect();
        libc::free(fds.cast());
        sockets
    }
}
