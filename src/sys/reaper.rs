//! The one reaper: every exit of every child, ours and the strangers that were reparented to us.
#![expect(unsafe_code, reason = "waitid(2) and waitpid(2)")]

use super::{flight, imp, process};
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
    /// It was a child whose [`Flight`](super::spawn::Flight) had not ended yet: keep the status, its
    /// [`Child`](super::spawn::Child) is still on its way to you.
    pub in_flight: bool,
}

/// Reaps all that have ended, never blocks, at most `max` at once. May be called from any thread: each exit is
/// reported to exactly one caller.
pub fn drain(max: usize) -> Vec<Reaped> {
    let mut ended = Vec::new();
    while ended.len() < max {
        match reap_one() {
            Some(reaped) => ended.push(reaped),
            None => break,
        }
    }
    ended
}

/// Looks first and reaps then, because a reaped child can no longer be asked for its birth.
fn reap_one() -> Option<Reaped> {
    let mut table = flight::table();
    let pid = first_ended()?;
    let in_flight = flight::note_end(&mut table, pid, || {
        process::stat(pid).ok().map(|stat| stat.process.start_time)
    });
    let status = reap(pid)?;
    Some(Reaped {
        pid,
        status,
        in_flight,
    })
}

/// The pid of a child that has ended and is left a zombie, if there is one.
fn first_ended() -> Option<i32> {
    look_for_ended(0).ok().flatten()
}

/// Whether we have no child at all, neither a living nor an ended one, by whatever thread. One question to the kernel, that
/// it answers with its list of processes locked (`do_wait` in kernel/exit.c): nobody is missed on the way from an ending
/// thread to another. False where it does not say.
#[must_use]
pub fn has_no_child() -> bool {
    // Also one that has not come to exec and has no exit signal yet.
    look_for_ended(imp::WAIT_FOR_ANY).is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD))
}

/// A child of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnChild {
    /// Its number.
    pub pid: i32,
    /// It came out of a [`spawn`](super::spawn::spawn); else it landed with us as an orphan.
    pub spawned: bool,
}

/// Our children at one moment, zombies too.
///
/// The kernel shows a list a piece at a time and by position, so it skips some of those that stand behind one that is
/// reaped meanwhile (`get_children_pid` in fs/proc/array.c). Here nobody is reaped meanwhile; and who is added is added at
/// the end, what a dying process leaves behind before it is a zombie. So of a chain of processes each of which starts the
/// next and dies there is always one on the list.
///
/// # Errors
/// As [`process::children`].
pub fn children() -> io::Result<Vec<OwnChild>> {
    if has_no_child() {
        return Ok(Vec::new());
    }
    let table = flight::table();
    let pids = imp::process::children(super::identity::pid())?;
    let child = |pid| OwnChild {
        pid,
        spawned: flight::knows(&table, pid),
    };
    Ok(pids.into_iter().map(child).collect())
}

/// Looks without waiting and without reaping; ECHILD where there is nobody to wait for.
fn look_for_ended(more_flags: libc::c_int) -> io::Result<Option<i32>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | more_flags;
    loop {
        // SAFETY: all-zero is a valid siginfo_t, and the kernel writes no more than one into it.
        let (result, pid) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result = libc::waitid(libc::P_ALL, 0, &raw mut info, flags);
            (result, info.si_pid())
        };
        if result == 0 {
            return Ok((pid != 0).then_some(pid));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn reap(pid: i32) -> Option<Status> {
    let mut status = 0;
    // SAFETY: `status` is ours and outlives the call.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    if reaped != pid {
        return None;
    }
    Some(if libc::WIFSIGNALED(status) {
        Status::Signal(libc::WTERMSIG(status))
    } else {
        Status::Code(libc::WEXITSTATUS(status))
    })
}

/// Makes this process the one that orphans of its descendants land with (Linux prctl(2)); false where there is no
/// such thing.
///
/// # Errors
/// The system's refusal.
pub fn become_subreaper() -> io::Result<bool> {
    imp::become_subreaper()
}

/// Whether orphans of our descendants land with us: as subreaper, or as the first process of a pid namespace.
pub fn adopts_orphans() -> bool {
    std::process::id() == 1 || imp::is_subreaper()
}
