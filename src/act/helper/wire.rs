//! What is said between the loop and a helper, one JSON line each.

use crate::act::preflight::Look;
use crate::act::runtime::offer::{RuntimeAsk, Said};
use crate::config::Prerequisite;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

/// What a helper can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Open a SQLite file, ask it, close it.
    Sqlite(SqliteAsk),
    /// The addresses of a name.
    Resolve {
        /// The name.
        host: String,
        /// Put beside each address.
        port: u16,
    },
    /// The command line of a process, its words joined with blanks.
    CommandLine {
        /// Which process.
        pid: i32,
    },
    /// The name of a user.
    UserName {
        /// Which user.
        uid: u32,
    },
    /// Whether something that a service needs is there.
    Prerequisite(Prerequisite),
    /// The variables in an env_file.
    EnvFile(PathBuf),
    /// About a service's runtimes. Copying takes its time: [`super::Helper::ask_at_length`].
    Runtime(RuntimeAsk),
    /// Why a program cannot start.
    WhyNot(Look),
    /// By what the file of a program is known at a glance, and whether it was changed since then.
    Stamp(Look, Option<SystemTime>),
    /// Whether a process runs what a new life would be started from.
    Replaced {
        /// Which process.
        pid: i32,
        /// Its kernel start time.
        start_time: u64,
        /// What would be started.
        look: Look,
    },
    /// One variable of a process's environment.
    Environment {
        /// Which process.
        pid: i32,
        /// Which variable.
        name: String,
    },
}

/// A question to a SQLite file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqliteAsk {
    /// Absolute.
    pub path: PathBuf,
    /// Take a write lock and drop it.
    pub write: bool,
    /// Asked after the schema was read.
    pub query: Option<String>,
    /// The query holds a secret: errors about it are not quoted.
    pub secret: bool,
    /// How long to wait for somebody else's lock, in milliseconds.
    pub busy_ms: u64,
}

/// What a helper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Ask::Sqlite`].
    Sqlite(SqliteReply),
    /// To [`Ask::Resolve`].
    Addresses(Vec<SocketAddr>),
    /// To [`Ask::CommandLine`], [`Ask::UserName`] and [`Ask::Environment`]; none: there is no such thing. To
    /// [`Ask::Prerequisite`]; none: it is there. To [`Ask::WhyNot`]; none: nothing stands in the way. To [`Ask::Stamp`]; none: there is no
    /// such file.
    Text(Option<String>),
    /// To [`Ask::EnvFile`].
    Variables(Vec<(String, String)>),
    /// To [`Ask::Runtime`].
    Runtime(Said),
    /// It could not be done.
    Failed(String),
}

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// st_dev
    pub device: u64,
    /// st_ino; used again at once by some file systems, so not enough by itself.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system tells.
    pub born_nanos: Option<u64>,
}

/// What a SQLite file said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqliteReply {
    /// It answered everything.
    Alive(FileId),
    /// It answered with an error.
    Degraded(String),
    /// It is no database that could answer: another file, an encrypted database, a slip in the path.
    Foreign(String),
    /// There is nothing to answer.
    Dead(String),
    /// It was not asked, or could not be.
    NoVerdict(String),
}

/// A question on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) id: u64,
    pub(crate) ask: Ask,
}

/// An answer on its way, or that it is being worked on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    /// The answer to the question of that number.
    Reply { id: u64, reply: Reply },
    /// It goes on.
    Progress(Far),
    /// Whether it waits for a disk that has not answered at all yet.
    Knocks(bool),
}

/// How far a long task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Far {
    /// Files that are done.
    pub files: usize,
    /// Bytes that are done.
    pub bytes: u64,
}

impl Line {
    /// The answer to question `id`.
    pub(crate) fn reply_to(self, id: u64) -> Result<Reply, String> {
        match self {
            Self::Reply { id: of, reply } if of == id => Ok(reply),
            Self::Reply { .. } | Self::Progress(_) | Self::Knocks(_) => {
                Err("the helper answered another question".into())
            }
        }
    }
}
