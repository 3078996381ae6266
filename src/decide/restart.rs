//! Restart policy: functions of (history, now). No clock, no dice.

use super::clock::{Duration, Instant};
use super::event::{Exit, Life};
use super::policy::{Backoff, GiveUp, Restart};

/// Ended lives are remembered up to this many, whatever the configuration says.
pub const HISTORY_MAX: usize = 1000;

/// The ended lives since the last stable one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    ends: Vec<Instant>,
    /// Gave up: one end more parks again, until [`History::clear`].
    parked: bool,
}

/// When the next life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Now,
    /// After this time.
    After(Duration),
    /// Gave up: after this time, and quietly so for ever.
    Parked(Duration),
}

impl History {
    /// Forgets: a stable life, or a person's wish.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.parked = false;
    }

    /// Remembers that an earlier stayd gave up.
    pub fn set_parked(&mut self) {
        self.parked = true;
    }

    /// When lives ended, the oldest first.
    #[must_use]
    pub fn ends(&self) -> &[Instant] {
        &self.ends
    }

    /// Goes on with what another has remembered.
    pub fn resume(&mut self, mut ends: Vec<Instant>, parked: bool) {
        ends.truncate(HISTORY_MAX);
        self.ends = ends;
        self.parked = parked;
    }

    /// Whether it gave up and no stable life has come since.
    #[must_use]
    pub const fn is_parked(&self) -> bool {
        self.parked
    }

    /// Ended lives within `span` before `now`.
    #[must_use]
    pub fn count_within(&self, now: Instant, span: Duration) -> usize {
        self.ends
            .iter()
            .filter(|end| now.since(**end) <= span)
            .count()
    }

    /// Notes that a life ended now and says when the next may begin. `ready_for` is how long the life had been
    /// ready: only stable uptime resets the row, not a successful spawn.
    pub fn after_end(
        &mut self,
        now: Instant,
        ready_for: Option<Duration>,
        backoff: &Backoff,
        give_up: &GiveUp,
        (salt, life): (u64, Life),
    ) -> Next {
        if ready_for.is_some_and(|span| span >= backoff.stable_after) {
            self.clear();
            return Next::Now;
        }
        self.push(now);
        self.parked |= self.count_within(now, give_up.within) >= give_up.exits as usize;
        if self.parked {
            return Next::Parked(give_up.within.max(backoff.max));
        }
        match wait(backoff, self.ends.len(), salt, life) {
            Duration::ZERO => Next::Now,
            span => Next::After(span),
        }
    }

    fn push(&mut self, now: Instant) {
        if self.ends.len() == HISTORY_MAX {
            self.ends.remove(0);
        }
        self.ends.push(now);
    }
}

/// The wait before the next life after `ended` unstable ones: doubled each time, at most `max`, spread by up to a
/// tenth so that services which died together do not return together.
#[must_use]
pub fn wait(backoff: &Backoff, ended: usize, salt: u64, life: Life) -> Duration {
    let doublings = u32::try_from(ended.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(31);
    let base = backoff.min.saturating_mul(1 << doublings).min(backoff.max);
    base + base * spread(salt, life) / 1000
}

/// 0 to 100 thousandths, the same for the same service and life (the finalizer of `SplitMix64`).
fn spread(salt: u64, life: Life) -> u32 {
    let mut bits = salt ^ u64::from(life.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((bits ^ (bits >> 31)) % 101).unwrap_or(0)
}

/// Whether this end asks for another life.
#[must_use]
pub const fn wanted_again(policy: Restart, exit: Exit, killed_by_watchdog: bool) -> bool {
    match policy {
        Restart::Always => true,
        Restart::Never => false,
        Restart::OnFailure => killed_by_watchdog || !matches!(exit, Exit::Code(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        min: Duration::from_millis(200),
        max: Duration::from_secs(30),
        stable_after: Duration::from_secs(60),
    };
    const GIVE_UP: GiveUp = GiveUp {
        exits: 10,
        within: Duration::from_secs(300),
    };

    fn end(history: &mut History, at_s: u64, ready_for_s: Option<u64>) -> Next {
        let now = Instant::START.after(Duration::from_secs(at_s));
        let ready_for = ready_for_s.map(Duration::from_secs);
        history.after_end(now, ready_for, &BACKOFF, &GIVE_UP, (7, Life(1)))
    }

    #[test]
    fn item_47_waits_grow_and_ten_ends_park() {
        let mut history = History::default();
        let mut last = Duration::ZERO;
        for n in 1..10 {
            let Next::After(span) = end(&mut history, n, None) else {
                panic!("waits at {n}")
            };
            assert!(
                span > last || span >= BACKOFF.max,
                "{span:?} after {last:?}"
            );
            last = span;
        }
        assert_eq!(
            end(&mut history, 10, None),
            Next::Parked(Duration::from_secs(300))
        );
        assert_eq!(
            end(&mut history, 20, None),
            Next::Parked(Duration::from_secs(300))
        );
    }

    #[test]
    fn item_47_only_stable_uptime_resets() {
        let mut history = History::default();
        for n in 1..=9 {
            let _ = end(&mut history, n, Some(59));
        }
        assert_eq!(end(&mut history, 100, Some(60)), Next::Now);
        assert!(matches!(end(&mut history, 101, None), Next::After(_)));
    }

    #[test]
    fn old_ends_do_not_park() {
        let mut history = History::default();
        for n in 1..50 {
            assert!(matches!(end(&mut history, n * 40, None), Next::After(_)));
        }
    }

    #[test]
    fn the_spread_is_bounded_and_repeats() {
        for life in 1..200 {
            let one = wait(&BACKOFF, 1, 99, Life(life));
            assert!(
                one >= BACKOFF.min && one <= BACKOFF.min * 11 / 10,
                "{one:?}"
            );
            assert_eq!(one, wait(&BACKOFF, 1, 99, Life(life)));
        }
        let zero = Backoff {
            min: Duration::ZERO,
            ..BACKOFF
        };
        assert_eq!(wait(&zero, 9, 1, Life(1)), Duration::ZERO);
    }

    #[test]
    fn policies() {
        assert!(wanted_again(Restart::Always, Exit::Code(0), false));
        assert!(!wanted_again(Restart::OnFailure, Exit::Code(0), false));
        assert!(wanted_again(Restart::OnFailure, Exit::Code(0), true));
        assert!(
            wanted_again(Restart::OnFailure, Exit::Unknown, false),
            "unknown is never clean"
        );
        assert!(!wanted_again(Restart::Never, Exit::Signal(9), true));
    }
}
