//! Signals through pidfds, which cannot reach a later process with the same pid. Where the kernel or a seccomp profile refuses
//! pidfds, by pid after a comparison of the start time.
#![expect(unsafe_code, reason = "pidfd_open(2), pidfd_send_signal(2)")]

use super::super::process::{Process, signal_by_pid};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Opens the pidfd first and compares the start time afterwards: the pidfd is bound to one process from then on, so a
/// matching start time belongs to that process. None where the system refuses pidfds.
pub(in super::super) fn open_handle(process: Process) -> io::Result<Option<OwnedFd>> {
    let fd = match open(process.pid) {
        Ok(fd) => Some(fd),
        Err(error) if is_refused(&error) => None,
        Err(error) => return Err(error),
    };
    if super::process::stat(process.pid)?.process != process {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(fd)
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes only numbers; the result is a new descriptor that no other code owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Whether the error says that this system has no such call or that a seccomp profile refuses it. Profiles choose the error.
/// All others concern the process, or a resource that stayd lacks.
fn is_refused(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    !matches!(
        errno,
        Some(libc::ESRCH | libc::EMFILE | libc::ENFILE | libc::ENOMEM)
    )
}

pub(in super::super) fn signal(
    process: Process,
    fd: Option<BorrowedFd<'_>>,
    signal: i32,
) -> io::Result<()> {
    let Some(fd) = fd else {
        return signal_by_pid(process, signal);
    };
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
    match error.raw_os_error() {
        Some(libc::ESRCH) => Err(io::ErrorKind::NotFound.into()),
        // The refusal may come from a seccomp profile. If it is about the process, kill(2) repeats it.
        Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => signal_by_pid(process, signal),
        _ => Err(error),
    }
}
