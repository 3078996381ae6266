//! The journal's SQLite database: opening and checking the file, writing batches, pruning, and queries.

use super::entry::{EventQuery, Incident, JournalEntry, to_millis};
use super::persisted_state::{SERVICES_MAX, StateRow};
use super::queue::Batch;
use super::rows::{self, COLUMNS, signed, unsigned};
use crate::act::dirs::state_dir::FILE_MODE;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest number of events; older ones are deleted.
pub const EVENTS_MAX: u64 = 20_000;
/// The most bytes of text in one answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The events are pruned once per this many new ids, so that not every batch has to prune.
const PRUNE_INTERVAL: u64 = 500;
/// The largest number of pieces of evidence.
const EVIDENCE_MAX: u32 = 64;
/// The largest number of damaged files that are preserved; a later one replaces the last of them.
const SET_ASIDE_MAX: u32 = 8;
/// Pages of 4 KiB in SQLite's cache.
const CACHE_PAGES: i64 = 64;
/// Pages in the write-ahead log at which SQLite copies it into the database file.
const CHECKPOINT_PAGES: i64 = 64;
/// The size to which the file of the write-ahead log is cut after that.
const WAL_BYTES_MAX: i64 = 512 * 1024;
/// Prepared statements that SQLite caches; a batch needs three.
const STATEMENTS_MAX: usize = 4;
/// How long to wait for another process's lock, such as that of a user's sqlite3 shell.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// One SQL script for each version of the schema; `user_version` counts the scripts that were executed.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, service TEXT, kind TEXT NOT NULL, life INTEGER,
        sentence TEXT NOT NULL, facts TEXT NOT NULL, decision INTEGER NOT NULL);
    CREATE INDEX events_of_service ON events (service, id);
    CREATE TABLE evidence (
        id INTEGER PRIMARY KEY, service TEXT NOT NULL, life INTEGER NOT NULL,
        summary TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (service, life));
    CREATE TABLE kept (
        service TEXT PRIMARY KEY, proof_key TEXT NOT NULL, stopped_in TEXT,
        hold_until INTEGER, hold_span INTEGER, hold_reason TEXT,
        proven INTEGER NOT NULL, parked INTEGER NOT NULL, last_life INTEGER NOT NULL, touched INTEGER NOT NULL);
"];

/// The schema version of a journal after this stayd has opened it.
#[expect(clippy::cast_possible_truncation, reason = "there are only a few")]
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// Why an operation on the database failed.
#[derive(Debug)]
pub(crate) enum JournalError {
    /// The file is damaged: it is renamed and a new one is created.
    Damaged(String),
    /// The disk refused the operation, or another process holds a lock on the file. It can succeed later.
    Unavailable(String),
}

impl std::fmt::Display for JournalError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(why) | Self::Unavailable(why) => out.write_str(why),
        }
    }
}

impl From<rusqlite::Error> for JournalError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    /// Device and inode of the file that was opened.
    file: (u64, u64),
}

