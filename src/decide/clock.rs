//! Time as an argument: points and lengths, never "now".

pub use core::time::Duration;

/// A point in awake time: nanoseconds since the loop began, on a clock that stops in sleep.
///
/// Every decision is made with it; the wall clock only stamps records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The loop's first instant.
    pub const START: Self = Self(0);
    /// A point that never comes; the deadline of a machine which waits only for facts.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `span` later; saturates at [`Instant::NEVER`].
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long `earlier` lies back; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A span for a sentence: `200 ms`, `3.4 s`, `60 s`.
#[must_use]
pub fn in_words(span: Duration) -> String {
    let millis = (span.as_micros() + 500) / 1000;
    if millis < 1000 {
        format!("{millis} ms")
    } else if millis.is_multiple_of(1000) {
        format!("{} s", millis / 1000)
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, in_words};

    #[test]
    fn spans_read_well() {
        let said =
            [0, 999, 1000, 3440, 60_000].map(|millis| in_words(Duration::from_millis(millis)));
        assert_eq!(said, ["0 ms", "999 ms", "1 s", "3.4 s", "60 s"]);
    }

    #[test]
    fn arithmetic_saturates() {
        let one = Instant::START.after(Duration::from_nanos(1));
        assert_eq!(one.as_nanos(), 1);
        assert_eq!(Instant::START.since(one), Duration::ZERO);
        assert_eq!(one.after(Duration::MAX), Instant::NEVER);
        assert_eq!(Instant::NEVER.after(Duration::from_secs(1)), Instant::NEVER);
    }
}
