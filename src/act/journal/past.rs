//! Wishes that outlive stayd: what is kept of each service, and what of it still holds.

use super::entry::{from_millis, to_millis};
use crate::decide::action::Persist;
use crate::decide::event::{Life, PersistedState};
use crate::sys::clock;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// A service's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The probe and program that `proven` and `parked` are about.
    pub(crate) proof_key: String,
    /// The boot in which `stop` was wished.
    pub(crate) stopped_in: Option<String>,
    pub(crate) hold: Option<Hold>,
    pub(crate) proven: bool,
    pub(crate) parked: bool,
    pub(crate) last_life: u32,
    /// When it last changed, in milliseconds since 1970.
    pub(crate) touched_ms: i64,
}

/// No kills for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Its end by the wall clock, in milliseconds since 1970: the only clock that a reboot leaves.
    pub(crate) until_ms: i64,
    /// Its whole length: a wall clock that was set back cannot make it longer.
    pub(crate) span_ms: i64,
    pub(crate) reason: String,
}

impl Kept {
    /// Takes over what `keep` says about the service as it is now under `proof_key`.
    pub(crate) fn take(&mut self, proof_key: &str, keep: &Persist, boot_id: &str, now: SystemTime) {
        if self.proof_key != proof_key {
            proof_key.clone_into(&mut self.proof_key);
            self.proven = false;
            self.parked = false;
        }
        match keep {
            Persist::Stopped(stopped) => self.stopped_in = stopped.then(|| boot_id.to_owned()),
            Persist::Hold(hold) => {
                self.hold = hold
                    .as_ref()
                    .map(|(span, reason)| Hold::new(*span, reason, now));
            }
            Persist::Proven => self.proven = true,
            Persist::Parked(parked) => self.parked = *parked,
        }
    }

    fn remembered(&self, proof_key: &str, boot_id: &str, now: SystemTime) -> PersistedState {
        let same = self.proof_key == proof_key;
        PersistedState {
            stopped: self.stopped_in.as_deref() == Some(boot_id),
            hold: self.hold.as_ref().and_then(|hold| hold.left(now)),
            proven: same && self.proven,
            last_life: Life(self.last_life),
            parked: same && self.parked,
            handover: None,
        }
    }
}

impl Hold {
    fn new(span: Duration, reason: &str, now: SystemTime) -> Self {
        let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self {
            until_ms: to_millis(now).saturating_add(span_ms),
            span_ms,
            reason: reason.to_owned(),
        }
    }

    /// How much of it is left, and why; none when it is over.
    fn left(&self, now: SystemTime) -> Option<(Duration, String)> {
        let left = from_millis(self.until_ms).duration_since(now).ok()?;
        let span = Duration::from_millis(u64::try_from(self.span_ms).unwrap_or(0));
        let left = left.min(span);
        (!left.is_zero()).then(|| (left, self.reason.clone()))
    }
}

/// What the stayd before this one left.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub(crate) kept: BTreeMap<String, Kept>,
    pub(crate) boot_id: String,
}

impl Past {
    /// What is known of `service`, whose probe, query, command and program are now `proof_key`. A stop of an
    /// earlier boot, a hold that has run out and what was learnt under another key are forgotten.
    #[must_use]
    pub fn of(&self, service: &str, proof_key: &str) -> PersistedState {
        self.kept
            .get(service)
            .map(|kept| kept.remembered(proof_key, &self.boot_id, clock::sample().wall))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn held(span: Duration) -> Kept {
        let mut kept = Kept::default();
        let keep = Persist::Hold(Some((span, "backup".to_owned())));
        kept.take("k", &keep, "boot", from_millis(NOW_MS));
        kept
    }

    fn left(kept: &Kept, now_ms: i64) -> Option<Duration> {
        let remembered = kept.remembered("k", "boot", from_millis(now_ms));
        remembered.hold.map(|(left, _why)| left)
    }

    #[test]
    fn a_hold_has_the_time_left_and_ends() {
        let kept = held(Duration::from_secs(60));
        assert_eq!(left(&kept, NOW_MS + 20_000), Some(Duration::from_secs(40)));
        assert_eq!(left(&kept, NOW_MS + 60_000), None);
    }

    #[test]
    fn a_clock_set_back_makes_no_hold_longer() {
        let kept = held(Duration::from_secs(60));
        assert_eq!(
            left(&kept, NOW_MS - 9_000_000),
            Some(Duration::from_secs(60))
        );
    }

    #[test]
    fn another_probe_has_proven_nothing_and_parks_nothing() {
        let mut kept = Kept::default();
        kept.take("k", &Persist::Proven, "boot", from_millis(NOW_MS));
        kept.take("k", &Persist::Parked(true), "boot", from_millis(NOW_MS));
        let same = kept.remembered("k", "boot", from_millis(NOW_MS));
        assert!(same.proven && same.parked);
        let other = kept.remembered("another", "boot", from_millis(NOW_MS));
        assert!(!other.proven && !other.parked);
        kept.take(
            "another",
            &Persist::Stopped(false),
            "boot",
            from_millis(NOW_MS),
        );
        assert!(!kept.proven && !kept.parked);
    }
}
