//! `sqlite:`: opens a database file, asks and closes it. This is done in a helper process, because a file may hang.
//!
//! `SELECT 1` alone would not read a page, so the schema is read too. The probe creates no file: it reads the header first,
//! opens read-only where it can, and does not checkpoint on close.

use super::{
    Answer, IsMember, ProtocolProbe, Query, WITHHELD, dead, degraded, no_answer, no_verdict, quote,
};
use crate::act::helper::{Helper, HelperError, HelperRequest, Reporter};
use crate::sys::{lock, process};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The header up to and including the format versions (SQLite file format, section 1.3).
const HEADER_BYTES: usize = 20;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Offset in the header of the version that a reader must support; 2 means WAL.
const READ_VERSION_AT: usize = 19;
const WAL: u8 = 2;
/// Where SQLite locks a database, as start and length: from PENDING_BYTE on the bytes pending, reserved and 510 shared ones
/// (sqlite3.c, "os.h").
const FILE_LOCKS: (i64, i64) = (0x4000_0000, 512);
/// The same in a -shm file: WAL_WRITE_LOCK and seven more (WAL-mode file format, section 2.2).
const WAL_LOCKS: (i64, i64) = (120, 8);

/// Another process holds a lock.
const BUSY: [ErrorCode; 2] = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
/// Errors on stayd's side, which do not depend on the file.
const LOCAL_ERRORS: [ErrorCode; 4] = [
    ErrorCode::CannotOpen,
    ErrorCode::PermissionDenied,
    ErrorCode::AuthorizationForStatementDenied,
    ErrorCode::OutOfMemory,
];
const DAMAGED: [ErrorCode; 2] = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];

/// Reads at least one page of the file.
const READ_THE_SCHEMA: &str = "SELECT count(*) FROM sqlite_schema";

/// Asks the helper to open a SQLite file, query it and close it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqliteRequest {
    /// Absolute.
    pub path: PathBuf,
    /// Take a write lock and drop it.
    pub write: bool,
    /// The query to run after the schema was read.
    pub query: Option<String>,
    /// The query holds a secret: errors about it are not quoted.
    pub secret: bool,
    /// How long to wait for another process's lock, in milliseconds.
    pub busy_ms: u64,
}

impl HelperRequest for SqliteRequest {
    const NAME: &'static str = "sqlite";
    type Reply = SqliteReply;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<SqliteReply, String> {
        Ok(ask_file(&self))
    }
}

/// Identifies a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// st_dev
    pub device: u64,
    /// st_ino; some file systems use a number again at once, so it is not enough by itself.
    pub inode: u64,
    /// When the file was created, in nanoseconds since 1970; none where the file system does not record it.
    pub created_nanos: Option<u64>,
}

/// What a SQLite file answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqliteReply {
    /// It answered everything.
    Alive(FileId),
    /// It answered with an error.
    Degraded(String),
    /// A lock kept it from an answer for the whole time; the process that holds it, where the kernel names one.
    Locked(Option<i32>),
    /// It is no database that could answer: another kind of file, an encrypted database, a mistake in the path.
    Foreign(String),
    /// There is no file that could answer.
    Dead(String),
    /// It was not asked, or could not be.
    NoVerdict(String),
}

/// The request to the helper process.
pub(super) fn question(path: PathBuf, write: bool, query: Option<Query>) -> SqliteRequest {
    SqliteRequest {
        path,
        write,
        secret: query.as_ref().is_some_and(|query| query.secret),
        query: query.map(|query| query.text),
        busy_ms: 0,
    }
}

/// A query to a database file.
pub(super) struct SqliteProbe {
    helper: Helper,
    question: SqliteRequest,
    is_member: IsMember,
    /// The file that answered first. A different file at the same path is reported.
    first_file: Option<FileId>,
}

impl std::fmt::Debug for SqliteProbe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SqliteProbe")
            .field("question", &self.question)
            .finish_non_exhaustive()
    }
}

impl SqliteProbe {
    pub(super) fn new(helper: Helper, question: SqliteRequest, is_member: IsMember) -> Self {
        Self {
            helper,
            question,
            is_member,
            first_file: None,
        }
    }

    /// The process that holds a lock: "the service itself (pid 12, python3)", "pid 12 (python3)", "another process".
    fn in_words(&self, holder: Option<i32>) -> String {
        let Some(pid) = holder else {
            return "another process".into();
        };
        let name = process::stat(pid).map_or_else(
            |_| "ended since".to_owned(),
            |stat| quote(stat.comm.as_bytes()),
        );
        if (self.is_member)(pid) {
            format!("the service itself (pid {pid}, {name})")
        } else {
            format!("pid {pid} ({name})")
        }
    }

