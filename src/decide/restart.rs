//! Restart policy: when the next instance may start, given the history of ended instances and the time now.

use super::clock::{Duration, Instant};
use super::policy::{Backoff, GiveUp, Restart};
use super::terms::{Exit, Life};

/// The history keeps at most this many ends, whatever the configuration says.
const HISTORY_MAX: usize = 1000;

/// When instances ended, since the last stable one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RestartHistory {
    ends: Vec<Instant>,
    /// Gave up: one more end parks again, until [`RestartHistory::clear`].
    parked: bool,
}

/// When the next instance starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStart {
    /// At once.
    Now,
    /// After this time.
    After(Duration),
    /// Gave up: after this time, and again after each further end.
    Parked(Duration),
}

impl RestartHistory {
    /// Forgets all ends: after a stable instance, or a user's request.
    pub(super) fn clear(&mut self) {
        self.ends.clear();
        self.parked = false;
    }

    /// Notes that an earlier stayd gave up.
    pub(super) fn set_parked(&mut self) {
        self.parked = true;
    }

    /// When instances ended, the oldest first.
    #[must_use]
    pub(super) fn ends(&self) -> &[Instant] {
        &self.ends
    }

    /// Continues with the history of the version before.
    pub(super) fn resume(&mut self, mut ends: Vec<Instant>, parked: bool) {
        ends.truncate(HISTORY_MAX);
        self.ends = ends;
        self.parked = parked;
    }

    /// Whether it gave up and no stable instance has run since.
    #[must_use]
    pub(super) const fn is_parked(&self) -> bool {
        self.parked
    }

    fn count_within(&self, now: Instant, duration: Duration) -> usize {
        self.ends
            .iter()
            .filter(|end| now.since(**end) <= duration)
            .count()
    }

    /// Notes that an instance ended at `now` and returns when the next may start. `ready_for` is how long the instance had
    /// been ready: only stable uptime resets the history, not a successful spawn.
    pub(super) fn after_end(
        &mut self,
        now: Instant,
        ready_for: Option<Duration>,
        backoff: &Backoff,
        give_up: &GiveUp,
        (jitter_seed, life): (u64, Life),
    ) -> NextStart {
        if ready_for.is_some_and(|uptime| uptime >= backoff.stable_after) {
            self.clear();
            return NextStart::Now;
        }
        self.push(now);
        self.parked |= self.count_within(now, give_up.within) >= give_up.exits as usize;
        if self.parked {
            return NextStart::Parked(give_up.within.max(backoff.max));
        }
        match wait(backoff, self.ends.len(), jitter_seed, life) {
            Duration::ZERO => NextStart::Now,
            wait => NextStart::After(wait),
        }
    }

    fn push(&mut self, now: Instant) {
        if self.ends.len() == HISTORY_MAX {
            self.ends.remove(0);
        }
        self.ends.push(now);
    }
}

/// The wait before the next instance after `ended` unstable ones: doubled each time, at most `max`, spread by up to a
/// tenth so that services that ended together do not start together.
#[must_use]
pub(super) fn wait(backoff: &Backoff, ended: usize, jitter_seed: u64, life: Life) -> Duration {
    let doublings = u32::try_from(ended.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(31);
    let base = backoff.min.saturating_mul(1 << doublings).min(backoff.max);
    base + base * spread(jitter_seed, life) / 1000
}

/// 0 to 100 thousandths, the same for the same service and instance number (the finalizer of `SplitMix64`).
fn spread(jitter_seed: u64, life: Life) -> u32 {
    let mut bits = jitter_seed ^ u64::from(life.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((bits ^ (bits >> 31)) % 101).unwrap_or(0)
}

/// Whether the policy restarts the service after this exit.
#[must_use]
pub(super) const fn should_restart(policy: Restart, exit: Exit, killed_by_watchdog: bool) -> bool {
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

    fn end(history: &mut RestartHistory, at_s: u64, ready_for_s: Option<u64>) -> NextStart {
        let now = Instant::START.after(Duration::from_secs(at_s));
        let ready_for = ready_for_s.map(Duration::from_secs);
        history.after_end(now, ready_for, &BACKOFF, &GIVE_UP, (7, Life(1)))
    }

    #[test]
    fn waits_grow_and_ten_ends_park() {
        let mut history = RestartHistory::default();
        let mut last = Duration::ZERO;
        for n in 1..10 {
            let NextStart::After(wait) = end(&mut history, n, None) else {
                panic!("waits at {n}")
            };
            assert!(
                wait > last || wait >= BACKOFF.max,
                "{wait:?} after {last:?}"
            );
            last = wait;
        }
        assert_eq!(
            end(&mut history, 10, None),
            NextStart::Parked(Duration::from_secs(300))
        );
        assert_eq!(
            end(&mut history, 20, None),
            NextStart::Parked(Duration::from_secs(300))
        );
    }

    #[test]
    fn only_stable_uptime_resets_the_history() {
        let mut history = RestartHistory::default();
        for n in 1..=9 {
            let _ = end(&mut history, n, Some(59));
        }
        assert_eq!(end(&mut history, 100, Some(60)), NextStart::Now);
        assert!(matches!(end(&mut history, 101, None), NextStart::After(_)));
    }

    #[test]
    fn ends_outside_the_window_do_not_park() {
        let mut history = RestartHistory::default();
        for n in 1..50 {
            assert!(matches!(
                end(&mut history, n * 40, None),
                NextStart::After(_)
            ));
        }
    }

    #[test]
    fn the_spread_of_waits_is_bounded_and_repeatable() {
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
    fn each_restart_policy_decides_by_exit_and_watchdog_kill() {
        assert!(should_restart(Restart::Always, Exit::Code(0), false));
        assert!(!should_restart(Restart::OnFailure, Exit::Code(0), false));
        assert!(should_restart(Restart::OnFailure, Exit::Code(0), true));
        assert!(
            should_restart(Restart::OnFailure, Exit::Unknown, false),
            "unknown is never clean"
        );
        assert!(!should_restart(Restart::Never, Exit::Signal(9), true));
    }
}
