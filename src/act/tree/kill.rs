//! The end of a tree.
//!
//! A tree that forks while it is killed has no moment at which a list of it is true. So: kill what the list shows,
//! reap (zombies hold the numbers that the kill needs), list again, until nothing is left. Every orphan lands with
//! us, so it is over when none of ours may be of it; and where somebody else's orphan may be, when the same ones stay and
//! none of them can be proven. Nothing is forked here, and nothing is stopped first: that was neither needed nor enough.

use super::walk::Eyes;
use super::{Member, Tree};
use crate::act::failpoint::{Failpoint, reached};
use crate::sys::cgroup::is_empty;
use crate::sys::process::{self, Handle, State};
use crate::sys::reaper::{self, Reaped};
use crate::sys::{identity, schedule};
use libc::{SIGCONT, SIGKILL};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: long enough for a killed process to die, short enough that a bomb does not recover.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// An execve(2) is between two programs for microseconds, on a busy machine for some milliseconds.
const LAST_LOOKS: u32 = 5;
const LAST_LOOKS_EVERY: Duration = Duration::from_millis(2);
/// Exits taken from the kernel in one go.
const REAP_BATCH: usize = 256;

/// How a kill ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KillOutcome {
    /// Members alive at the deadline, at least 1; 0 when the tree is gone.
    pub left: usize,
    /// Of those, in uninterruptible sleep: SIGKILL has to wait.
    pub stuck: usize,
}

impl Tree {
    /// Sends `signal`, and SIGCONT so that stopped ones hear it, once to every member. Returns how many there were.
    /// Reads no process's memory.
    pub fn terminate(&self, signal: i32) -> usize {
        let mut told = 0;
        self.walk(Eyes::Quick, &mut |member| {
            told += usize::from(tell(member, signal) && tell(member, SIGCONT));
        });
        told
    }

    /// Kills every member with SIGKILL and returns when none is left, or at the deadline. Blocks: give it a thread of
    /// its own, and mind the deadline there too: the last look reads environments. Exits that are reaped on the way, other trees' too, go to `reaped`.
    ///
    /// As root the thread goes before all ordinary ones, without which a fork bomb is never caught up with. An
    /// unprivileged stayd without a cgroup cannot promise the end of a bomb that saturates the machine: then the
    /// outcome says what is left.
    pub fn kill(self, deadline: Duration, reaped: &dyn Fn(Reaped)) -> KillOutcome {
        let end = Instant::now() + deadline;
        let _ = schedule::use_realtime_priority(); // anybody but root does without
        let by_cgroup = self.cgroup.clone().filter(|_| !self.group_only);
        if let Some(dir) = by_cgroup
            && self.kill_cgroup(&dir, end, reaped)
        {
            return KillOutcome::default();
        }
        self.kill_by_looking(end, reaped)
    }

    /// Who of it lives, by every proof; none when nobody can say by `end`, because those who may be of it come and go.
    /// Looks several times while the same ones are there, because a process that is just changing its program shows no
    /// environment. May wait for a sick process's memory, so on a thread that may be lost.
    #[must_use]
    pub fn left_by_every_proof(&self, end: Instant) -> Option<Vec<Member>> {
        let mut before = None;
        let mut looks = 0;
        while looks < LAST_LOOKS {
            let mut left = self.members_by_every_proof();
            left.retain(Member::is_alive);
            if !left.is_empty() || self.is_surely_gone() {
                return Some(left);
            }
            let now = self.suspects();
            let are_the_same = now.is_some() && now == before;
            looks = if are_the_same { looks + 1 } else { 0 };
            before = now;
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(LAST_LOOKS_EVERY);
        }
        Some(Vec::new())
    }

    /// Looks quickly until that finds nobody, and only then into environments, which can take their time.
    fn kill_by_looking(&self, end: Instant, reaped: &dyn Fn(Reaped)) -> KillOutcome {
        let mut eyes = Eyes::Quick;
        let mut before = None;
        let mut last_looks = 0;
        loop {
            reap_all(end, reaped);
            let alive = self.strike(eyes);
            reap_all(end, reaped);
            match self.suspects_if_quiet(&alive) {
                None => {
                    eyes = Eyes::Quick;
                    before = None;
                    last_looks = 0;
                    thread::sleep(LOOK_EVERY);
                }
                Some(none) if none.is_empty() && self.leaves_its_orphans_to_us() => {
                    return KillOutcome::default();
                }
                now if now == before && eyes == Eyes::Thorough => {
                    last_looks += 1;
                    if last_looks == LAST_LOOKS {
                        return KillOutcome::default();
                    }
                    thread::sleep(LAST_LOOKS_EVERY);
                }
                now if now == before => eyes = Eyes::Thorough,
                now => before = now,
            }
            if Instant::now() >= end {
                return not_finished(&alive);
            }
        }
    }

    /// One look, killing each member as it is found. Returns those that were alive.
    fn strike(&self, eyes: Eyes) -> Vec<Member> {
        let mut alive = Vec::new();
        self.walk(eyes, &mut |member| {
            if member.is_alive() {
                tell(member, SIGKILL);
                reached(Failpoint::FirstKilled);
                alive.push(member.clone());
            }
        });
        alive
    }

    /// Who may be of it after a look that found nobody alive; none when it found somebody.
    fn suspects_if_quiet(&self, alive: &[Member]) -> Option<Vec<i32>> {
        if !alive.is_empty() || self.main_is_unreaped() {
            return None;
        }
        self.suspects()
    }

    /// Our own child stays a number until it is reaped, and its exit is news that others wait for.
    fn main_is_unreaped(&self) -> bool {
        process::stat(self.main.pid)
            .is_ok_and(|stat| stat.process == self.main && stat.ppid == identity::pid())
    }

    /// True when the kernel has said that the cgroup is empty and nobody is seen outside it; false where it cannot be killed as one.
    fn kill_cgroup(&self, dir: &Path, end: Instant, reaped: &dyn Fn(Reaped)) -> bool {
        if fs::write(dir.join("cgroup.kill"), "1").is_err() {
            return false;
        }
        while Instant::now() < end {
            reap_all(end, reaped);
            // who has been moved out of it, or never came in, is struck here
            if is_empty(dir) && self.strike(Eyes::Quick).is_empty() && !self.main_is_unreaped() {
                return true;
            }
            thread::sleep(LOOK_EVERY);
        }
        false
    }
}

/// Whether `signal` was sent to exactly this process.
fn tell(member: &Member, signal: i32) -> bool {
    Handle::open(member.process).is_ok_and(|handle| handle.signal(signal).is_ok())
}

fn reap_all(end: Instant, reaped: &dyn Fn(Reaped)) {
    loop {
        let ended = reaper::reap_exited(REAP_BATCH);
        let all = ended.len() < REAP_BATCH;
        ended.into_iter().for_each(reaped);
        if all || Instant::now() >= end {
            return;
        }
    }
}

/// At the deadline. That the last look found nobody proves nothing: what forks all the time is never there when looked at.
fn not_finished(alive: &[Member]) -> KillOutcome {
    let is_stuck = |member: &&Member| member.stat.state == State::Uninterruptible;
    KillOutcome {
        left: alive.len().max(1),
        stuck: alive.iter().filter(is_stuck).count(),
    }
}
