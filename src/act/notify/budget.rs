//! Bounds how much stayd does for the messages of one service, whatever is sent to it.

use crate::decide::clock::{Duration, Instant};

/// A budget of work. Each piece of work has a cost, a duration, and time pays it off. After a burst the costs per second are at
/// most one second.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// When everything that was done so far is paid off.
    paid_off_at: Instant,
}

impl Budget {
    /// Charges work that is done `now`.
    pub(crate) fn charge(&mut self, now: Instant, cost: Duration) {
        self.paid_off_at = self.paid_off_at.max(now).after(cost);
    }

    /// Whether more than `burst` is left to pay off.
    pub(crate) fn is_exhausted(&self, now: Instant, burst: Duration) -> bool {
        self.paid_off_at.since(now) > burst
    }

    /// Whether everything is paid off.
    pub(crate) fn is_paid_off(&self, now: Instant) -> bool {
        self.paid_off_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Duration, Instant};

    const COST: Duration = Duration::from_millis(1);
    const BURST: Duration = Duration::from_millis(100);

    #[test]
    fn after_a_burst_the_rate_is_bounded() {
        let mut budget = Budget::default();
        let mut done = 0;
        for tick in 0..10_000 {
            // 10 s in steps of a millisecond, with ten attempts in each
            let now = Instant::START.after(Duration::from_millis(tick));
            for _ in 0..10 {
                if !budget.is_exhausted(now, BURST) {
                    budget.charge(now, COST);
                    done += 1;
                }
            }
        }
        assert!((10_000..=10_102).contains(&done), "{done}");
        let later = Instant::START.after(Duration::from_secs(11));
        assert!(!budget.is_exhausted(later, Duration::ZERO));
    }
}
