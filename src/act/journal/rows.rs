//! The database's rows: how each is written, bounded and read.

use super::disk::{Batch, KEPT_MAX, Trouble};
use super::entry::{Entry, Evidence, INCIDENTS, Incident, WITH_EVIDENCE, from_millis, to_millis};
use super::past::{Hold, Kept};
use crate::decide::action::RecordKind;
use rusqlite::{Row, Transaction, params};

/// Most records; older ones go.
pub const EVENTS_MAX: u64 = 20_000;
/// So many beyond [`EVENTS_MAX`] are let grow, so that not every batch prunes.
const PRUNE_AT: u64 = 500;
/// Most pieces of evidence.
const EVIDENCE_MAX: u32 = 64;

/// What [`read_entry`] reads.
pub(crate) const COLUMNS: &str =
    "e.id, e.at, e.service, e.kind, e.life, e.sentence, e.facts, e.decision";

pub(crate) fn write_entry(transaction: &Transaction<'_>, entry: &Entry) -> Result<(), Trouble> {
    let facts = serde_json::to_string(&entry.facts).unwrap_or_default();
    transaction
        .prepare_cached("INSERT OR REPLACE INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            signed(entry.id),
            to_millis(entry.at),
            entry.service,
            entry.kind,
            entry.life,
            entry.sentence,
            facts,
            entry.decision,
        ])?;
    Ok(())
}

pub(crate) fn write_evidence(
    transaction: &Transaction<'_>,
    evidence: &Evidence,
) -> Result<(), Trouble> {
    transaction.execute(
        "INSERT OR REPLACE INTO evidence (service, life, summary, text) VALUES (?1, ?2, ?3, ?4)",
        params![
            evidence.service,
            evidence.life,
            evidence.summary,
            evidence.text
        ],
    )?;
    Ok(())
}

pub(crate) fn write_kept(
    transaction: &Transaction<'_>,
    service: &str,
    kept: &Kept,
) -> Result<(), Trouble> {
    let hold = kept.hold.as_ref();
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO kept VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
             max(?9, coalesce((SELECT last_life FROM kept WHERE service = ?1), 0)), ?10)",
        )?
        .execute(params![
            service,
            kept.proof_key,
            kept.stopped_in,
            hold.map(|hold| hold.until_ms),
            hold.map(|hold| hold.span_ms),
            hold.map(|hold| &hold.reason),
            kept.proven,
            kept.parked,
            kept.last_life,
            kept.touched_ms,
        ])?;
    Ok(())
}

pub(crate) fn prune(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let first_and_last = (batch.entries.first(), batch.entries.last());
    if let (Some(first), Some(last)) = first_and_last
        && first.id / PRUNE_AT != (last.id + 1) / PRUNE_AT
    {
        transaction.execute(
            "DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            [signed(EVENTS_MAX)],
        )?;
    }
    if !batch.evidence.is_empty() {
        transaction.execute(
            "DELETE FROM evidence WHERE id <= (SELECT id FROM evidence ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            [EVIDENCE_MAX],
        )?;
    }
    if !batch.kept.is_empty() {
        transaction.execute(
            "DELETE FROM kept WHERE service IN
             (SELECT service FROM kept ORDER BY touched DESC LIMIT -1 OFFSET ?1)",
            [signed(KEPT_MAX as u64)],
        )?;
    }
    Ok(())
}

/// The entries joined with what was seen: it belongs to the last kill, or wedge, of its life.
pub(crate) fn with_evidence() -> String {
    let kinds = listed(&WITH_EVIDENCE);
    format!(
        "FROM events e LEFT JOIN evidence v ON e.kind IN ({kinds}) AND v.service = e.service AND v.life = e.life
         AND e.id = (SELECT max(k.id) FROM events k
                     WHERE k.service = e.service AND k.life = e.life AND k.kind IN ({kinds}))"
    )
}

pub(crate) fn incident_kinds() -> String {
    listed(&INCIDENTS)
}

fn listed(kinds: &[RecordKind]) -> String {
    let quoted = kinds.iter().map(|kind| format!("'{}'", kind.name()));
    quoted.collect::<Vec<_>>().join(", ")
}

pub(crate) fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let facts: String = row.get(6)?;
    Ok(Entry {
        id: unsigned(row.get(0)?),
        at: from_millis(row.get(1)?),
        service: row.get(2)?,
        kind: row.get(3)?,
        life: row.get(4)?,
        sentence: row.get(5)?,
        facts: serde_json::from_str(&facts).unwrap_or_default(),
        decision: row.get(7)?,
    })
}

pub(crate) fn read_incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    Ok(Incident {
        entry: read_entry(row)?,
        evidence_summary: row.get(8)?,
        evidence: row.get(9)?,
    })
}

pub(crate) fn read_kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let until: Option<i64> = row.get(3)?;
    let hold = match until {
        Some(until_ms) => Some(Hold {
            until_ms,
            span_ms: row.get(4)?,
            reason: row.get(5)?,
        }),
        None => None,
    };
    Ok(Kept {
        proof_key: row.get(1)?,
        stopped_in: row.get(2)?,
        hold,
        proven: row.get(6)?,
        parked: row.get(7)?,
        last_life: row.get(8)?,
        touched_ms: row.get(9)?,
    })
}

pub(crate) fn oldest_first<T>(
    newest_first: impl Iterator<Item = rusqlite::Result<T>>,
) -> Result<Vec<T>, Trouble> {
    let mut found = newest_first.collect::<rusqlite::Result<Vec<T>>>()?;
    found.reverse();
    Ok(found)
}

/// SQLite's integers have a sign; ours stay far below it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way round.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
