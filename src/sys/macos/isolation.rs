//! Isolation by ptrace(2). Never run on a Mac yet.
#![expect(unsafe_code, reason = "ptrace(2)")]

use super::super::check;
use std::io;
use std::os::fd::RawFd;

pub(in super::super) fn forbid_inspection() -> io::Result<()> {
    // SAFETY: the request ignores the other arguments.
    check(unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) })?;
    Ok(())
}

/// A helper that is not stopped ends when its socket closes.
#[expect(clippy::unnecessary_wraps, reason = "the Linux version can fail")]
pub(in super::super) const fn end_with_pipe(_reader: RawFd) -> io::Result<()> {
    Ok(())
}
