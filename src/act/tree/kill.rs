//! Kills a process tree with SIGKILL.
//!
//! While a tree forks, no list of its members is complete. So stayd kills the listed members, reaps (zombies keep their
//! pids and count against RLIMIT_NPROC), and lists again, until no member is left. Orphans of the tree are reparented
//! to stayd, so the kill is done when no child of stayd can be a member. If there are other orphans that look like
//! members, it is done when the same ones stay and none of them can be proven. The kill forks nothing, and it does not
//! stop the processes first: stopping them was neither necessary nor sufficient.

use super::walk::ScanDepth;
use super::{Member, Tree};
use crate::act::failpoint::{Failpoint, reached};
use crate::sys::cgroup::is_empty;
use crate::sys::process::{self, Handle, State};
use crate::sys::reaper::{self, Reaped};
use crate::sys::{identity, reserve, schedule};
use libc::{SIGCONT, SIGKILL};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

/// The pause between two scans: long enough for a killed process to end, short enough that a fork bomb does not
/// recover.
const SCAN_INTERVAL: Duration = Duration::from_micros(500);
/// The number of full scans that must find no member, because a process shows no environment during execve(2). That
/// takes microseconds, and some milliseconds on a busy machine.
const FINAL_SCANS: u32 = 5;
const FINAL_SCAN_INTERVAL: Duration = Duration::from_millis(2);
/// The largest number of exits that are reaped in one call.
const REAP_BATCH: usize = 256;

/// How a kill ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KillOutcome {
    /// The number of members alive at the deadline, at least 1; 0 if the tree is gone.
    pub left: usize,
    /// The number of those that are in uninterruptible sleep, so that SIGKILL has no effect yet.
    pub stuck: usize,
    /// The errno with which the system refused to send SIGKILL to one of them.
    pub refusal: Option<i32>,
}

impl Tree {
    /// Sends `signal` once to every member, and SIGCONT, so that stopped members handle it. Returns the number of
    /// members that got both. Does not read the memory of a process.
    pub fn terminate(&self, signal: i32) -> usize {
        let mut count = 0;
        self.walk(ScanDepth::Quick, &mut |member| {
            let sent = send_signal(member, signal).and_then(|()| send_signal(member, SIGCONT));
            count += usize::from(sent.is_ok());
        });
        count
    }

    /// Kills every member with SIGKILL and returns when none is left, or after `timeout`. Passes all exits that it
    /// reaps, including those of other trees, to `reaped`. Blocks, so call it on a thread of its own. The caller must
    /// enforce the timeout too, because the final scans read environments and can hang.
    ///
    /// As root the thread gets a real-time priority; without it the kill does not overtake a fork bomb. An unprivileged
    /// stayd without a cgroup cannot guarantee the end of a fork bomb that saturates the machine. Then the outcome says
    /// how many members are left.
    pub fn kill(self, timeout: Duration, reaped: &dyn Fn(Reaped)) -> KillOutcome {
        let end = Instant::now() + timeout;
        let _ = schedule::use_realtime_priority(); // fails unless stayd runs as root
        reserve::with(|| self.kill_until(end, reaped))
    }

    fn kill_until(&self, end: Instant, reaped: &dyn Fn(Reaped)) -> KillOutcome {
        let by_cgroup = self.cgroup.clone().filter(|_| !self.group_only);
        if let Some(dir) = by_cgroup
            && self.kill_cgroup(&dir, end, reaped)
        {
            return KillOutcome::default();
        }
        self.kill_by_scanning(end, reaped)
    }

    /// The running members, found by full scans; none if that is undecided at `end`, because the processes that can be
    /// members keep changing. Scans several times while they stay the same, because a process shows no environment
    /// during execve(2). Can hang when it reads the memory of a process, so call it on a thread that may be abandoned.
    #[must_use]
    pub fn confirmed_survivors(&self, end: Instant) -> Option<Vec<Member>> {
        let mut before = None;
        let mut scans = 0;
        while scans < FINAL_SCANS {
            let mut left = self.members_full_scan();
            left.retain(Member::is_alive);
            if !left.is_empty() || self.is_known_gone() {
                return Some(left);
            }
            let now = self.possible_members();
            let are_the_same = now.is_some() && now == before;
            scans = if are_the_same { scans + 1 } else { 0 };
            before = now;
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(FINAL_SCAN_INTERVAL);
        }
        Some(Vec::new())
    }

