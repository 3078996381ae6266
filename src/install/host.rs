//! What installing needs from the machine. The verbs run it for real; tests script it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed, stdout before stderr, without the last newline.
    pub output: String,
}

impl Ran {
    /// Whether it exited with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// The stayd that answers on the control socket of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its pid.
    pub pid: i32,
    /// Whether launchd or systemd started it.
    pub supervised: bool,
    /// The configuration file is newer than this process.
    pub config_is_newer: bool,
}

/// The machine on which a job is installed.
pub trait Host {
    /// Runs a command without stdin and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, or has not ended within this time and was killed ([`io::ErrorKind::TimedOut`]).
    fn run(&mut self, argv: &[&str], within: Duration) -> io::Result<Ran>;

    /// The stayd that answers for the instance; none if none does.
    fn running(&mut self) -> Option<Running>;

    /// The errors of `stayd verify` for this plist or unit, a sentence each.
    fn verify(&mut self, file: &Path) -> Vec<String>;

    /// Whether the state folder has records of service processes, which may still run.
    fn has_claims(&mut self) -> bool;

    /// The time since some moment in the past.
    fn now(&self) -> Duration;

    /// Waits.
    fn pause(&mut self, length: Duration);

    /// Reports a step that is done.
    fn say(&mut self, step: &str);
}

/// Why a job could not be installed or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// Which exit status it leads to.
    pub kind: StepErrorKind,
    /// "cannot …: cause; what to do".
    pub message: String,
}

/// The kinds of [`StepError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepErrorKind {
    /// A step failed, or the machine has no such supervisor.
    Refused,
    /// Only another user may do this.
    Permission,
    /// Another stayd runs the instance.
    Held,
    /// A file that stayd did not write is in the way.
    Conflict,
}

impl StepError {
    /// A step that failed.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self {
            kind: StepErrorKind::Refused,
            message: message.into(),
        }
    }

    /// A file that stayd must not replace or remove.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self {
            kind: StepErrorKind::Conflict,
            message: message.into(),
        }
    }

    /// A file that the system does not let this user write.
    pub(super) fn of_file(what: &str, path: &Path, error: &io::Error) -> Self {
        let (kind, cure) = match error.kind() {
            io::ErrorKind::PermissionDenied => (
                StepErrorKind::Permission,
                "run it with sudo, or install for this user with --user",
            ),
            _ => (StepErrorKind::Refused, "nothing was started"),
        };
        Self {
            kind,
            message: format!("cannot {what} {}: {error}; {cure}", path.display()),
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for StepError {}

/// The files and commands of an installation, for `--dry-run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Folders that are made first.
    pub folders: Vec<PathBuf>,
    /// Files that are written then, each with its content.
    pub files: Vec<(PathBuf, String)>,
    /// Commands that are run then, in this order.
    pub commands: Vec<Vec<String>>,
    /// Files that are removed at the end.
    pub removed: Vec<PathBuf>,
}

/// Calls `look` until it finds something, with a pause after each time that it does not, and for at most `within`.
pub(super) fn poll<T>(
    host: &mut dyn Host,
    every: Duration,
    within: Duration,
    mut look: impl FnMut(&mut dyn Host) -> Result<Option<T>, StepError>,
) -> Result<Option<T>, StepError> {
    let end = host.now() + within;
    loop {
        if let Some(found) = look(host)? {
            return Ok(Some(found));
        }
        if host.now() >= end {
            return Ok(None);
        }
        host.pause(every);
    }
}

/// The last lines of what a command printed, on one line, for the end of a message.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}
