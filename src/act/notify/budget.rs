//! Bounds how much stayd does for the messages of one service, whatever is sent to it, and notices a flood.

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
}

/// So many messages can fill the queue of a socket: the smallest usual length (Linux net.unix.max_dgram_qlen).
const QUEUE_LENGTH: u64 = 10;

/// The messages since the queue of a socket was last empty.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    messages: u64,
    foreign: u64,
}

impl Burst {
    /// Counts a message; a foreign one does not come from the service.
    pub(crate) fn count(&mut self, is_foreign: bool) {
        self.messages += 1;
        self.foreign += u64::from(is_foreign);
    }

    /// Whether foreign messages may have kept those of the service out of the queue.
    pub(crate) const fn keeps_others_out(&self) -> bool {
        self.foreign >= QUEUE_LENGTH && self.foreign * 2 > self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Burst, Duration, Instant, QUEUE_LENGTH};

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

    #[test]
    fn a_full_queue_keeps_others_out_if_most_of_it_is_foreign() {
        for (foreign, own, expected) in [
            (0, 0, false),
            (QUEUE_LENGTH - 1, 0, false),
            (QUEUE_LENGTH, 0, true),
            (QUEUE_LENGTH, QUEUE_LENGTH - 1, true),
            (QUEUE_LENGTH, QUEUE_LENGTH, false),
            (0, 1000, false),
        ] {
            let mut burst = Burst::default();
            (0..foreign).for_each(|_| burst.count(true));
            (0..own).for_each(|_| burst.count(false));
            assert_eq!(burst.keeps_others_out(), expected, "{burst:?}");
        }
    }
}
