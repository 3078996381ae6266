//! Signals through pidfds, which cannot reach a later process with the same pid.
#![expect(unsafe_code, reason = "pidfd_open(2), pidfd_send_signal(2)")]

use super::super::process::Process;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Opens the pidfd first and compares the start time afterwards: the pidfd is bound to one process from then on, so a
/// matching start time belongs to that process.
pub(in super::super) fn open_handle(process: Process) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the call takes only numbers; the result is a new descriptor that no other code owns.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, process.pid, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        OwnedFd::from_raw_fd(fd)
    };
    if super::process::stat(process.pid)?.process != process {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Some(fd))
}

pub(in super::super) fn signal(
    _process: Process,
    fd: Option<BorrowedFd<'_>>,
    signal: i32,
) -> io::Result<()> {
    let fd = fd.ok_or(io::ErrorKind::NotFound)?;
    // SAFETY: no siginfo is passed, and the descriptor is open for as long as `fd` is borrowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Err(error)
}
