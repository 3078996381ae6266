//! Signal dispositions and masks of this process.
#![expect(unsafe_code, reason = "sigaction(2), pthread_sigmask(3), kill(2)")]

use super::platform::signal_numbers;
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

/// Ignores `signal` from now on. Children get the default again before they run their program.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is no handler, so nothing of this program runs on the signal.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// The signals that end a process that does not handle them, without those that report an error of the program itself
/// (signal(7)), SIGKILL, and the ones that stayd has a meaning for in every case: SIGTERM, SIGINT, SIGQUIT and SIGHUP.
#[must_use]
pub fn ending_signals() -> Vec<i32> {
    let mut signals = vec![
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGXCPU,
        libc::SIGXFSZ,
    ];
    signals.extend(signal_numbers::ending_signals());
    signals
}

/// The signals besides SIGTERM, SIGINT and SIGQUIT that container images name as their STOPSIGNAL.
#[must_use]
pub fn stop_signals_of_images() -> Vec<i32> {
    let mut signals = vec![libc::SIGUSR1, libc::SIGWINCH];
    signals.extend(signal_numbers::stop_signals_of_images());
    signals
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
