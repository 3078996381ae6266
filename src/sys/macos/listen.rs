//! Sockets from launchd. No call takes a descriptor from another process. Never run on a Mac yet.
#![expect(unsafe_code, reason = "launch_activate_socket(3)")]

use super::super::listen::Address;
use super::super::process::Process;
use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};

unsafe extern "C" {
    /// <launch.h>: 0, or an errno; the array is the caller's to free.
    fn launch_activate_socket(
        name: *const c_char,
        fds: *mut *mut c_int,
        count: *mut usize,
    ) -> c_int;
}

/// Nothing tells it here; listen(2) again is all that can be done.
pub(in super::super) const fn is_deaf(_socket: BorrowedFd<'_>) -> bool {
    false
}

pub(in super::super) fn fetch(
    _process: Process,
    _wanted: &[Address],
) -> io::Result<Vec<(Address, OwnedFd)>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// An unknown name (ENOENT), or no job of launchd's (ESRCH), has no sockets; a name can be asked for once.
pub(in super::super) fn activated(name: &str) -> Vec<OwnedFd> {
    let Ok(name) = CString::new(name) else {
        return Vec::new();
    };
    let mut fds: *mut c_int = std::ptr::null_mut();
    let mut count = 0;
    // SAFETY: a C string of ours, and two places of ours that are written.
    let refused = unsafe { launch_activate_socket(name.as_ptr(), &raw mut fds, &raw mut count) };
    if refused != 0 || fds.is_null() {
        return Vec::new();
    }
    // SAFETY: launchd has put `count` new descriptors there that nobody else owns, in an array that is ours to free.
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
