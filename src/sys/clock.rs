//! The system clocks: awake time, time since boot and wall clock, read together.
#![expect(unsafe_code, reason = "clock_gettime(2), localtime_r(3)")]

use super::platform;
use std::time::{Duration, SystemTime};

/// All clocks at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Awake time: stops while the machine sleeps (Linux CLOCK_MONOTONIC, macOS CLOCK_UPTIME_RAW).
    pub awake: Duration,
    /// Time since boot: continues while the machine sleeps (Linux CLOCK_BOOTTIME, macOS CLOCK_MONOTONIC_RAW).
    pub boot: Duration,
    /// Wall-clock time, for time stamps only: it may be set forward or back at any time.
    pub wall: SystemTime,
}

/// Reads all clocks.
pub fn sample() -> Clocks {
    Clocks {
        awake: read(platform::CLOCK_AWAKE),
        boot: read(platform::CLOCK_SINCE_BOOT),
        wall: SystemTime::now(),
    }
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a local variable that outlives the call. All supported systems have these clocks; if one were
    // missing, it would read as 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::from_secs(time.tv_sec.cast_unsigned())
        + Duration::from_nanos(time.tv_nsec.cast_unsigned())
}

/// A point in time as the clocks of the user's time zone show it, such as `2026-11-30 13:02:11 +01:00`; `None` if the C library
/// cannot convert it.
#[must_use]
pub fn local_time(at: SystemTime) -> Option<String> {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let seconds = libc::time_t::try_from(seconds).ok()?;
    // SAFETY: a tm is plain numbers and a pointer that may be null; the call writes to this local variable, and its result is
    // null on failure. The zone's name is not read.
    let local = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        let found = libc::localtime_r(&raw const seconds, &raw mut local);
        (!found.is_null()).then_some(local)?
    };
    let offset = local.tm_gmtoff / 60;
    let sign = if offset < 0 { '-' } else { '+' };
    let offset = offset.unsigned_abs();
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} {sign}{:02}:{:02}",
        local.tm_year + 1900,
        local.tm_mon + 1,
        local.tm_mday,
        local.tm_hour,
        local.tm_min,
        local.tm_sec,
        offset / 60,
        offset % 60,
    ))
}

/// Blocks the calling thread for `duration`. Only for a dedicated thread, never on the loop's thread, and only for
/// milliseconds.
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    #[test]
    fn clocks_run_forward_and_boot_time_is_never_behind_awake_time() {
        let first = super::sample();
        let second = super::sample();
        assert!(second.awake >= first.awake && second.boot >= first.boot);
        assert!(second.boot >= first.awake);
        assert!(first.awake > std::time::Duration::ZERO);
    }
}
