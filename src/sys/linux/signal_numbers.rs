//! Signals that only Linux has (signal(7)).

/// SIGIO, SIGPWR, SIGSTKFLT and the real-time signals.
pub(in super::super) fn ending_signals() -> Vec<i32> {
    let mut signals = vec![libc::SIGIO, libc::SIGPWR, libc::SIGSTKFLT];
    signals.extend(libc::SIGRTMIN()..=libc::SIGRTMAX());
    signals
}

/// SIGRTMIN+3 (systemd as the first process of an image) and SIGPWR (LXC).
pub(in super::super) fn stop_signals_of_images() -> Vec<i32> {
    vec![libc::SIGRTMIN() + 3, libc::SIGPWR]
}
