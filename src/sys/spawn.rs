//! The one spawn.

use super::process::Process;
use super::{flight, imp};
use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The step between clone and exec that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Making the process.
    Clone,
    /// Its own session.
    Session,
    /// Arranging descriptors.
    Descriptors,
    /// Groups and user.
    User,
    /// Working directory.
    Directory,
    /// execve(2) itself.
    Exec,
}

/// Why there is no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// Which step.
    pub stage: Stage,
    /// errno
    pub errno: i32,
}

/// Everything the child needs, prepared before the fork.
///
/// The child gets a session of its own, default signal dispositions, an empty mask, and exactly `fds`.
#[derive(Debug)]
pub struct Plan {
    /// Absolute path, or candidates to try in order (a PATH search done beforehand).
    pub program: Vec<CString>,
    /// argv.
    pub argv: Vec<CString>,
    /// The whole environment, `NAME=value`. A value of exactly `@PID` is replaced by the child's pid (LISTEN_PID, WATCHDOG_PID).
    pub env: Vec<CString>,
    /// chdir(2) target.
    pub cwd: CString,
    /// (fd in the child, our fd), ascending in the first; 0, 1 and 2 must be there. All others are closed on exec.
    pub fds: Vec<(RawFd, OwnedFd)>,
    /// Change to this user.
    pub user: Option<User>,
    /// An open cgroup directory to be born in (Linux), or none. One that refuses is gone without.
    pub cgroup: Option<OwnedFd>,
}

/// A user to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// uid
    pub uid: u32,
    /// Primary gid.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

pub use super::flight::Flight;

/// A running child.
#[derive(Debug)]
pub struct Child {
    /// Who.
    pub process: Process,
    /// pidfd where there is one.
    pub pidfd: Option<OwnedFd>,
    /// Until this is dropped the reaper calls an exit of this pid `in_flight`. Drop it where exits are heard, when
    /// the pid is known there; not on the way.
    pub flight: Flight,
}

/// Starts `plan` and returns when exec has succeeded or a step failed. Blocks for as long as exec does: call it on a
/// thread of its own with a deadline outside. Registers the pid with the reaper before it can end; a child that fails
/// before exec is reaped here and the reaper never reports it.
///
/// # Errors
/// The step that failed. `EINTR` at [`Stage::Exec`]: somebody killed the child before it came to exec. `EAGAIN` at
/// [`Stage::Clone`]: too many processes, or too many spawns under way.
pub fn spawn(plan: Plan) -> Result<Child, SpawnError> {
    SPAWNS.fetch_add(1, Ordering::SeqCst);
    let outcome = imp::spawn(&plan);
    drop(plan); // our ends of what the child has: whoever reads its pipes waits for that
    outcome
}

static SPAWNS: AtomicU64 = AtomicU64::new(0);

/// How many spawns this process has begun. When it is the same before and after a look at our children, none of them
/// was spawned meanwhile.
#[must_use]
pub fn count() -> u64 {
    SPAWNS.load(Ordering::SeqCst)
}

/// Whether `pid` is a child of ours that came out of [`spawn`], from before its first instruction until it is reaped.
/// False for what landed with us as an orphan. A number is given anew once it is reaped: whoever asks about a process
/// looks again afterwards whether that number is still the same process's.
#[must_use]
pub fn is_ours(pid: i32) -> bool {
    flight::is_ours(pid)
}

/// The child `pid`, not reaped yet, came out of a [`spawn`] of the program whose place this one has taken: it [`is_ours`].
pub fn inherit(pid: i32) {
    flight::inherit(pid);
}

/// The [`count`] of spawns, if nothing that they made is left but `pid`, and nothing is on its way.
#[must_use]
pub fn count_if_all_that_is_left(pid: i32) -> Option<u64> {
    let spawns = count(); // first: what is begun after this makes the count another
    flight::is_all(pid).then_some(spawns)
}

impl Stage {
    /// What could not be done, for a sentence that begins with "cannot".
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Clone => "make a process",
            Self::Session => "give it a session of its own",
            Self::Descriptors => "arrange its descriptors",
            Self::User => "change to its user",
            Self::Directory => "enter its working directory",
            Self::Exec => "run its program",
        }
    }
}

impl std::fmt::Display for SpawnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cause = std::io::Error::from_raw_os_error(self.errno);
        write!(f, "cannot {}: {cause}", self.stage.purpose())
    }
}

impl std::error::Error for SpawnError {}