    fn judge(&mut self, reply: SqliteReply) -> Answer {
        match reply {
            SqliteReply::Alive(file) => {
                if *self.first_file.get_or_insert(file) == file {
                    return Answer::Alive;
                }
                degraded(format!(
                    "{} was replaced by another file; the service may still write to the old one",
                    self.question.path.display()
                ))
            }
            SqliteReply::Degraded(said) => degraded(said),
            SqliteReply::Locked(holder) => degraded(format!(
                "{} is locked by {} for more than {} ms",
                self.question.path.display(),
                self.in_words(holder),
                self.question.busy_ms
            )),
            // A file that was a database before has been overwritten. If none has answered yet, the path may be wrong.
            SqliteReply::Foreign(said) if self.first_file.is_some() => degraded(said),
            SqliteReply::Foreign(why) => no_verdict(why),
            SqliteReply::Dead(how) => dead(how),
            SqliteReply::NoVerdict(why) => no_verdict(why),
        }
    }
}

impl ProtocolProbe for SqliteProbe {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        // Wait for locks of other processes only half of the time, so that the helper can still report what it waited for.
        let busy = timeout / 2;
        self.question.busy_ms = u64::try_from(busy.as_millis()).unwrap_or(u64::MAX);
        match self.helper.ask(self.question.clone(), timeout).await {
            Ok(reply) => self.judge(reply),
            Err(HelperError::Silent) => no_answer(timeout, "answer from the SQLite file"),
            Err(HelperError::Failed(why) | HelperError::NotAsked(why)) => {
                no_verdict(format!("cannot ask the SQLite file: {why}"))
            }
        }
    }
}

/// Asks the file once, in the helper process. Blocks for as long as its disk does.
fn ask_file(question: &SqliteRequest) -> SqliteReply {
    match check_file(&question.path) {
        Err(reply) => reply,
        Ok(file) => match ask_database(question) {
            Ok(()) => SqliteReply::Alive(file),
            Err(error) => judge(&error, question),
        },
    }
}

/// Identifies the file, if SQLite can open it without creating files beside it.
fn check_file(path: &Path) -> Result<FileId, SqliteReply> {
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
            "{} is empty: no database was written to it yet",
            path.display()
        )));
    }
    if !header.starts_with(MAGIC) || header.len() < HEADER_BYTES {
        return Err(SqliteReply::Foreign(format!(
            "{} is not a SQLite database, or an encrypted one",
            path.display()
        )));
    }
    if header[READ_VERSION_AT] == WAL
        && !(beside(path, "-shm").exists() && beside(path, "-wal").exists())
    {
        return Err(SqliteReply::NoVerdict(format!(
            "{} is open in no process: it is in WAL mode and has no -shm and -wal beside it, which a probe would create",
            path.display()
        )));
    }
    Ok(FileId {
        device: status.dev(),
        inode: status.ino(),
        created_nanos: created_nanos(&status),
    })
}

fn created_nanos(status: &Metadata) -> Option<u64> {
    let created = status.created().ok()?;
    let since_1970 = created.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_nanos()).ok()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The process that holds SQLite's lock on the database, in rollback mode in the file itself, in WAL mode in the -shm file.
/// Called when this process has no lock on them, because closing a file releases all of its own.
fn lock_holder(path: &Path) -> Option<i32> {
    let holder = |path: &Path, (start, length)| {
        let file = File::open(path).ok()?;
        lock::record_lock_holder(&file, start, length).ok()?
    };
    holder(path, FILE_LOCKS).or_else(|| holder(&beside(path, "-shm"), WAL_LOCKS))
}

/// Opens the database, reads the schema, asks the query, takes and releases the write lock, and closes without a
/// checkpoint.
fn ask_database(question: &SqliteRequest) -> rusqlite::Result<()> {
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

/// Runs a query up to its first row, if any.
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
        // The whole error would repeat the query.
        quote(msg.as_bytes())
    } else {
        quote(error.to_string().as_bytes())
    };
    let Some(code) = error.sqlite_error_code() else {
        return refused(question, &words);
    };
    if BUSY.contains(&code) {
        return SqliteReply::Locked(lock_holder(&question.path));
    }
    if LOCAL_ERRORS.contains(&code) {
        return SqliteReply::NoVerdict(format!("cannot open {path}: {words}"));
    }
    if DAMAGED.contains(&code) {
        let remedy = "restore it from a backup";
        return SqliteReply::Degraded(format!("{path} is damaged: {words}; {remedy}"));
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
