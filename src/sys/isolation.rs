//! Protects this process from other processes of its user, and ends it with the process that started it.

use super::platform;
use std::io;
use std::os::fd::RawFd;

/// Forbids processes of the same user to read the memory of this process, to trace it and to copy its descriptors (Linux
/// prctl(2), PR_SET_DUMPABLE; macOS ptrace(2), PT_DENY_ATTACH). Only root still can. execve(2) undoes it. The kernel writes
/// no core dump of this process.
///
/// # Errors
/// The error of the call.
pub fn forbid_inspection() -> io::Result<()> {
    platform::isolation::forbid_inspection()
}

/// Makes the kernel kill this process when the last write end of the pipe behind the descriptor `reader` is closed, even while
/// this process is stopped. The pipe must stay empty. Has no effect on macOS, where the kernel sends no chosen signal.
///
/// # Errors
/// The error of fcntl(2), as when there is no such descriptor.
pub fn end_with_pipe(reader: RawFd) -> io::Result<()> {
    platform::isolation::end_with_pipe(reader)
}
