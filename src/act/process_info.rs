//! Describes a process for a sentence: pid, command, user, start.
//!
//! stayd reads the kernel's own tables directly. Command lines and environments are in the process's memory, and a user's name
//! may come from a directory service, so a helper reads these, with one deadline for all of them together.

use crate::act::helper::{Helper, HelperRequest, Helpers, Reporter};
use crate::act::tree::INSTANCE_TOKEN;
use crate::sys::identity;
use crate::sys::process::{self, Process, Stat};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The most time for one request, so that a hanging process does not use up the time for the others.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest number of processes in a lineage.
const PARENTS_MAX: usize = 32;
/// The kernel's short name of a stayd process.
const OUR_NAME: &str = "stayd";

/// The description of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its state according to the kernel.
    pub stat: Stat,
    /// Its real user id; none where the kernel hides it.
    pub uid: Option<u32>,
    /// That user's name; none if it was not found in time.
    pub user: Option<String>,
    /// When it started.
    pub started_at: SystemTime,
    /// Its command line; none if it could not be read in time.
    pub command: Option<String>,
}

impl ProcessInfo {
    /// Its command line, or the kernel's short name for it.
    #[must_use]
    pub fn command(&self) -> &str {
        self.command.as_deref().unwrap_or(&self.stat.comm)
    }

    /// The user's name, or the user's number.
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

    /// The description for the middle of a sentence: `pid 7 (server) of user app, started …`, and the stayd above the process,
    /// if that is another one.
    #[must_use]
    pub fn in_words(&self) -> String {
        let above = stayd_above(&self.stat);
        let above = above.map(|pid| format!(", under the stayd with pid {pid}"));
        format!(
            "pid {} ({}) of user {}, started {}{}",
            self.stat.process.pid,
            self.command(),
            self.user(),
            self.started_at(),
            above.unwrap_or_default()
        )
    }
}

/// The process and its parents, the nearest first.
#[must_use]
pub fn lineage(stat: &Stat) -> Vec<Stat> {
    let parent = |stat: &Stat| process::stat(stat.ppid).ok();
    std::iter::successors(Some(stat.clone()), parent)
        .take(PARENTS_MAX)
        .collect()
}

/// The nearest ancestor that is named like stayd; none if that is this process. A name proves nothing, but it is a hint for
/// the user.
fn stayd_above(stat: &Stat) -> Option<i32> {
    let line = lineage(stat);
    let mut parents = line.iter().skip(1);
    let found = parents.find(|parent| parent.comm == OUR_NAME)?;
    let pid = found.process.pid;
    (pid != identity::pid()).then_some(pid)
}

/// Something that another process may hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<T> {
    /// The process shows it.
    This(T),
    /// The process belongs to another user, is not dumpable, or did not answer in time.
    Hidden,
}

/// Describes processes within a deadline for all of them together.
#[derive(Debug)]
pub struct ProcessInspector {
    helper: Helper,
    until: Instant,
}

impl ProcessInspector {
    /// An inspector that sends no more requests after `within`.
    #[must_use]
    pub fn new(helpers: &Helpers, within: Duration) -> Self {
        Self {
            helper: helpers.helper(),
            until: Instant::now() + within,
        }
    }

    /// Describes `pid`; none when there is no such process, or the kernel hides it.
    pub async fn describe(&mut self, pid: i32) -> Option<ProcessInfo> {
        let stat = process::stat(pid).ok()?;
        let uid = process::uid(pid).ok();
        let command = self.ask(CommandLine { pid }).await;
        let user = match uid {
            Some(uid) => self.user_name(uid).await,
            None => None,
        };
        Some(ProcessInfo {
            uid,
            user,
            started_at: process::started_at(stat.process),
            command: known(command).filter(|line| !line.trim().is_empty()),
            stat,
        })
    }

    /// The name of the user with this number; none if there is none, or if it was not found in time.
    pub async fn user_name(&mut self, uid: u32) -> Option<String> {
        known(self.ask(UserName { uid }).await).flatten()
    }

    /// The token in the environment of `process`; [`Shown::Hidden`] also when the process has ended meanwhile.
    pub async fn token_of(&mut self, process: Process) -> Shown<Option<String>> {
        let name = INSTANCE_TOKEN.to_owned();
        let pid = process.pid;
        let token = self.ask(EnvironmentVariable { pid, name }).await;
        if process::exists(process) {
            token
        } else {
            Shown::Hidden
        }
    }

    async fn ask<R: HelperRequest>(&mut self, request: R) -> Shown<R::Reply> {
        let left = self.until.saturating_duration_since(Instant::now());
        let reply = self.helper.ask(request, left.min(REQUEST_TIMEOUT)).await;
        reply.map_or(Shown::Hidden, Shown::This)
    }
}

/// Asks for the command line of a process, its words joined with blanks.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommandLine {
    /// Which process.
    pub pid: i32,
}

impl HelperRequest for CommandLine {
    const NAME: &'static str = "command-line";
    type Reply = String;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<String, String> {
        process::command_line(self.pid).map_err(|error| error.to_string())
    }
}

/// Asks for one variable in the environment of a process; none: the process has no such variable.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EnvironmentVariable {
    pid: i32,
    name: String,
}

impl HelperRequest for EnvironmentVariable {
    const NAME: &'static str = "environment-variable";
    type Reply = Option<String>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<String>, String> {
        process::environment_value(self.pid, &self.name).map_err(|error| error.to_string())
    }
}

/// Asks for the name of a user; none: no user has that number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserName {
    uid: u32,
}

impl HelperRequest for UserName {
    const NAME: &'static str = "user-name";
    type Reply = Option<String>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<String>, String> {
        let user =
            nix::unistd::User::from_uid(self.uid.into()).map_err(|errno| errno.to_string())?;
        Ok(user.map(|user| user.name))
    }
}

fn known<T>(shown: Shown<T>) -> Option<T> {
    match shown {
        Shown::This(value) => Some(value),
        Shown::Hidden => None,
    }
}
