//! Whether several services may have fallen silent for one cause outside them: the host, its disk or its network.
//!
//! Each service falls silent at some instant between its last answer and its first dead attempt. If one instant fits three
//! or more services, and no service has answered after that instant, the host is suspected before the services. Only
//! services that were asked after that instant count. A service that had been silent before it, or that was not asked
//! since, neither confirms nor refutes the suspicion.

use super::clock::Instant;

/// At least this many services must have fallen silent at once.
pub const SERVICES_MIN: usize = 3;

/// What the attempts of one service show about the instant at which it fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SilentSpan {
    /// Its last answer; its start, if it has never answered.
    pub(super) alive_at: Instant,
    /// The end of the first of its consecutive dead attempts; `None` if the last attempt was not dead.
    pub(super) dead_at: Option<Instant>,
}

impl SilentSpan {
    fn contains(&self, instant: Instant) -> bool {
        self.alive_at < instant && self.dead_at.is_some_and(|dead_at| instant <= dead_at)
    }
}

/// Whether `subject` may have fallen silent for the same cause as at least two others. `spans` has one entry for each
/// service under an armed watchdog, `subject` included.
#[must_use]
pub(super) fn is_possible(subject: SilentSpan, spans: &[SilentSpan]) -> bool {
    let silent = || {
        spans
            .iter()
            .filter_map(|span| Some((span.alive_at, span.dead_at?)))
    };
    let mut began: Vec<Instant> = silent().map(|(alive_at, _)| alive_at).collect();
    let mut ended: Vec<Instant> = silent().map(|(_, dead_at)| dead_at).collect();
    began.sort_unstable();
    ended.sort_unstable();
    // A span that ended before the instant also began before it, so the difference is the number of spans around it.
    let count_at = |instant: Instant| {
        began.partition_point(|alive_at| *alive_at < instant)
            - ended.partition_point(|dead_at| *dead_at < instant)
    };
    // The number of spans around an instant is largest at the end of one of them, and the latest instant is the one that the
    // fewest answers refute.
    let fitting = ended
        .iter()
        .copied()
        .filter(|instant| subject.contains(*instant) && count_at(*instant) >= SERVICES_MIN);
    let Some(instant) = fitting.max() else {
        return false;
    };
    let is_refuted = spans.iter().any(|span| span.alive_at >= instant);
    !is_refuted
}

#[cfg(test)]
mod tests {
    use super::{SilentSpan, is_possible};
    use crate::decide::clock::{Duration, Instant};

    fn at(second: u64) -> Instant {
        Instant::START.after(Duration::from_secs(second))
    }

    fn silent(alive_at: u64, dead_at: u64) -> SilentSpan {
        SilentSpan {
            alive_at: at(alive_at),
            dead_at: Some(at(dead_at)),
        }
    }

    fn answering(alive_at: u64) -> SilentSpan {
        SilentSpan {
            alive_at: at(alive_at),
            dead_at: None,
        }
    }

    fn is_suspected(spans: &[SilentSpan]) -> bool {
        is_possible(spans[0], spans)
    }

    #[test]
    fn three_that_fell_silent_within_one_interval_have_a_common_cause_and_two_have_none() {
        assert!(is_suspected(&[silent(5, 8), silent(6, 9), silent(7, 10)]));
        assert!(!is_suspected(&[silent(5, 8), silent(6, 9)]));
    }

    #[test]
    fn no_instant_fits_services_that_answered_after_others_were_dead() {
        assert!(!is_suspected(&[silent(5, 8), silent(8, 9), silent(9, 10)]));
    }

    #[test]
    fn a_service_that_was_not_asked_since_neither_confirms_nor_refutes() {
        let asked = [silent(57, 60), silent(58, 61), silent(59, 62)];
        let mut all = asked.to_vec();
        all.push(answering(10));
        assert!(is_suspected(&all));
        assert!(!is_suspected(&[asked[0], asked[1], answering(10)]));
    }

    #[test]
    fn a_service_that_was_silent_before_neither_confirms_nor_refutes() {
        let before = silent(1, 2);
        let asked = [silent(57, 60), silent(58, 61), silent(59, 62)];
        assert!(is_suspected(&[asked[0], asked[1], asked[2], before]));
        assert!(!is_suspected(&[asked[0], asked[1], before]));
    }

    #[test]
    fn an_answer_after_the_instant_refutes_the_suspicion() {
        let asked = [silent(5, 8), silent(6, 9), silent(7, 10)];
        let mut all = asked.to_vec();
        all.push(answering(9));
        assert!(!is_suspected(&all));
    }

    #[test]
    fn a_service_that_fell_silent_alone_later_is_not_excused_by_the_others() {
        let before = [silent(5, 8), silent(6, 9), silent(7, 10)];
        assert!(!is_possible(
            silent(40, 43),
            &[silent(40, 43), before[0], before[1], before[2]]
        ));
    }
}
