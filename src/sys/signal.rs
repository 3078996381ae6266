//! What becomes of a signal.
#![expect(unsafe_code, reason = "sigaction(2)")]

use std::ptr;

/// Whether this process ignores `signal`: an `nohup` before it asked for that, and a program keeps to it.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: an all-zero sigaction is valid; the kernel writes it, and nothing is changed.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut present) == 0
            && present.sa_sigaction == libc::SIG_IGN
    }
}
