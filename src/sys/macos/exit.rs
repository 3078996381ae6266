//! Exit status of a process that is not a child, by kqueue(2): it is readable when the process has ended. Never run on a Mac
//! yet.
#![expect(unsafe_code, reason = "kqueue(2)")]

use super::super::check;
use super::super::exit::ExitQuery;
use super::super::process::{Handle, Process};
use super::super::reaper::Status;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::{io, mem, ptr};

pub(in super::super) fn watch(handle: &Handle) -> io::Result<Option<OwnedFd>> {
    let pid = handle.process.pid;
    // SAFETY: the descriptor is new and no other code owns it; kevent reads one change and writes no event.
    unsafe {
        let queue = OwnedFd::from_raw_fd(check(libc::kqueue())?);
        let mut change: libc::kevent = mem::zeroed();
        change.ident = usize::try_from(pid).map_err(io::Error::other)?;
        change.filter = libc::EVFILT_PROC;
        change.flags = libc::EV_ADD | libc::EV_ONESHOT;
        change.fflags = libc::NOTE_EXIT | libc::NOTE_EXITSTATUS;
        let nothing = ptr::null_mut();
        check(libc::kevent(
            queue.as_raw_fd(),
            &raw const change,
            1,
            nothing,
            0,
            ptr::null(),
        ))?;
        // The process may have ended, and its pid may have been reused, since the handle was opened.
        handle.signal(0)?;
        Ok(Some(queue))
    }
}

pub(in super::super) fn query(_process: Process, queue: Option<&OwnedFd>) -> ExitQuery {
    let Some(queue) = queue else {
        return ExitQuery::Never;
    };
    // SAFETY: kevent writes at most one event, to a local variable, and does not wait.
    let (count, event) = unsafe {
        let mut event: libc::kevent = mem::zeroed();
        let at_once: libc::timespec = mem::zeroed();
        let count = libc::kevent(
            queue.as_raw_fd(),
            ptr::null(),
            0,
            &raw mut event,
            1,
            &raw const at_once,
        );
        (count, event)
    };
    match (count, i32::try_from(event.data)) {
        (0, _) => ExitQuery::NotYet,
        (1, Ok(waited)) if libc::WIFSIGNALED(waited) => {
            ExitQuery::Known(Status::Signal(libc::WTERMSIG(waited)))
        }
        (1, Ok(waited)) => ExitQuery::Known(Status::Code(libc::WEXITSTATUS(waited))),
        // The event is delivered once.
        _ => ExitQuery::Never,
    }
}
