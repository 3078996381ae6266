//! Listening sockets from launchd. macOS cannot copy a descriptor of another process. Never run on a Mac yet.
#![expect(unsafe_code, reason = "launch_activate_socket(3)")]

use super::super::listen::Address;
use super::super::process::Process;
use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

unsafe extern "C" {
    /// <launch.h>: returns 0 or an errno; the caller must free the array.
    fn launch_activate_socket(
        name: *const c_char,
        fds: *mut *mut c_int,
        count: *mut usize,
    ) -> c_int;
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

/// macOS does not show the socket paths of other users, but the user and the program of every process. Any process of another
/// user that runs a program called as this one may be the listener.
pub(in super::super) fn may_have_listener(_path: &Path) -> bool {
    let Ok(own) = super::own_program() else {
        return true;
    };
    let own_uid = super::super::identity::euid();
    let Ok(pids) = super::process::all() else {
        return true;
    };
    pids.into_iter().any(|pid| {
        // The uid of another user's process may be unreadable.
        super::process::uid(pid).ok() != Some(own_uid)
            && super::process::executable(pid)
                .is_ok_and(|program| program.file_name() == own.file_name())
    })
}

/// macOS does not show the socket paths of other users.
pub(in super::super) const fn unix_listeners() -> Vec<PathBuf> {
    Vec::new()
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
