//! What the helper does with a SQLite file: look first, touch a page, leave no trace.

use super::super::{WITHHELD, quote};
use super::request::{FileId, SqliteReply, SqliteRequest};
use crate::act::helper::{Reporter, Request};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Up to and including the format versions (SQLite file format, section 1.3).
const HEADER_BYTES: usize = 20;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Header offset of the version needed to read; 2 is WAL.
const READ_VERSION_AT: usize = 19;
const WAL: u8 = 2;

/// Somebody else's lock.
const BUSY: [ErrorCode; 2] = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
/// Says nothing about the file.
const OUR_OWN_TROUBLE: [ErrorCode; 4] = [
    ErrorCode::CannotOpen,
    ErrorCode::PermissionDenied,
    ErrorCode::AuthorizationForStatementDenied,
    ErrorCode::OutOfMemory,
];
const DAMAGED: [ErrorCode; 2] = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];

/// `SELECT 1` alone would never read a page.
const READ_THE_SCHEMA: &str = "SELECT count(*) FROM sqlite_schema";

impl Request for SqliteRequest {
    const NAME: &'static str = "sqlite";
    type Reply = SqliteReply;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<SqliteReply, String> {
        Ok(ask(&self))
    }
}

/// Asks the file once. Blocks for as long as its disk does.
fn ask(question: &SqliteRequest) -> SqliteReply {
    match look(&question.path) {
        Err(reply) => reply,
        Ok(file) => match touch(question) {
            Ok(()) => SqliteReply::Alive(file),
            Err(error) => judge(&error, question),
        },
    }
}

/// Which file it is, if it may be opened without creating anything beside it.
fn look(path: &Path) -> Result<FileId, SqliteReply> {
    let cannot = |error: io::Error| {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        if absent.contains(&error.kind()) {
            SqliteReply::Dead(format!("{} does not exist", path.display()))
        } else {
            SqliteReply::NoVerdict(format!("cannot read {}: {error}", path.display()))
        }
    };
    let file = File::open(path).map_err(cannot)?;
    let status = file.metadata().map_err(cannot)?;
    let mut header = Vec::new();
    file.take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(cannot)?;
    if header.is_empty() {
        return Err(SqliteReply::Degraded(format!(
            "{} is empty: nothing was ever written to it",
            path.display()
        )));
    }
    if !header.starts_with(MAGIC) || header.len() < HEADER_BYTES {
        return Err(SqliteReply::Foreign(format!(
            "{} is not a SQLite database, or an encrypted one",
            path.display()
        )));
    }
    if header[READ_VERSION_AT] == WAL && !(beside(path, "-shm") && beside(path, "-wal")) {
        return Err(SqliteReply::NoVerdict(format!(
            "{} is open in no process: it is in WAL mode and has no -shm and -wal beside it, which a probe would create",
            path.display()
        )));
    }
    Ok(FileId {
        device: status.dev(),
        inode: status.ino(),
        born_nanos: born_nanos(&status),
    })
}

fn born_nanos(status: &Metadata) -> Option<u64> {
    let born = status.created().ok()?;
    let since_1970 = born.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_nanos()).ok()
}

fn beside(path: &Path, suffix: &str) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name).exists()
}

/// Opens, reads the schema, asks, takes and drops the write lock, closes without a checkpoint.
fn touch(question: &SqliteRequest) -> rusqlite::Result<()> {
    let access = if question.write {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    let database = Connection::open_with_flags(
        &question.path,
        access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    database.busy_timeout(Duration::from_millis(question.busy_ms))?;
    ask_one_row(&database, READ_THE_SCHEMA)?;
    if let Some(query) = &question.query {
        ask_one_row(&database, query)?;
    }
    if question.write {
        database.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?;
    }
    Ok(())
}

/// Runs a query as far as its first row, if it has one.
fn ask_one_row(database: &Connection, query: &str) -> rusqlite::Result<()> {
    let mut statement = database.prepare(query)?;
    let mut rows = statement.raw_query();
    rows.next().map(|_| ())
}

fn judge(error: &rusqlite::Error, question: &SqliteRequest) -> SqliteReply {
    let path = question.path.display();
    let words = if question.secret {
        WITHHELD.into()
    } else if let rusqlite::Error::SqlInputError { msg, .. } = error {
        // Its own words repeat the whole query.
        quote(msg.as_bytes())
    } else {
        quote(error.to_string().as_bytes())
    };
    let Some(code) = error.sqlite_error_code() else {
        return refused(question, &words);
    };
    if BUSY.contains(&code) {
        return SqliteReply::Degraded(format!(
            "{path} is locked by somebody else for more than {} ms",
            question.busy_ms
        ));
    }
    if OUR_OWN_TROUBLE.contains(&code) {
        return SqliteReply::NoVerdict(format!("cannot open {path}: {words}"));
    }
    if DAMAGED.contains(&code) {
        let cure = "restore it from a backup";
        return SqliteReply::Degraded(format!("{path} is damaged: {words}; {cure}"));
    }
    if code == ErrorCode::ReadOnly {
        return SqliteReply::Degraded(format!("{path} is read-only: {words}"));
    }
    if code == ErrorCode::Unknown {
        return refused(question, &words);
    }
    SqliteReply::Degraded(format!("{path} answers with an error: {words}"))
}

fn refused(question: &SqliteRequest, words: &str) -> SqliteReply {
    SqliteReply::Degraded(format!(
        "{} refuses the query: {words}; fix the query",
        question.path.display()
    ))
}
