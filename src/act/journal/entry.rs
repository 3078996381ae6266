//! What the journal holds, and how it is asked for.

use crate::decide::action::{Record, RecordKind, RecordValue};
use serde_json::Map;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes of one piece of evidence; the rest is cut off and the cut is said.
const EVIDENCE_BYTES_MAX: usize = 128 * 1024;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Ascending, also over the death of stayd; there may be gaps.
    pub id: u64,
    /// The wall clock when it was recorded, to the millisecond.
    pub at: SystemTime,
    /// Whom it is about; none when about stayd itself.
    pub service: Option<String>,
    /// [`RecordKind::name`], or [`LOST`].
    pub kind: String,
    /// Which life, if one.
    pub life: Option<u32>,
    /// For a person.
    pub sentence: String,
    /// What a decision was made from.
    pub facts: Map<String, serde_json::Value>,
    /// [`RecordKind::is_decision`]
    pub decision: bool,
}

/// The kind of the entry that stands where records were lost.
pub const LOST: &str = "lost";

/// Kinds that are incidents.
pub(crate) const INCIDENTS: [RecordKind; 10] = [
    RecordKind::Killed,
    RecordKind::Crashed,
    RecordKind::Wedged,
    RecordKind::GaveUp,
    RecordKind::Blocked,
    RecordKind::Unkillable,
    RecordKind::Degraded,
    RecordKind::CommonCause,
    RecordKind::RolledBack,
    RecordKind::StateLost,
];

/// Kinds of which evidence is taken.
pub(crate) const WITH_EVIDENCE: [RecordKind; 2] = [RecordKind::Killed, RecordKind::Wedged];

/// Which entries are wanted: the newest `limit` of those that match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only about this service.
    pub service: Option<String>,
    /// Only with a higher id.
    pub after_id: Option<u64>,
    /// Only later than this.
    pub since: Option<SystemTime>,
    /// Only decisions.
    pub decisions_only: bool,
    /// At most this many.
    pub limit: usize,
}

/// A wedge, crash, conflict or give-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The decision.
    pub entry: Entry,
    /// What was seen before the kill, or of the wedge of a stranger, in a line.
    pub evidence_summary: Option<String>,
    /// All of it; only when one incident is asked for.
    pub evidence: Option<String>,
}

/// What was seen before the kill of a life, or of the wedge of a stranger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) service: String,
    pub(crate) life: u32,
    pub(crate) summary: String,
    pub(crate) text: String,
}

impl Entry {
    /// `record` as entry `id`, recorded at `at`.
    pub(crate) fn new(id: u64, at: SystemTime, service: Option<&str>, record: &Record) -> Self {
        Self {
            id,
            at: from_millis(to_millis(at)),
            service: service.map(str::to_owned),
            kind: record.kind.name().to_owned(),
            life: record.life.map(|life| life.0),
            sentence: record.sentence.clone(),
            facts: record
                .facts
                .iter()
                .map(|(name, value)| ((*name).to_owned(), to_json(value)))
                .collect(),
            decision: record.kind.is_decision(),
        }
    }

    /// The entry in the place of `count` records that were lost, the last of which was `last`.
    pub(crate) fn lost(count: u64, last: &Self) -> Self {
        Self {
            id: last.id,
            at: last.at,
            service: None,
            kind: LOST.to_owned(),
            life: None,
            sentence: format!("{count} records lost: the journal could not be written in time"),
            facts: Map::from_iter([("count".to_owned(), count.into())]),
            decision: false,
        }
    }

    /// Whether it is an incident.
    pub(crate) fn is_incident(&self) -> bool {
        INCIDENTS.iter().any(|kind| kind.name() == self.kind)
    }
}

impl Query {
    /// Whether `entry` is wanted, the limit aside.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.service
            .as_ref()
            .is_none_or(|service| entry.service.as_ref() == Some(service))
            && self.after_id.is_none_or(|id| entry.id > id)
            && self.since.is_none_or(|since| entry.at > since)
            && (entry.decision || !self.decisions_only)
    }
}

impl Evidence {
    /// Evidence whose text is cut to its bound.
    pub(crate) fn new(service: &str, life: u32, summary: String, mut text: String) -> Self {
        if text.len() > EVIDENCE_BYTES_MAX {
            let surplus = text.len() - EVIDENCE_BYTES_MAX;
            text.truncate(text.floor_char_boundary(EVIDENCE_BYTES_MAX));
            text.push_str(&format!("\n({surplus} bytes more were cut off)\n"));
        }
        Self {
            service: service.to_owned(),
            life,
            summary,
            text,
        }
    }

    /// Whether it is about the life that `entry` speaks of the kill or the wedge of.
    pub(crate) fn is_of(&self, entry: &Entry) -> bool {
        WITH_EVIDENCE.iter().any(|kind| kind.name() == entry.kind)
            && entry.service.as_ref() == Some(&self.service)
            && entry.life == Some(self.life)
    }
}

fn to_json(value: &RecordValue) -> serde_json::Value {
    match value {
        RecordValue::Number(number) | RecordValue::Millis(number) => (*number).into(),
        RecordValue::Flag(flag) => (*flag).into(),
        RecordValue::Text(text) => text.clone().into(),
    }
}

/// Milliseconds since 1970 as the database holds them; a clock before that counts as 1970.
pub(crate) fn to_millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The other way round.
pub(crate) fn from_millis(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
