//! Starting a child process: the only place that calls fork or clone.

use super::limits::OpenFilesLimit;
use super::process::Process;
use super::{pending_spawn, platform};
use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// A step between clone and execve; names the one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Creating the process.
    Clone,
    /// Creating its session.
    Session,
    /// Arranging its descriptors.
    Descriptors,
    /// Setting its limit of open files.
    Limits,
    /// Changing groups and user.
    User,
    /// Changing to the working directory.
    Directory,
    /// execve(2).
    Exec,
}

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// The failed step.
    pub stage: Stage,
    /// errno
    pub errno: i32,
}

/// Everything that the child needs, prepared before the fork.
///
/// The child gets its own session, default signal dispositions, an empty signal mask, and exactly the descriptors `fds`.
#[derive(Debug)]
pub struct Plan {
    /// The absolute path of the program, or the candidates of a PATH search in order.
    pub program: Vec<CString>,
    /// The argument vector.
    pub argv: Vec<CString>,
    /// The environment as `NAME=value`, without `pid_variables`.
    pub env: Vec<CString>,
    /// The names of further variables; the value of each is the child's pid, which is known only after the fork.
    pub pid_variables: Vec<CString>,
    /// The working directory.
    pub cwd: CString,
    /// Pairs of a descriptor number in the child and the descriptor here, in ascending order of the number. 0, 1 and 2 must
    /// be present. The child gets no other descriptors.
    pub fds: Vec<(RawFd, OwnedFd)>,
    /// The user that the child changes to, if any.
    pub user: Option<User>,
    /// The child's file mode creation mask (umask(2)); none: that of this process.
    pub umask: Option<u32>,
    /// The child's limit of open files; none: that of this process.
    pub open_files: Option<OpenFilesLimit>,
    /// An open cgroup directory in which the child starts (Linux). If the cgroup refuses it, the child starts without.
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

impl User {
    /// Its uid and primary gid, the owner of its files.
    #[must_use]
    pub const fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

pub use super::pending_spawn::PendingSpawn;

/// A running child.
#[derive(Debug)]
pub struct Child {
    /// Its pid and start time.
    pub process: Process,
    /// Its pidfd, where the system has pidfds.
    pub pidfd: Option<OwnedFd>,
    /// While this exists, the reaper reports an exit of this pid as `spawn_pending`. Drop it in the code that handles exits,
    /// once that code has recorded the pid; not earlier.
    pub pending_spawn: PendingSpawn,
}

/// Starts `plan` and returns when execve has succeeded or a step has failed.
///
/// Blocks for as long as chdir or execve block: call it on a dedicated thread, and apply a deadline outside. The pid is
/// registered with the reaper before the child can end. A child that fails before execve is reaped here, and the reaper
/// does not report it.
///
/// # Errors
/// The step that failed. `EINTR` at [`Stage::Exec`]: the child was killed before it called execve. `EAGAIN` at
/// [`Stage::Clone`]: too many processes, or too many pending spawns.
pub fn spawn(plan: Plan) -> Result<Child, SpawnError> {
    SPAWN_COUNT.fetch_add(1, Ordering::SeqCst);
    let outcome = platform::spawn(&plan);
    // Close our copies of the child's descriptors: a reader of its pipes sees the end only then.
    drop(plan);
    outcome
}

static SPAWN_COUNT: AtomicU64 = AtomicU64::new(0);

/// The number of spawns that this process has begun. If it is the same before and after reading the list of children, no
/// child was spawned in between.
#[must_use]
pub fn count() -> u64 {
    SPAWN_COUNT.load(Ordering::SeqCst)
}

/// Whether `pid` is a child that [`spawn`] started: true from before its first instruction until it is reaped. False for an
/// orphan that was reparented to stayd.
///
/// The kernel may reuse a pid after the reaping. A caller that asks about a particular process must verify afterwards that
/// the pid still belongs to it.
#[must_use]
pub fn is_spawned(pid: i32) -> bool {
    pending_spawn::is_spawned(pid)
}

/// Registers `pid`, a child not reaped yet that the previous program in this process had spawned (in-place upgrade), so that
/// [`is_spawned`] is true for it.
pub fn register_inherited(pid: i32) {
    pending_spawn::register_inherited(pid);
}

/// The [`count`] of spawns if `pid` is the only spawned child that is not reaped and no spawn is pending; otherwise none.
#[must_use]
pub fn count_if_only_child(pid: i32) -> Option<u64> {
    // Read the count first: a spawn that begins after this changes it.
    let spawns = count();
    pending_spawn::is_only_child(pid).then_some(spawns)
}

impl Stage {
    /// The purpose of the step, for a sentence that begins with "cannot".
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Clone => "create a process",
            Self::Session => "create a session for it",
            Self::Descriptors => "arrange its descriptors",
            Self::Limits => "set its limit of open files",
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
