//! The contents of the journal: entries, incidents and evidence, and the query that selects entries.

use crate::decide::action::{Record, RecordKind, RecordValue};
use serde_json::Map;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest text of one piece of evidence, in bytes. The rest is cut off, and the text says how much.
const EVIDENCE_BYTES_MAX: usize = 128 * 1024;
/// The longest sentence of an entry. The sentences of stayd itself are much shorter.
const SENTENCE_BYTES_MAX: usize = 2048;
/// The longest text among the facts of an entry.
const FACT_BYTES_MAX: usize = 512;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Ascending, also across restarts of stayd. There may be gaps.
    pub id: u64,
    /// The wall clock at the time of recording, to the millisecond.
    pub at: SystemTime,
    /// The service that the record is about; none when it is about stayd itself.
    pub service: Option<String>,
    /// [`RecordKind::name`], or [`LOST_KIND`].
    pub kind: String,
    /// The number of the instance, if the record is about one.
    pub life: Option<u32>,
    /// The sentence that is shown to users.
    pub sentence: String,
    /// The facts that the decision was made from.
    pub facts: Map<String, serde_json::Value>,
    /// [`RecordKind::is_decision`]
    pub decision: bool,
}

/// The kind of the entry that replaces lost records.
pub const LOST_KIND: &str = "lost";

/// The kinds of records that are incidents.
pub(crate) const INCIDENTS: [RecordKind; 11] = [
    RecordKind::Killed,
    RecordKind::Crashed,
    RecordKind::Wedged,
    RecordKind::GaveUp,
    RecordKind::Blocked,
    RecordKind::Unkillable,
    RecordKind::Degraded,
    RecordKind::Blind,
    RecordKind::CommonCause,
    RecordKind::RolledBack,
    RecordKind::StateLost,
];

/// The kinds of records that evidence is collected for.
pub(crate) const WITH_EVIDENCE: [RecordKind; 2] = [RecordKind::Killed, RecordKind::Wedged];

/// Selects the newest `limit` entries that match all conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only entries about this service.
    pub service: Option<String>,
    /// Only entries with a higher id.
    pub after_id: Option<u64>,
    /// Only entries recorded later.
    pub since: Option<SystemTime>,
    /// Only decisions.
    pub decisions_only: bool,
    /// The largest number of entries.
    pub limit: usize,
}

/// An entry about a problem of a service, such as a wedge, a crash or a conflict, and its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The recorded decision.
    pub entry: JournalEntry,
    /// One line about the evidence collected before the kill, or about the wedge of a foreign process.
    pub evidence_summary: Option<String>,
    /// The whole evidence; only when a single incident is asked for.
    pub evidence: Option<String>,
}

/// What was collected before the kill of an instance, or about the wedge of a foreign process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) service: String,
    pub(crate) life: u32,
    pub(crate) summary: String,
    pub(crate) text: String,
}

impl JournalEntry {
    /// `record` as entry `id`, recorded at `at`.
    pub(crate) fn new(id: u64, at: SystemTime, service: Option<&str>, record: &Record) -> Self {
        Self {
            id,
            at: from_millis(to_millis(at)),
            service: service.map(str::to_owned),
            kind: record.kind.name().to_owned(),
            life: record.life.map(|life| life.0),
            sentence: bounded(&record.sentence, SENTENCE_BYTES_MAX),
            facts: record
                .facts
                .iter()
                .map(|(name, value)| ((*name).to_owned(), to_json(value)))
                .collect(),
            decision: record.kind.is_decision(),
        }
    }

    /// The entry that replaces `count` lost records. `last` is the last of them.
    pub(crate) fn lost(count: u64, last: &Self) -> Self {
        Self {
            id: last.id,
            at: last.at,
            service: None,
            kind: LOST_KIND.to_owned(),
            life: None,
            sentence: format!("{count} records lost: the journal could not be written in time"),
            facts: Map::from_iter([("count".to_owned(), count.into())]),
            decision: false,
        }
    }

    /// About the memory that its texts need.
    pub(crate) fn text_bytes(&self) -> usize {
        let facts = self.facts.iter();
        let facts = facts.map(|(name, value)| name.len() + value.as_str().map_or(8, str::len));
        self.sentence.len() + facts.sum::<usize>()
    }

    /// Whether the entry is an incident.
    pub(crate) fn is_incident(&self) -> bool {
        INCIDENTS.iter().any(|kind| kind.name() == self.kind)
    }
}

impl EventQuery {
    /// Whether `entry` meets all conditions except the limit.
    pub(crate) fn matches(&self, entry: &JournalEntry) -> bool {
        self.service
            .as_ref()
            .is_none_or(|service| entry.service.as_ref() == Some(service))
            && self.after_id.is_none_or(|id| entry.id > id)
            && self.since.is_none_or(|since| entry.at > since)
            && (entry.decision || !self.decisions_only)
    }
}

impl Evidence {
    /// Evidence about instance `life` of `service`; cuts `text` to its largest size.
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

    /// Whether `entry` is the kill or the wedge of the instance that the evidence is about.
    pub(crate) fn is_of(&self, entry: &JournalEntry) -> bool {
        WITH_EVIDENCE.iter().any(|kind| kind.name() == entry.kind)
            && entry.service.as_ref() == Some(&self.service)
            && entry.life == Some(self.life)
    }
}

fn to_json(value: &RecordValue) -> serde_json::Value {
    match value {
        RecordValue::Number(number) | RecordValue::Millis(number) => (*number).into(),
        RecordValue::Flag(flag) => (*flag).into(),
        RecordValue::Text(text) => bounded(text, FACT_BYTES_MAX).into(),
    }
}

/// `text`, cut to about `max` bytes. Parts of it come from services and databases, which can send as much as they like.
fn bounded(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max);
    format!("{}… ({} more bytes)", &text[..end], text.len() - end)
}

/// Milliseconds since 1970, as stored in the database. A time before 1970 counts as 1970.
pub(crate) fn to_millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The inverse of [`to_millis`].
pub(crate) fn from_millis(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::{FACT_BYTES_MAX, JournalEntry, SENTENCE_BYTES_MAX};
    use crate::decide::action::{Record, RecordKind, RecordValue};
    use std::time::SystemTime;

    #[test]
    fn a_record_with_endless_texts_has_a_bound() {
        let endless = "é".repeat(1_000_000);
        let record = Record {
            kind: RecordKind::Verdict,
            life: None,
            sentence: endless.clone(),
            facts: vec![("how", RecordValue::Text(endless))],
        };
        let entry = JournalEntry::new(1, SystemTime::UNIX_EPOCH, Some("db"), &record);
        assert!(entry.sentence.len() < SENTENCE_BYTES_MAX + 50);
        assert!(entry.sentence.ends_with("… (1997952 more bytes)"));
        assert!(entry.text_bytes() < SENTENCE_BYTES_MAX + FACT_BYTES_MAX + 100);
    }
}
