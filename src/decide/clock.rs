//! Instants and durations on the loop's clock. Callers pass the time as an argument; nothing here reads a clock.

pub use core::time::Duration;

/// An instant: nanoseconds since the loop began, on a clock that stops while the machine sleeps.
///
/// Every decision is made with it; the wall clock is used only to stamp records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct Instant(u64);

impl Instant {
    /// The loop's first instant.
    pub const START: Self = Self(0);
    /// An instant that never comes; the deadline of a machine that waits only for events.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant `duration` later; saturates at [`Instant::NEVER`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// The duration from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration for a sentence: `200 ms`, `3.4 s`, `60 s`.
#[must_use]
pub fn in_words(duration: Duration) -> String {
    let millis = (duration.as_micros() + 500) / 1000;
    if millis < 1000 {
        format!("{millis} ms")
    } else if millis.is_multiple_of(1000) {
        format!("{} s", millis / 1000)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, in_words};

    #[test]
    fn durations_are_rounded_for_sentences() {
        let words =
            [0, 999, 1000, 3440, 60_000].map(|millis| in_words(Duration::from_millis(millis)));
        assert_eq!(words, ["0 ms", "999 ms", "1 s", "3.4 s", "60 s"]);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let one = Instant::START.after(Duration::from_nanos(1));
        assert_eq!(one.as_nanos(), 1);
        assert_eq!(Instant::START.since(one), Duration::ZERO);
        assert_eq!(one.after(Duration::MAX), Instant::NEVER);
        assert_eq!(Instant::NEVER.after(Duration::from_secs(1)), Instant::NEVER);
    }
}
