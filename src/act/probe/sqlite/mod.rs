//! `sqlite:`: a file, opened read-only, asked and closed, in the helper.

mod file;
mod request;

pub use request::{FileId, SqliteReply, SqliteRequest};

use super::{Answer, Ask, Query, dead, degraded, no_verdict, silence};
use crate::act::helper::{Helper, HelperError};
use std::path::PathBuf;
use std::time::Duration;

/// A question about a file.
pub(crate) fn question(path: PathBuf, write: bool, query: Option<Query>) -> SqliteRequest {
    SqliteRequest {
        path,
        write,
        secret: query.as_ref().is_some_and(|query| query.secret),
        query: query.map(|query| query.text),
        busy_ms: 0,
    }
}

/// A SQLite question, and the file that answered it first.
#[derive(Debug)]
pub(crate) struct Sqlite {
    helper: Helper,
    question: SqliteRequest,
    /// The file of the first answer in this life.
    first_file: Option<FileId>,
}

impl Sqlite {
    pub(crate) const fn new(helper: Helper, question: SqliteRequest) -> Self {
        Self {
            helper,
            question,
            first_file: None,
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
            // What never was a database here is a slip in the path and proves nothing; what was one has been overwritten.
            SqliteReply::Foreign(said) if self.first_file.is_some() => degraded(said),
            SqliteReply::Foreign(why) => no_verdict(why),
            SqliteReply::Dead(how) => dead(how),
            SqliteReply::NoVerdict(why) => no_verdict(why),
        }
    }
}

impl Ask for Sqlite {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        // Half of the time for somebody else's lock, so that the helper can still say what it waited for.
        let busy = timeout / 2;
        self.question.busy_ms = u64::try_from(busy.as_millis()).unwrap_or(u64::MAX);
        match self.helper.ask(self.question.clone(), timeout).await {
            Ok(reply) => self.judge(reply),
            Err(HelperError::Silent) => silence(timeout, "answer from the SQLite file"),
            Err(HelperError::Failed(why) | HelperError::NotAsked(why)) => {
                no_verdict(format!("cannot ask the SQLite file: {why}"))
            }
        }
    }
}
