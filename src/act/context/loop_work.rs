//! The longest work that the loop did for one service, so that a late loop can say what delayed it.

use crate::decide::clock::{Duration, Instant};
use std::cell::RefCell;

/// The longest recent work of the loop for one service.
#[derive(Debug, Default)]
pub struct LoopWork(RefCell<Option<Work>>);

#[derive(Clone, Debug)]
struct Work {
    service: String,
    began_at: Instant,
    ended_at: Instant,
}

impl Work {
    fn duration(&self) -> Duration {
        self.ended_at.since(self.began_at)
    }
}

impl LoopWork {
    /// Notes work for `service`. Keeps only the longest, until [`Self::take_since`].
    pub(crate) fn note(&self, service: &str, began_at: Instant, ended_at: Instant) {
        let mut longest = self.0.borrow_mut();
        let took = ended_at.since(began_at);
        if longest.as_ref().is_none_or(|work| work.duration() < took) {
            *longest = Some(Work {
                service: service.to_owned(),
                began_at,
                ended_at,
            });
        }
    }

    /// The service and the duration of the longest work that ended after `instant`, if it is noted; forgets it.
    pub fn take_since(&self, instant: Instant) -> Option<(String, Duration)> {
        let work = self.0.take().filter(|work| work.ended_at > instant)?;
        let took = work.duration();
        Some((work.service, took))
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, LoopWork};

    fn at(millis: u64) -> Instant {
        Instant::START.after(Duration::from_millis(millis))
    }

    #[test]
    fn the_longest_work_is_kept_until_it_is_taken() {
        let work = LoopWork::default();
        work.note("a", at(0), at(10));
        work.note("b", at(10), at(700));
        work.note("c", at(700), at(701));
        let longest = Some(("b".to_owned(), Duration::from_millis(690)));
        assert_eq!(work.take_since(at(100)), longest);
        assert_eq!(work.take_since(at(100)), None);
        work.note("a", at(0), at(10));
        assert_eq!(work.take_since(at(100)), None, "it ended before");
    }
}
