//! The one reaper: every exit of every child, ours and the strangers that were reparented to us.

use std::io;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// exit(2)
    Code(i32),
    /// Killed by a signal.
    Signal(i32),
}

/// One reaped process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its number; free for reuse from now on.
    pub pid: i32,
    /// How it ended.
    pub status: Status,
    /// It was a child whose [`super::spawn::spawn`] had not returned yet: keep the status for that.
    pub in_flight: bool,
}

/// Reaps all that have ended, never blocks, at most `max` at once. May be called from any thread.
pub fn drain(_max: usize) -> Vec<Reaped> {
    unimplemented!()
}

/// Makes this process the one that orphans of its descendants land with (Linux prctl(2)); false where there is no such thing.
pub fn become_subreaper() -> io::Result<bool> {
    unimplemented!()
}
