//! Signal dispositions and masks of this process.
#![expect(unsafe_code, reason = "sigaction(2), pthread_sigmask(3), kill(2)")]

use std::ptr;

/// Whether this process ignores `signal`. A program started by nohup(1) inherits an ignored SIGHUP and keeps it ignored.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: an all-zero sigaction is valid; the kernel only writes to it, and the disposition does not change.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut present) == 0
            && present.sa_sigaction == libc::SIG_IGN
    }
}

/// Blocks every signal for the calling thread. The mask and the pending signals survive execve(2), so a program that
/// replaces this one still receives them.
pub fn block_all() {
    set_mask(libc::SIG_BLOCK);
}

/// Unblocks every signal for the calling thread, also those that the parent process had blocked. Pending signals are
/// delivered.
pub fn unblock_all() {
    set_mask(libc::SIG_UNBLOCK);
}

/// Sends `signal` to this process. Used to return a signal that this program has consumed but that the next program,
/// after execve(2), must handle.
pub fn send_to_self(signal: i32) {
    // SAFETY: the call takes only numbers, and the target is this process.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn set_mask(how: libc::c_int) {
    // SAFETY: an all-zero signal set is valid; the set is a local variable that outlives the calls.
    unsafe {
        let mut every: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut every);
        libc::pthread_sigmask(how, &raw const every, ptr::null_mut());
    }
}
