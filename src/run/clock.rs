//! The clock of the loop: turns the clocks of the system into the instants that `decide` uses, and notices sleep.

use crate::decide::clock::{Duration, Instant};
use crate::sys::clock::{self, Clocks};
use std::time::SystemTime;

/// If the boot-time clock gains at least this much on the awake-time clock, the machine has slept.
const SLEEP_MIN: Duration = Duration::from_millis(500);

/// The one clock of the loop.
#[derive(Debug)]
pub(super) struct Clock {
    start: Clocks,
    last: Clocks,
}

/// One reading of the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The time since the loop began, without time asleep.
    pub(super) now: Instant,
    /// How long the machine slept since the previous reading, if it did.
    pub(super) slept: Option<Duration>,
}

impl Clock {
    /// A clock that begins now.
    pub(super) fn start() -> Self {
        let start = clock::sample();
        Self { start, last: start }
    }

    /// A clock that began when the awake-time clock of the system read `awake`, so that instants of the previous version stay
    /// valid.
    pub(super) fn resume(awake: Duration) -> Self {
        let last = clock::sample();
        Self {
            start: Clocks { awake, ..last },
            last,
        }
    }

    /// When it began, on the awake-time clock of the system.
    pub(super) const fn began(&self) -> Duration {
        self.start.awake
    }

    /// Reads all clocks at once.
    pub(super) fn read(&mut self) -> Reading {
        let sample = clock::sample();
        let boot = sample.boot.saturating_sub(self.last.boot);
        let awake = sample.awake.saturating_sub(self.last.awake);
        let gap = boot.saturating_sub(awake);
        self.last = sample;
        Reading {
            now: instant_of(&self.start, &sample),
            slept: (gap >= SLEEP_MIN).then_some(gap),
        }
    }

    /// A handle that reads the same clock.
    pub(super) const fn handle(&self) -> ClockHandle {
        ClockHandle { start: self.start }
    }
}

/// Reads the clock of the loop, without noticing sleep, and converts instants to wall-clock time.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockHandle {
    start: Clocks,
}

impl ClockHandle {
    /// The time since the loop began, without time asleep.
    #[must_use]
    pub(super) fn now(&self) -> Instant {
        instant_of(&self.start, &clock::sample())
    }

    /// The wall-clock time of `instant`, for people. It follows steps of the wall clock since then.
    #[must_use]
    pub(super) fn wall_time(&self, instant: Instant) -> SystemTime {
        let sample = clock::sample();
        let now = instant_of(&self.start, &sample);
        if instant >= now {
            sample.wall + instant.since(now).min(FUTURE_MAX)
        } else {
            sample
                .wall
                .checked_sub(now.since(instant))
                .unwrap_or(SystemTime::UNIX_EPOCH)
        }
    }
}

/// Times further in the future than this are not exact.
const FUTURE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn instant_of(start: &Clocks, sample: &Clocks) -> Instant {
    let elapsed = sample.awake.saturating_sub(start.awake);
    Instant::START.after(elapsed)
}
