//! Conversion between the rows of the journal's database and the journal's types.

use super::entry::{Evidence, INCIDENTS, Incident, JournalEntry, WITH_EVIDENCE};
use super::entry::{from_millis, to_millis};
use super::persisted_state::{StateRow, StoredHold};
use crate::decide::action::RecordKind;
use rusqlite::{Row, Transaction, params};

/// The columns that [`read_entry`] reads, in its order.
pub(crate) const COLUMNS: &str =
    "e.id, e.at, e.service, e.kind, e.life, e.sentence, e.facts, e.decision";

pub(crate) fn write_entry(
    transaction: &Transaction<'_>,
    entry: &JournalEntry,
) -> rusqlite::Result<()> {
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
) -> rusqlite::Result<()> {
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

/// Writes the state of `service`. A stored `last_life` is never lowered.
pub(crate) fn write_state(
    transaction: &Transaction<'_>,
    service: &str,
    row: &StateRow,
) -> rusqlite::Result<()> {
    let hold = row.hold.as_ref();
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO kept VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
             max(?9, coalesce((SELECT last_life FROM kept WHERE service = ?1), 0)), ?10)",
        )?
        .execute(params![
            service,
            row.proof_key,
            row.stopped_in,
            hold.map(|hold| hold.until_ms),
            hold.map(|hold| hold.duration_ms),
            hold.map(|hold| &hold.reason),
            row.proven,
            row.parked,
            row.last_life,
            row.touched_ms,
        ])?;
    Ok(())
}

/// The FROM clause that joins events `e` with evidence `v`. Evidence belongs to the last kill, or wedge, of its
/// instance.
pub(crate) fn with_evidence() -> String {
    let kinds = quoted_list(&WITH_EVIDENCE);
    format!(
        "FROM events e LEFT JOIN evidence v ON e.kind IN ({kinds}) AND v.service = e.service AND v.life = e.life
         AND e.id = (SELECT max(k.id) FROM events k
                     WHERE k.service = e.service AND k.life = e.life AND k.kind IN ({kinds}))"
    )
}

/// The kinds of incidents as an SQL list.
pub(crate) fn incident_kinds() -> String {
    quoted_list(&INCIDENTS)
}

fn quoted_list(kinds: &[RecordKind]) -> String {
    let quoted = kinds.iter().map(|kind| format!("'{}'", kind.name()));
    quoted.collect::<Vec<_>>().join(", ")
}

pub(crate) fn read_entry(row: &Row<'_>) -> rusqlite::Result<JournalEntry> {
    let facts: String = row.get(6)?;
    Ok(JournalEntry {
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

/// Reads a row of [`COLUMNS`] followed by the summary and the text of the evidence.
pub(crate) fn read_incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    Ok(Incident {
        entry: read_entry(row)?,
        evidence_summary: row.get(8)?,
        evidence: row.get(9)?,
    })
}

/// Reads a row of the table `kept`; column 0 is the service.
pub(crate) fn read_state(row: &Row<'_>) -> rusqlite::Result<StateRow> {
    let until: Option<i64> = row.get(3)?;
    let hold = match until {
        Some(until_ms) => Some(StoredHold {
            until_ms,
            duration_ms: row.get(4)?,
            reason: row.get(5)?,
        }),
        None => None,
    };
    Ok(StateRow {
        proof_key: row.get(1)?,
        stopped_in: row.get(2)?,
        hold,
        proven: row.get(6)?,
        parked: row.get(7)?,
        last_life: row.get(8)?,
        touched_ms: row.get(9)?,
    })
}

/// Collects rows that come newest first, and returns them oldest first.
pub(crate) fn oldest_first<T>(
    newest_first: impl Iterator<Item = rusqlite::Result<T>>,
) -> rusqlite::Result<Vec<T>> {
    let mut found = newest_first.collect::<rusqlite::Result<Vec<T>>>()?;
    found.reverse();
    Ok(found)
}

/// SQLite integers are signed. Our numbers stay far below the largest one.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The inverse of [`signed`].
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
