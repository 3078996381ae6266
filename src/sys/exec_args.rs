//! The argument and environment arrays of execve(2), prepared before the fork because the child must not allocate.
#![expect(unsafe_code, reason = "execve(2) on prepared pointers")]

use super::limits::OpenFilesLimit;
use super::spawn::Plan;
use std::ffi::{c_char, c_int};
use std::{io, ptr};

/// Room for the digits of the largest pid and the final NUL.
const PID_BYTES: usize = 12;

/// Pointers into a [`Plan`], and into separate buffers for entries that contain the child's pid.
pub(super) struct ExecArgs<'a> {
    plan: &'a Plan,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// The places to which the pid is written.
    pid_at: Vec<*mut u8>,
    /// Owns the buffers that `env` and `pid_at` point into.
    _pid_entries: Vec<Vec<u8>>,
}

impl<'a> ExecArgs<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let mut args = Self {
            plan,
            argv: plan.argv.iter().map(|word| word.as_ptr()).collect(),
            env: plan.env.iter().map(|entry| entry.as_ptr()).collect(),
            pid_at: Vec::new(),
            _pid_entries: Vec::new(),
        };
        for name in &plan.pid_variables {
            let mut buffer = [name.to_bytes(), b"="].concat();
            let value_at = buffer.len();
            buffer.resize(value_at + PID_BYTES, 0);
            args.env.push(buffer.as_ptr().cast());
            args.pid_at.push(buffer[value_at..].as_mut_ptr());
            args._pid_entries.push(buffer);
        }
        args.argv.push(ptr::null());
        args.env.push(ptr::null());
        args
    }

    /// Writes the pid of the calling process as the value of each of the plan's `pid_variables`. Called in the child.
    pub(super) fn write_pid(&self) {
        // SAFETY: the call has no arguments.
        let mut pid = unsafe { libc::getpid() }.unsigned_abs();
        let mut digits = [0_u8; PID_BYTES];
        let mut start = PID_BYTES - 1;
        while pid > 0 && start > 0 {
            start -= 1;
            digits[start] = b'0' + u8::try_from(pid % 10).unwrap_or(0);
            pid /= 10;
        }
        for &at in &self.pid_at {
            // SAFETY: `at` has room for PID_BYTES; the copied bytes end with the NUL at the end of `digits`.
            unsafe { ptr::copy_nonoverlapping(digits.as_ptr().add(start), at, PID_BYTES - start) };
        }
    }

    /// Tries the candidates in order, as execvp(3) does with PATH, and returns the errno when none was executed. Called in
    /// the child.
    pub(super) fn exec(&self) -> c_int {
        let mut errno = libc::ENOENT;
        for program in &self.plan.program {
            // SAFETY: the C strings belong to the plan, and both lists end with a null pointer.
            unsafe { libc::execve(program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr()) };
            match last_errno() {
                libc::EACCES => errno = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR => {}
                other => return other,
            }
        }
        errno
    }
}

/// Sets the limit of open files of the calling process. Called in the child.
pub(super) fn limit_open_files(limit: OpenFilesLimit) -> Result<(), c_int> {
    let limit = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: the kernel reads one rlimit, the local variable.
    errno_result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(())
}

/// The current errno, read without allocating.
pub(super) fn last_errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// Converts the result of a call made in the child: the value, or errno when it is negative.
pub(super) fn errno_result(result: c_int) -> Result<c_int, c_int> {
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(result)
    }
}