    /// Makes quick scans until one finds no member, and then full scans, which can take long.
    fn kill_by_scanning(&self, end: Instant, reaped: &dyn Fn(Reaped)) -> KillOutcome {
        let mut depth = ScanDepth::Quick;
        let mut before = None;
        let mut final_scans = 0;
        loop {
            reap_all(end, reaped);
            let pass = self.kill_pass(depth);
            reap_all(end, reaped);
            match self.possible_members_after(&pass.alive) {
                None => {
                    depth = ScanDepth::Quick;
                    before = None;
                    final_scans = 0;
                    thread::sleep(SCAN_INTERVAL);
                }
                Some(none) if none.is_empty() && self.orphans_come_to_us() => {
                    return KillOutcome::default();
                }
                now if now == before && depth == ScanDepth::Full => {
                    final_scans += 1;
                    if final_scans == FINAL_SCANS {
                        return KillOutcome::default();
                    }
                    thread::sleep(FINAL_SCAN_INTERVAL);
                }
                now if now == before => depth = ScanDepth::Full,
                now => before = now,
            }
            if Instant::now() >= end {
                return unfinished(&pass);
            }
        }
    }

    /// Makes one scan and kills each member when it is found.
    fn kill_pass(&self, depth: ScanDepth) -> KillPass {
        let mut pass = KillPass::default();
        self.walk(depth, &mut |member| {
            if member.is_alive() {
                match send_signal(member, SIGKILL) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        pass.refusal = pass.refusal.or(error.raw_os_error());
                    }
                    Ok(()) | Err(_) => reached(Failpoint::FirstKilled),
                }
                pass.alive.push(member.clone());
            }
        });
        pass
    }

    /// The processes that can be members after a scan; none if the scan found a living member or the main process is
    /// not reaped.
    fn possible_members_after(&self, alive: &[Member]) -> Option<Vec<i32>> {
        if !alive.is_empty() || self.main_is_unreaped() {
            return None;
        }
        self.possible_members()
    }

    /// Whether the main process is our child and not reaped yet. Its exit event must be sent before the kill is done.
    fn main_is_unreaped(&self) -> bool {
        process::stat(self.main.pid)
            .is_ok_and(|stat| stat.process == self.main && stat.ppid == identity::pid())
    }

    /// Kills the cgroup `dir`. Returns true when the cgroup is empty and a scan finds no member outside it; false if
    /// the kernel does not support that or the deadline has passed.
    fn kill_cgroup(&self, dir: &Path, end: Instant, reaped: &dyn Fn(Reaped)) -> bool {
        if fs::write(dir.join("cgroup.kill"), "1").is_err() {
            return false;
        }
        while Instant::now() < end {
            reap_all(end, reaped);
            // The scan kills members that were moved out of the cgroup or never were in it.
            if is_empty(dir)
                && self.kill_pass(ScanDepth::Quick).alive.is_empty()
                && !self.main_is_unreaped()
            {
                return true;
            }
            thread::sleep(SCAN_INTERVAL);
        }
        false
    }
}

/// The members that one scan found alive.
#[derive(Default)]
struct KillPass {
    alive: Vec<Member>,
    /// The errno with which the system first refused to send SIGKILL to one of them.
    refusal: Option<i32>,
}

/// Sends `signal` to exactly this process.
fn send_signal(member: &Member, signal: i32) -> io::Result<()> {
    Handle::open(member.process)?.signal(signal)
}

/// Reaps all ended children until `end`, and passes them to `reaped`.
fn reap_all(end: Instant, reaped: &dyn Fn(Reaped)) {
    loop {
        let ended = reaper::reap_exited(REAP_BATCH);
        let is_last = ended.len() < REAP_BATCH;
        ended.into_iter().for_each(reaped);
        if is_last || Instant::now() >= end {
            return;
        }
    }
}

/// The outcome at the deadline. A last scan without members proves nothing: a process that forks all the time can be
/// missed by every scan. So at least one member counts as left.
fn unfinished(pass: &KillPass) -> KillOutcome {
    let is_stuck = |member: &&Member| member.stat.state == State::Uninterruptible;
    KillOutcome {
        left: pass.alive.len().max(1),
        stuck: pass.alive.iter().filter(is_stuck).count(),
        refusal: pass.refusal,
    }
}
