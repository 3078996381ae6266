//! The clocks, read in one sample.

use std::time::{Duration, SystemTime};

/// All clocks at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Awake time: stops in sleep (Linux CLOCK_MONOTONIC, macOS CLOCK_UPTIME_RAW).
    pub awake: Duration,
    /// Goes on in sleep (Linux CLOCK_BOOTTIME, macOS CLOCK_MONOTONIC_RAW).
    pub boot: Duration,
    /// Only for stamps.
    pub wall: SystemTime,
}

/// Reads them.
pub fn sample() -> Sample {
    unimplemented!()
}
