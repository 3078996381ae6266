//! Who a process is, as a person wants to know it: pid, command, user, start.
//!
//! The kernel's own tables are read at once. Command lines and environments lie in the process's memory, and the name of a
//! user may lie behind a directory service: those are asked in a helper, within one deadline for all of them together.

use crate::act::helper::{Ask, Helper, Reply};
use crate::act::spawn::spawner::Spawner;
use crate::act::tree::LIFE_TOKEN;
use crate::sys::identity;
use crate::sys::process::{self, Process, Stat};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// One question may not take longer, so that a sick process does not eat up the time of all.
const QUESTION_DEADLINE: Duration = Duration::from_secs(1);

/// So many parents are followed.
const PARENTS_MAX: usize = 32;
/// What the kernel calls a stayd.
const OUR_NAME: &str = "stayd";

/// A process, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// What the kernel says.
    pub stat: Stat,
    /// Its real user, where told.
    pub uid: Option<u32>,
    /// That user's name, where one is known in time.
    pub user: Option<String>,
    /// When it was born.
    pub started_at: SystemTime,
    /// Its command line, where it showed one in time.
    pub command: Option<String>,
}

impl ProcessInfo {
    /// Its command line, else the kernel's short name for it.
    #[must_use]
    pub fn command(&self) -> &str {
        self.command.as_deref().unwrap_or(&self.stat.comm)
    }

    /// `app`, else the number.
    #[must_use]
    pub fn user(&self) -> String {
        match (&self.user, self.uid) {
            (Some(name), _) => name.clone(),
            (None, Some(uid)) => uid.to_string(),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// RFC 3339, to the second.
    #[must_use]
    pub fn started_at(&self) -> String {
        humantime::format_rfc3339_seconds(self.started_at).to_string()
    }

    /// All of that in the middle of a sentence: `pid 7 (server) of user app, started …`, and under which stayd it runs if it
    /// is another one's.
    #[must_use]
    pub fn in_words(&self) -> String {
        let keeper = stayd_above(&self.stat);
        let keeper = keeper.map(|pid| format!(", under the stayd with pid {pid}"));
        format!(
            "pid {} ({}) of user {}, started {}{}",
            self.stat.process.pid,
            self.command(),
            self.user(),
            self.started_at(),
            keeper.unwrap_or_default()
        )
    }
}

/// The process and its parents, the nearest first.
#[must_use]
pub fn line_of(stat: &Stat) -> Vec<Stat> {
    let parent = |stat: &Stat| process::stat(stat.ppid).ok();
    std::iter::successors(Some(stat.clone()), parent)
        .take(PARENTS_MAX)
        .collect()
}

/// The nearest parent with our name that is not we. A name proves nothing: it tells a person where to look.
fn stayd_above(stat: &Stat) -> Option<i32> {
    let line = line_of(stat);
    let mut parents = line.iter().skip(1);
    let found = parents.find(|parent| parent.comm == OUR_NAME)?;
    let pid = found.process.pid;
    (pid != identity::pid()).then_some(pid)
}

/// What another process shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<T> {
    /// This.
    This(T),
    /// Nothing to us: another user's, not dumpable, or silent.
    Hidden,
}

/// Describes processes, and never waits longer than it was told to.
#[derive(Debug)]
pub struct ProcessInspector {
    helper: Helper,
    until: Instant,
}

impl ProcessInspector {
    /// One whose helper runs `program`, this program of ours; after `within` it asks nothing more.
    #[must_use]
    pub fn new(spawner: Spawner, program: PathBuf, within: Duration) -> Self {
        Self {
            helper: Helper::new(spawner, program),
            until: Instant::now() + within,
        }
    }

    /// Describes `pid`; none when there is no such process, or none that is shown to us.
    pub async fn describe(&mut self, pid: i32) -> Option<ProcessInfo> {
        let stat = process::stat(pid).ok()?;
        let uid = process::uid(pid).ok();
        let command = self.ask(Ask::CommandLine { pid }).await;
        let user = match uid {
            Some(uid) => self.ask(Ask::UserName { uid }).await,
            None => Shown::Hidden,
        };
        Some(ProcessInfo {
            uid,
            user: known(user),
            started_at: process::started_at(stat.process),
            command: known(command).filter(|line| !line.trim().is_empty()),
            stat,
        })
    }

    /// The token in the environment of `process`; [`Shown::Hidden`] also when it has ended meanwhile.
    pub async fn token_of(&mut self, process: Process) -> Shown<Option<String>> {
        let name = LIFE_TOKEN.to_owned();
        let pid = process.pid;
        let token = self.ask(Ask::Environment { pid, name }).await;
        let still_is = process::stat(pid).is_ok_and(|stat| stat.process == process);
        if still_is { token } else { Shown::Hidden }
    }

    async fn ask(&mut self, ask: Ask) -> Shown<Option<String>> {
        let left = self.until.saturating_duration_since(Instant::now());
        match self.helper.ask(ask, left.min(QUESTION_DEADLINE)).await {
            Ok(Reply::Text(text)) => Shown::This(text),
            Ok(
                Reply::Sqlite(_)
                | Reply::Addresses(_)
                | Reply::Variables(_)
                | Reply::Runtime(_)
                | Reply::Failed(_),
            )
            | Err(_) => Shown::Hidden,
        }
    }
}

fn known(shown: Shown<Option<String>>) -> Option<String> {
    match shown {
        Shown::This(text) => text,
        Shown::Hidden => None,
    }
}
