//! What execve(2) wants of a [`Plan`], prepared before the fork so that the child allocates nothing.
#![expect(unsafe_code, reason = "execve(2) on prepared pointers")]

use super::spawn::Plan;
use std::ffi::{c_char, c_int};
use std::{io, ptr};

/// Digits of the largest pid, and the final NUL.
const PID_BYTES: usize = 12;
const PID_MARK: &[u8] = b"=@PID";

/// Pointers into a [`Plan`], and into buffers of its own where the child's pid goes.
pub(super) struct Image<'a> {
    plan: &'a Plan,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// Where the pid is to be written.
    pid_at: Vec<*mut u8>,
    /// Keeps the buffers that `env` and `pid_at` point into.
    _pid_entries: Vec<Vec<u8>>,
}

impl<'a> Image<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let mut image = Self {
            plan,
            argv: plan.argv.iter().map(|word| word.as_ptr()).collect(),
            env: plan.env.iter().map(|entry| entry.as_ptr()).collect(),
            pid_at: Vec::new(),
            _pid_entries: Vec::new(),
        };
        for (place, entry) in image.env.iter_mut().zip(&plan.env) {
            let entry = entry.to_bytes();
            if !entry.ends_with(PID_MARK) {
                continue;
            }
            let value_at = entry.len() - (PID_MARK.len() - 1);
            let mut buffer = entry.to_vec();
            buffer.resize(value_at + PID_BYTES, 0);
            *place = buffer.as_ptr().cast();
            image.pid_at.push(buffer[value_at..].as_mut_ptr());
            image._pid_entries.push(buffer);
        }
        image.argv.push(ptr::null());
        image.env.push(ptr::null());
        image
    }

    /// Puts the calling process's own pid where the plan wants it. For the child.
    pub(super) fn write_pid(&self) {
        // SAFETY: takes nothing.
        let mut pid = unsafe { libc::getpid() }.unsigned_abs();
        let mut digits = [0_u8; PID_BYTES];
        let mut start = PID_BYTES - 1;
        while pid > 0 && start > 0 {
            start -= 1;
            digits[start] = b'0' + u8::try_from(pid % 10).unwrap_or(0);
            pid /= 10;
        }
        for &at in &self.pid_at {
            // SAFETY: `at` has room for PID_BYTES; the copy ends with the NUL that `digits` ends with.
            unsafe { ptr::copy_nonoverlapping(digits.as_ptr().add(start), at, PID_BYTES - start) };
        }
    }

    /// Tries the candidates in order, as execvp(3) does with PATH; says why none was run. For the child.
    pub(super) fn exec(&self) -> c_int {
        let mut verdict = libc::ENOENT;
        for program in &self.plan.program {
            // SAFETY: C strings of the plan's, and lists that end with null.
            unsafe { libc::execve(program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr()) };
            match errno() {
                libc::EACCES => verdict = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR => {}
                other => return other,
            }
        }
        verdict
    }
}

/// errno, read without allocating.
pub(super) fn errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// The result of a call made in the child, or its errno.
pub(super) fn told(result: c_int) -> Result<c_int, c_int> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}
