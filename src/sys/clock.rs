//! The clocks, read in one sample.
#![expect(unsafe_code, reason = "clock_gettime(2)")]

use super::imp;
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
    Sample {
        awake: read(imp::CLOCK_AWAKE),
        boot: read(imp::CLOCK_SINCE_BOOT),
        wall: SystemTime::now(),
    }
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours and outlives the call. These clocks exist everywhere; were one missing, it stands still.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::from_secs(time.tv_sec.cast_unsigned())
        + Duration::from_nanos(time.tv_nsec.cast_unsigned())
}

/// Sleeps, for a thread of its own that gives others a moment: less than anybody notices.
pub fn pause(moment: Duration) {
    std::thread::sleep(moment);
}

#[cfg(test)]
mod tests {
    #[test]
    fn clocks_run_forward_and_boot_is_never_behind_awake() {
        let first = super::sample();
        let second = super::sample();
        assert!(second.awake >= first.awake && second.boot >= first.boot);
        assert!(second.boot >= first.awake);
        assert!(first.awake > std::time::Duration::ZERO);
    }
}
