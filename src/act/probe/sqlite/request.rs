//! The request that a SQLite probe sends to the helper, and its reply.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

/// Identifies a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// st_dev
    pub device: u64,
    /// st_ino; some file systems use a number again at once, so it is not enough by itself.
    pub inode: u64,
    /// When the file was created, in nanoseconds since 1970, where the file system tells.
    pub born_nanos: Option<u64>,
}

/// What a SQLite file answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqliteReply {
    /// It answered everything.
    Alive(FileId),
    /// It answered with an error.
    Degraded(String),
    /// It is no database that could answer: another kind of file, an encrypted database, a mistake in the path.
    Foreign(String),
    /// There is no file that could answer.
    Dead(String),
    /// It was not asked, or could not be.
    NoVerdict(String),
}
