//! The one spawn.

use super::process::Process;
use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};

/// The step between clone and exec that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Making the process.
    Clone,
    /// Its own session.
    Session,
    /// Joining its cgroup.
    Cgroup,
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
    /// An open cgroup directory to be born in (Linux), or none.
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

/// A running child.
#[derive(Debug)]
pub struct Child {
    /// Who.
    pub process: Process,
    /// pidfd where there is one.
    pub pidfd: Option<OwnedFd>,
}

/// Starts `plan` and returns when exec has succeeded or a step failed. Blocks for as long as exec does: call it on a
/// thread of its own with a deadline outside. Registers the pid with the reaper before it can end.
pub fn spawn(_plan: Plan) -> Result<Child, SpawnError> {
    unimplemented!()
}
