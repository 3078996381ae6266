//! The only place that reaps children: those that stayd spawned, and orphans that were reparented to it.
#![expect(unsafe_code, reason = "waitid(2) and waitpid(2)")]

use super::{pending_spawn, platform, process};
use std::io;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The argument of exit(2).
    Code(i32),
    /// The number of the signal that killed it.
    Signal(i32),
}

/// One reaped process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its pid, which the kernel may reuse from now on.
    pub pid: i32,
    /// How it ended.
    pub status: Status,
    /// Whether its [`PendingSpawn`](super::spawn::PendingSpawn) still existed. If so, keep the status: the caller of spawn
    /// has not delivered the [`Child`](super::spawn::Child) yet.
    pub spawn_pending: bool,
}

/// Checks that the system lets this process wait for children: without that nothing could be reaped, and no kill would end.
///
/// # Errors
/// A sentence that names the call.
pub fn check() -> io::Result<()> {
    match find_ended(0) {
        Err(error) if error.raw_os_error() != Some(libc::ECHILD) => {
            let message = format!("waitid(2) is refused: {error}; allow it in the seccomp profile");
            Err(io::Error::new(error.kind(), message))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Reaps children that have ended, at most `max`, without blocking. May be called from any thread: each exit is reported to
/// exactly one caller.
pub fn reap_exited(max: usize) -> Vec<Reaped> {
    let mut ended = Vec::new();
    while ended.len() < max {
        match reap_one() {
            Some(reaped) => ended.push(reaped),
            None => break,
        }
    }
    ended
}

/// Finds an ended child first and reaps it then, because the start time cannot be read after the reaping.
fn reap_one() -> Option<Reaped> {
    let mut table = pending_spawn::table();
    let pid = first_ended()?;
    let spawn_pending = pending_spawn::note_exit(&mut table, pid, || {
        process::stat(pid).ok().map(|stat| stat.process.start_time)
    });
    let status = reap(pid)?;
    Some(Reaped {
        pid,
        status,
        spawn_pending,
    })
}

/// The pid of a child that is a zombie, if there is one. Does not reap it.
fn first_ended() -> Option<i32> {
    find_ended(0).ok().flatten()
}

/// Whether this process has no child at all, neither running nor ended, of any of its threads. This is one system call, and
/// the kernel answers it with its process list locked (`do_wait` in kernel/exit.c). It therefore does not miss a child that
/// moves from an ending thread to another one. False when the call fails for another reason.
#[must_use]
pub fn has_no_child() -> bool {
    // The flag includes a child that has not called execve and has no exit signal yet.
    find_ended(platform::WAIT_FOR_ANY)
        .is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD))
}

/// A child of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnChild {
    /// Its pid.
    pub pid: i32,
    /// Whether stayd started it by [`spawn`](super::spawn::spawn); otherwise it is an orphan that was reparented to stayd.
    pub spawned: bool,
}

/// All children of this process at one instant, including zombies.
///
/// The kernel outputs the list piece by piece and by position. When a child is reaped during the output, it skips some of
/// the children after it (`get_children_pid` in fs/proc/array.c). The lock taken here prevents any reaping meanwhile. New
/// children are added at the end of the list, and the kernel reparents the children of an ending process before that process
/// becomes a zombie. So of a chain of processes, each of which starts the next one and ends, at least one is on the list.
///
/// # Errors
/// As [`process::children`].
pub fn children() -> io::Result<Vec<OwnChild>> {
    if has_no_child() {
        return Ok(Vec::new());
    }
    let table = pending_spawn::table();
    let pids = platform::process::children(super::identity::pid())?;
    let child = |pid| OwnChild {
        pid,
        spawned: pending_spawn::contains(&table, pid),
    };
    Ok(pids.into_iter().map(child).collect())
}

/// Whether `pid` is the only child of this process, orphans reparented to it included. Reads a bounded part of the list of
/// children, so it may run on the loop's thread. False is no statement.
#[must_use]
pub fn is_only_child(pid: i32) -> bool {
    let _no_child_is_reaped = pending_spawn::table();
    platform::process::has_only_child(super::identity::pid(), pid)
}

/// The pids of the children of this process, including zombies and orphans reparented to it as subreaper; see
/// [`children`].
///
/// # Errors
/// As [`children`].
pub fn own_children() -> io::Result<Vec<i32>> {
    let children = children()?;
    Ok(children.into_iter().map(|child| child.pid).collect())
}

/// Finds an ended child without waiting and without reaping; the error is ECHILD when there is no child to wait for.
fn find_ended(more_flags: libc::c_int) -> io::Result<Option<i32>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | more_flags;
    loop {
        // SAFETY: an all-zero siginfo_t is valid, and the kernel writes at most one.
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
    // SAFETY: `status` is a local variable that outlives the call.
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

/// Makes this process a subreaper, the new parent of orphans among its descendants (Linux prctl(2)). Returns false on
/// macOS, which has no subreaper.
///
/// # Errors
/// The system's error.
pub fn become_subreaper() -> io::Result<bool> {
    platform::become_subreaper()
}

/// Whether orphans among the descendants are reparented to this process: it is a subreaper, or pid 1 of its namespace.
pub fn adopts_orphans() -> bool {
    std::process::id() == 1 || platform::is_subreaper()
}
