//! The state of each service that outlives stayd, as stored in the journal's database, and the part of it that still
//! applies after a restart.

use super::entry::{from_millis, to_millis};
use crate::decide::action::Persist;
use crate::decide::event::{Life, PersistedState};
use crate::sys::clock;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The largest number of services whose state is stored. The service whose row was not changed for longest is dropped.
pub(crate) const SERVICES_MAX: usize = 1024;

/// One row of the table `kept`: the stored state of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateRow {
    /// Identifies the probe and the program that `proven` and `parked` are about.
    pub(crate) proof_key: String,
    /// The id of the boot in which a user stopped the service.
    pub(crate) stopped_in: Option<String>,
    pub(crate) hold: Option<StoredHold>,
    pub(crate) proven: bool,
    pub(crate) parked: bool,
    pub(crate) last_life: u32,
    /// The time of the last change, in milliseconds since 1970.
    pub(crate) touched_ms: i64,
}

/// A stored hold: stayd does not kill the service until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredHold {
    /// Its end by the wall clock, in milliseconds since 1970. Only the wall clock continues across a reboot.
    pub(crate) until_ms: i64,
    /// Its whole duration. It bounds the time left when the wall clock is set back.
    pub(crate) duration_ms: i64,
    pub(crate) reason: String,
}

impl StateRow {
    /// Applies `change` to the row of a service whose probe and program are now `proof_key`.
    pub(crate) fn apply(
        &mut self,
        proof_key: &str,
        change: &Persist,
        boot_id: &str,
        now: SystemTime,
    ) {
        if self.proof_key != proof_key {
            proof_key.clone_into(&mut self.proof_key);
            self.proven = false;
            self.parked = false;
        }
        match change {
            Persist::Stopped(stopped) => self.stopped_in = stopped.then(|| boot_id.to_owned()),
            Persist::Hold(hold) => {
                self.hold = hold
                    .as_ref()
                    .map(|(duration, reason)| StoredHold::new(*duration, reason, now));
            }
            Persist::Proven => self.proven = true,
            Persist::Parked(parked) => self.parked = *parked,
        }
    }

    /// The part of the row that still applies under `proof_key`, in boot `boot_id`, at `now`.
    fn still_valid(&self, proof_key: &str, boot_id: &str, now: SystemTime) -> PersistedState {
        let is_same = self.proof_key == proof_key;
        PersistedState {
            stopped: self.stopped_in.as_deref() == Some(boot_id),
            hold: self.hold.as_ref().and_then(|hold| hold.time_left(now)),
            proven: is_same && self.proven,
            last_life: Life(self.last_life),
            parked: is_same && self.parked,
            handover: None,
        }
    }
}

impl StoredHold {
    fn new(duration: Duration, reason: &str, now: SystemTime) -> Self {
        let duration_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self {
            until_ms: to_millis(now).saturating_add(duration_ms),
            duration_ms,
            reason: reason.to_owned(),
        }
    }

    /// The time left and the reason; none when the hold has ended.
    fn time_left(&self, now: SystemTime) -> Option<(Duration, String)> {
        let left = from_millis(self.until_ms).duration_since(now).ok()?;
        let duration = Duration::from_millis(u64::try_from(self.duration_ms).unwrap_or(0));
        let left = left.min(duration);
        (!left.is_zero()).then(|| (left, self.reason.clone()))
    }
}

/// The stored state of all services, as read when the journal was opened.
#[derive(Clone, Debug, Default)]
pub struct PersistedStates {
    pub(crate) rows: BTreeMap<String, StateRow>,
    pub(crate) boot_id: String,
}

impl PersistedStates {
    /// The state of `service` that still applies, given that its probe, query, command and program are now `proof_key`.
    /// Drops a stop of an earlier boot, a hold that has ended, and what was learned under another key.
    #[must_use]
    pub fn of(&self, service: &str, proof_key: &str) -> PersistedState {
        self.rows
            .get(service)
            .map(|row| row.still_valid(proof_key, &self.boot_id, clock::sample().wall))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn held_for(duration: Duration) -> StateRow {
        let mut row = StateRow::default();
        let change = Persist::Hold(Some((duration, "backup".to_owned())));
        row.apply("k", &change, "boot", from_millis(NOW_MS));
        row
    }

    fn hold_left(row: &StateRow, now_ms: i64) -> Option<Duration> {
        let state = row.still_valid("k", "boot", from_millis(now_ms));
        state.hold.map(|(left, _reason)| left)
    }

    #[test]
    fn a_hold_keeps_its_remaining_time_and_ends() {
        let row = held_for(Duration::from_secs(60));
        assert_eq!(
            hold_left(&row, NOW_MS + 20_000),
            Some(Duration::from_secs(40))
        );
        assert_eq!(hold_left(&row, NOW_MS + 60_000), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lengthen_a_hold() {
        let row = held_for(Duration::from_secs(60));
        assert_eq!(
            hold_left(&row, NOW_MS - 9_000_000),
            Some(Duration::from_secs(60))
        );
    }

    #[test]
    fn a_changed_probe_is_neither_proven_nor_parked() {
        let now = from_millis(NOW_MS);
        let mut row = StateRow::default();
        row.apply("k", &Persist::Proven, "boot", now);
        row.apply("k", &Persist::Parked(true), "boot", now);
        let same = row.still_valid("k", "boot", now);
        assert!(same.proven && same.parked);
        let other = row.still_valid("another", "boot", now);
        assert!(!other.proven && !other.parked);
        row.apply("another", &Persist::Stopped(false), "boot", now);
        assert!(!row.proven && !row.parked);
    }
}
