//! Isolation by prctl(2) and by signals about a pipe (fcntl(2), F_SETSIG).
#![expect(unsafe_code, reason = "prctl(2), fcntl(2)")]

use super::super::check;
use super::super::identity;
use std::io;
use std::os::fd::RawFd;

/// asm-generic/fcntl.h
const F_SETSIG: libc::c_int = 10;

pub(in super::super) fn forbid_inspection() -> io::Result<()> {
    // SAFETY: the call takes only numbers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    Ok(())
}

/// The kernel delivers SIGKILL to a stopped process too, which a signal that a thread would have to handle cannot do.
pub(in super::super) fn end_with_pipe(reader: RawFd) -> io::Result<()> {
    // SAFETY: the calls take only numbers.
    unsafe {
        check(libc::fcntl(reader, F_SETSIG, libc::SIGKILL))?;
        check(libc::fcntl(reader, libc::F_SETOWN, identity::pid()))?;
        let flags = check(libc::fcntl(reader, libc::F_GETFL))?;
        check(libc::fcntl(reader, libc::F_SETFL, flags | libc::O_ASYNC))?;
    }
    Ok(())
}
