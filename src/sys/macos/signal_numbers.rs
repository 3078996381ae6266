//! Signals that only macOS has (sigaction(2)).

/// None: SIGEMT reports an error, and SIGIO and SIGINFO are discarded by default.
pub(in super::super) const fn ending_signals() -> [i32; 0] {
    []
}

/// None: no image runs on macOS.
pub(in super::super) const fn stop_signals_of_images() -> [i32; 0] {
    []
}
