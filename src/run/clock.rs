//! The loop's clock: the only place where "now" comes from.

use crate::decide::clock::{Duration, Instant};
use crate::sys::clock::{self, Clocks};
use std::time::SystemTime;

/// A difference between the clocks from which on the machine is said to have slept.
const SLEEP_MIN: Duration = Duration::from_millis(500);

/// Turns the system's clocks into [`Instant`]s and notices sleep.
#[derive(Debug)]
pub(super) struct Clock {
    start: Clocks,
    last: Clocks,
}

/// One reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Awake time since the loop began.
    pub(super) now: Instant,
    /// How long the machine slept since the reading before, if it did.
    pub(super) slept: Option<Duration>,
}

impl Clock {
    /// Starts counting.
    pub(super) fn start() -> Self {
        let start = clock::sample();
        Self { start, last: start }
    }

    /// Goes on with a clock that began at `awake` on the system's own, so that its moments are ours.
    pub(super) fn resume(awake: Duration) -> Self {
        let last = clock::sample();
        Self {
            start: Clocks { awake, ..last },
            last,
        }
    }

    /// When it began, on the system's own clock.
    pub(super) const fn began(&self) -> Duration {
        self.start.awake
    }

    /// Reads all clocks in one sample.
    pub(super) fn read(&mut self) -> Reading {
        let sample = clock::sample();
        let boot = sample.boot.saturating_sub(self.last.boot);
        let awake = sample.awake.saturating_sub(self.last.awake);
        let gap = boot.saturating_sub(awake);
        self.last = sample;
        Reading {
            now: moment(&self.start, &sample),
            slept: (gap >= SLEEP_MIN).then_some(gap),
        }
    }

    /// What stamps are counted from.
    pub(super) const fn origin(&self) -> Origin {
        Origin { start: self.start }
    }
}

/// Reads the same clock from tasks, without noticing sleep; stamps for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    start: Clocks,
}

impl Origin {
    /// Awake time since the loop began.
    #[must_use]
    pub(super) fn now(&self) -> Instant {
        moment(&self.start, &clock::sample())
    }

    /// The wall-clock time of `moment`, for showing: steps of the wall clock since then are followed.
    #[must_use]
    pub(super) fn stamp(&self, moment: Instant) -> SystemTime {
        let sample = clock::sample();
        let now = self::moment(&self.start, &sample);
        if moment >= now {
            sample.wall + moment.since(now).min(FUTURE_MAX)
        } else {
            sample
                .wall
                .checked_sub(now.since(moment))
                .unwrap_or(SystemTime::UNIX_EPOCH)
        }
    }
}

/// Stamps further ahead than this are not shown exactly.
const FUTURE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn moment(start: &Clocks, sample: &Clocks) -> Instant {
    let span = sample.awake.saturating_sub(start.awake);
    Instant::START.after(span)
}
