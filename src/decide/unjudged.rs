//! Counts the attempts of a probe that gave no verdict since the last one that did. A watchdog that sees nothing for long is
//! blind, and says so.

use super::clock::{Duration, Instant};
use super::snapshot::Class;

/// Without a verdict for this long, the watchdog is blind.
pub(super) const BLIND_AFTER: Duration = Duration::from_secs(300);

/// The attempts since the last verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct UnjudgedAttempts {
    no_verdict: u32,
    void: u32,
    /// When the first of them ended.
    since: Option<Instant>,
    /// The blindness is recorded.
    reported: bool,
}

impl UnjudgedAttempts {
    /// Counts an attempt that ended at `now`.
    pub(super) fn note(&mut self, now: Instant, class: Class) {
        match class {
            Class::Alive | Class::Degraded | Class::Dead => *self = Self::default(),
            Class::NoVerdict => self.no_verdict = self.no_verdict.saturating_add(1),
            Class::Void => self.void = self.void.saturating_add(1),
        }
        if self.count() > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// How many there are.
    pub(super) const fn count(&self) -> u32 {
        self.no_verdict.saturating_add(self.void)
    }

    /// When the watchdog becomes blind, unless a verdict comes before; [`Instant::NEVER`] where that is recorded already.
    pub(super) fn blind_at(&self) -> Instant {
        match self.since {
            Some(since) if !self.reported => since.after(BLIND_AFTER),
            Some(_) | None => Instant::NEVER,
        }
    }

    /// Notes that the blindness is recorded.
    pub(super) fn report(&mut self) {
        self.reported = true;
    }

    /// "280 no verdict, 10 void".
    pub(super) fn in_words(&self) -> String {
        format!("{} no verdict, {} void", self.no_verdict, self.void)
    }
}
