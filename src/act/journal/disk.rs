//! The database: opened, set aside when it is damaged, written in batches, asked.

use super::entry::{Entry, Evidence, Incident, Query, to_millis};
use super::past::Kept;
use super::rows::{self, COLUMNS, signed, unsigned};
use crate::act::dirs::state_dir::FILE_MODE;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Most services of which something is kept; those not touched for longest go.
pub(crate) const KEPT_MAX: usize = 1024;
/// Damaged files that are kept; a later one takes the place of the last.
const SET_ASIDE_MAX: u32 = 8;
/// Pages of 4 KiB that are held in memory.
const CACHE_PAGES: i64 = 64;
/// Pages in the write-ahead log before it is copied into the file.
const CHECKPOINT_PAGES: i64 = 64;
/// What is left of the write-ahead log's file after that.
const WAL_BYTES_MAX: i64 = 512 * 1024;
/// Statements that stay prepared: the three of a batch.
const STATEMENTS_MAX: usize = 4;
/// How long somebody else's lock (a shell's on the file) is waited for.
const BUSY_WITHIN: Duration = Duration::from_millis(500);

/// One script for each step of the schema; `user_version` counts those that are done.
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

/// The schema that a journal has which this stayd has opened.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// What one transaction writes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) kept: BTreeMap<String, Kept>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.evidence.is_empty() && self.kept.is_empty()
    }
}

/// Why the database cannot be used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The file makes no sense: it is set aside and another one begun.
    Damaged(String),
    /// The disk or a lock refuses.
    Refused(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(why) | Self::Refused(why) => out.write_str(why),
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Disk {
    connection: Connection,
    /// Device and inode of the file that was opened.
    file: (u64, u64),
}

impl Disk {
    /// Opens `path`, checks it and brings its schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Self, Trouble> {
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

    /// Whether `path` still leads to this file: somebody may have deleted it, or put another in its place.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == self.file)
    }

    /// The highest id, and whether there is any record.
    pub(crate) fn last_id(&self) -> Result<u64, Trouble> {
        let sql = "SELECT coalesce(max(id), 0) FROM events";
        Ok(unsigned(
            self.connection.query_row(sql, [], |row| row.get(0))?,
        ))
    }

    /// What is kept of every service; its last life is the highest that was kept or recorded.
    pub(crate) fn kept(&self) -> Result<BTreeMap<String, Kept>, Trouble> {
        let mut kept = BTreeMap::new();
        let mut statement = self.connection.prepare(
            "SELECT service, proof_key, stopped_in, hold_until, hold_span, hold_reason, proven, parked, last_life, touched
             FROM kept",
        )?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, rows::read_kept(row)?)))? {
            let (service, row): (String, Kept) = row?;
            kept.insert(service, row);
        }
        let mut statement = self.connection.prepare(
            "SELECT service, max(life) FROM events
             WHERE service IS NOT NULL AND life IS NOT NULL GROUP BY service",
        )?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (service, life): (String, u32) = row?;
            let kept = kept.entry(service).or_insert_with(Kept::default);
            kept.last_life = kept.last_life.max(life);
        }
        Ok(kept)
    }

    /// Writes all of `batch` or nothing, and keeps every table within its bound.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), Trouble> {
        let transaction = self.connection.transaction()?;
        for entry in &batch.entries {
            rows::write_entry(&transaction, entry)?;
        }
        for evidence in &batch.evidence {
            rows::write_evidence(&transaction, evidence)?;
        }
        for (service, kept) in &batch.kept {
            rows::write_kept(&transaction, service, kept)?;
        }
        rows::prune(&transaction, batch)?;
        Ok(transaction.commit()?)
    }

    /// The newest entries that match, oldest first.
    pub(crate) fn events(&self, query: &Query) -> Result<Vec<Entry>, Trouble> {
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
        rows::oldest_first(found)
    }

    /// The newest incidents, oldest first, without the text of their evidence.
    pub(crate) fn incidents(&self, limit: usize) -> Result<Vec<Incident>, Trouble> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS}, v.summary, NULL {} WHERE e.kind IN ({}) ORDER BY e.id DESC LIMIT ?1",
            rows::with_evidence(),
            rows::incident_kinds()
        ))?;
        let found = statement.query_map([signed(limit as u64)], rows::read_incident)?;
        rows::oldest_first(found)
    }

    /// One incident with all its evidence.
    pub(crate) fn incident(&self, id: u64) -> Result<Option<Incident>, Trouble> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS}, v.summary, v.text {} WHERE e.id = ?1 AND e.kind IN ({})",
            rows::with_evidence(),
            rows::incident_kinds()
        ))?;
        Ok(statement
            .query_row([signed(id)], rows::read_incident)
            .optional()?)
    }

    /// Gives back the memory that a large answer took.
    pub(crate) fn shrink(&self) {
        // Only a wish: without it the pages go when others are needed.
        let _unheeded = self.connection.execute_batch("PRAGMA shrink_memory");
    }

    /// Copies the write-ahead log into the file and closes it.
    pub(crate) fn close(self) -> Result<(), Trouble> {
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.query_row(truncate, [], |_row| Ok(()))?;
        self.connection
            .close()
            .map_err(|(_open, error)| error.into())
    }
}

/// Renames the database at `path` and its write-ahead log, and returns the new name.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let numbered = |number| beside(path, &format!(".corrupt-{number}"));
    let aside = (1..SET_ASIDE_MAX)
        .map(numbered)
        .find(|name| !name.exists())
        .unwrap_or_else(|| numbered(SET_ASIDE_MAX));
    fs::rename(path, &aside)?;
    // A log left behind would be taken for the next file's.
    match fs::rename(beside(path, "-wal"), beside(&aside, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(aside),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WITHIN)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Exclusive: the log's index is in memory instead of a mapped file, where a full disk would be a SIGBUS.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", CACHE_PAGES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)
}

fn check(connection: &Connection) -> Result<(), Trouble> {
    let sql = "PRAGMA quick_check(1)";
    let found: String = connection.query_row(sql, [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(Trouble::Damaged(found))
}

fn migrate(connection: &mut Connection) -> Result<(), Trouble> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| {
        row.get::<_, u32>(0).map(|version| version as usize)
    })?;
    let Some(steps) = MIGRATIONS.get(version..) else {
        return Err(Trouble::Damaged(format!(
            "it has schema {version} of a later stayd, this one knows {}",
            MIGRATIONS.len()
        )));
    };
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", signed(MIGRATIONS.len() as u64))?;
    Ok(transaction.commit()?)
}
