//! What becomes of a signal.
#![expect(unsafe_code, reason = "sigaction(2), pthread_sigmask(3), kill(2)")]

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

/// Every signal waits from now on, as far as this thread is concerned. Whoever takes the place of this program
/// (execve(2)) has them waiting as well: a mask and what waits behind it outlive the program.
pub fn hold_all() {
    set_mask(libc::SIG_BLOCK);
}

/// What has waited comes now; from now on signals come at once, whatever whoever started us had blocked.
pub fn let_in_all() {
    set_mask(libc::SIG_UNBLOCK);
}

/// Sends `signal` to this process: one that was taken, and is for whoever comes after.
pub fn pass_on(signal: i32) {
    // SAFETY: takes numbers only, and the process is this one.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn set_mask(how: libc::c_int) {
    // SAFETY: a signal set of zeros is valid, is filled here, and lives here.
    unsafe {
        let mut every: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut every);
        libc::pthread_sigmask(how, &raw const every, ptr::null_mut());
    }
}