impl Database {
    /// Opens the database at `path`, creating it if it is missing, checks it and migrates its schema.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(path)?
            .metadata()?;
        fs::set_permissions(path, Permissions::from_mode(FILE_MODE))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        configure(&connection)?;
        check(&connection)?;
        migrate(&mut connection)?;
        Ok(Self {
            connection,
            file: (file.dev(), file.ino()),
        })
    }

    /// Opens the database at `path` for queries, while no stayd uses it.
    pub(crate) fn open_stored(path: &Path) -> Result<Self, JournalError> {
        let file = fs::metadata(path)?;
        // Not read-only: SQLite must be able to read the write-ahead log that a killed stayd has left.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != SCHEMA {
            return Err(JournalError::Unavailable(format!(
                "it has schema {version}, and this stayd reads schema {SCHEMA}"
            )));
        }
        Ok(Self {
            connection,
            file: (file.dev(), file.ino()),
        })
    }

    /// Whether `path` still is this file. A user may have deleted or replaced it.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }

    /// The highest id of an event; 0 when there is none.
    pub(crate) fn last_id(&self) -> Result<u64, JournalError> {
        let sql = "SELECT coalesce(max(id), 0) FROM events";
        Ok(unsigned(
            self.connection.query_row(sql, [], |row| row.get(0))?,
        ))
    }

    /// The stored state of every service. Its last instance number is the highest one in its row and in its events.
    pub(crate) fn states(&self) -> Result<BTreeMap<String, StateRow>, JournalError> {
        let mut states = BTreeMap::new();
        let mut statement = self.connection.prepare(
            "SELECT service, proof_key, stopped_in, hold_until, hold_span, hold_reason, proven, parked, last_life, touched
             FROM kept",
        )?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, rows::read_state(row)?)))? {
            let (service, row): (String, StateRow) = row?;
            states.insert(service, row);
        }
        let mut statement = self.connection.prepare(
            "SELECT service, max(life) FROM events
             WHERE service IS NOT NULL AND life IS NOT NULL GROUP BY service",
        )?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (service, life): (String, u32) = row?;
            let row = states.entry(service).or_insert_with(StateRow::default);
            row.last_life = row.last_life.max(life);
        }
        Ok(states)
    }

    /// Writes `batch` in one transaction, and deletes the oldest rows of tables that are larger than their bounds.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let transaction = self.connection.transaction()?;
        for entry in &batch.entries {
            rows::write_entry(&transaction, entry)?;
        }
        for evidence in &batch.evidence {
            rows::write_evidence(&transaction, evidence)?;
        }
        for (service, row) in &batch.states {
            rows::write_state(&transaction, service, row)?;
        }
        prune(&transaction, batch)?;
        Ok(transaction.commit()?)
    }

    /// The newest entries that match `query`, oldest first; fewer than its limit if their texts need too much memory.
    pub(crate) fn events(&self, query: &EventQuery) -> Result<Vec<JournalEntry>, JournalError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS} FROM events e
             WHERE (?1 IS NULL OR service = ?1) AND id > ?2 AND at > ?3 AND decision >= ?4
             ORDER BY id DESC LIMIT ?5"
        ))?;
        let since = query.since.map_or(-1, to_millis);
        let found = statement.query_map(
            params![
                query.service,
                signed(query.after_id.unwrap_or(0)),
                since,
                query.decisions_only,
                signed(query.limit as u64),
            ],
            rows::read_entry,
        )?;
        let mut bytes = 0;
        let within_bounds = found.take_while(|entry| {
            bytes += entry.as_ref().map_or(0, JournalEntry::text_bytes);
            bytes <= ANSWER_BYTES_MAX
        });
        Ok(rows::oldest_first(within_bounds)?)
    }

    /// The newest incidents, oldest first, without the text of their evidence.
    pub(crate) fn incidents(&self, limit: usize) -> Result<Vec<Incident>, JournalError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS}, v.summary, NULL {} WHERE e.kind IN ({}) ORDER BY e.id DESC LIMIT ?1",
            rows::with_evidence(),
            rows::incident_kinds()
        ))?;
        let found = statement.query_map([signed(limit as u64)], rows::read_incident)?;
        Ok(rows::oldest_first(found)?)
    }

    /// The incident with this id and its whole evidence; none when there is no such incident.
    pub(crate) fn incident(&self, id: u64) -> Result<Option<Incident>, JournalError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS}, v.summary, v.text {} WHERE e.id = ?1 AND e.kind IN ({})",
            rows::with_evidence(),
            rows::incident_kinds()
        ))?;
        Ok(statement
            .query_row([signed(id)], rows::read_incident)
            .optional()?)
    }

    /// Frees the memory that a large answer needed.
    pub(crate) fn shrink(&self) {
        // If this fails, SQLite frees the pages when it needs others.
        let _ignored = self.connection.execute_batch("PRAGMA shrink_memory");
    }

    /// Copies the write-ahead log into the database file and closes the database.
    pub(crate) fn close(self) -> Result<(), JournalError> {
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.query_row(truncate, [], |_row| Ok(()))?;
        self.connection
            .close()
            .map_err(|(_open, error)| error.into())
    }
}

/// Renames the database at `path` and its write-ahead log, and returns the new name.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let numbered = |number| with_suffix(path, &format!(".corrupt-{number}"));
    let aside = (1..SET_ASIDE_MAX)
        .map(numbered)
        .find(|name| !name.exists())
        .unwrap_or_else(|| numbered(SET_ASIDE_MAX));
    fs::rename(path, &aside)?;
    // A log that stays behind would be read as that of the new file.
    match fs::rename(with_suffix(path, "-wal"), with_suffix(&aside, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(aside),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Deletes the oldest rows of each table that `batch` may have filled beyond its bound.
fn prune(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let first_and_last = (batch.entries.first(), batch.entries.last());
    if let (Some(first), Some(last)) = first_and_last
        && first.id / PRUNE_INTERVAL != (last.id + 1) / PRUNE_INTERVAL
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
    if !batch.states.is_empty() {
        transaction.execute(
            "DELETE FROM kept WHERE service IN
             (SELECT service FROM kept ORDER BY touched DESC LIMIT -1 OFFSET ?1)",
            [signed(SERVICES_MAX as u64)],
        )?;
    }
    Ok(())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // In exclusive mode the index of the log is in memory, not in a mapped file, where a full disk would cause SIGBUS.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", CACHE_PAGES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)
}

fn check(connection: &Connection) -> Result<(), JournalError> {
    let sql = "PRAGMA quick_check(1)";
    let found: String = connection.query_row(sql, [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(JournalError::Damaged(found))
}

fn migrate(connection: &mut Connection) -> Result<(), JournalError> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| {
        row.get::<_, u32>(0).map(|version| version as usize)
    })?;
    let Some(missing) = MIGRATIONS.get(version..) else {
        return Err(JournalError::Damaged(format!(
            "its schema {version} is of a newer stayd; this stayd supports schemas up to {}",
            MIGRATIONS.len()
        )));
    };
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for script in missing {
        transaction.execute_batch(script)?;
    }
    transaction.pragma_update(None, "user_version", signed(MIGRATIONS.len() as u64))?;
    Ok(transaction.commit()?)
}
