//! One scan of a process tree: visits each member, and proves that it is one.

use super::{Member, Tree};
use crate::decide::ownership::{Claim, ObservedProcess, Proof, prove};
use crate::sys::cgroup::with_descendants;
use crate::sys::process::{self, Process, Stat};
use crate::sys::{identity, reaper, spawn};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::Path;

/// The largest number of processes in one scan. A kill scans again.
const SCAN_MAX: usize = 32_768;
/// The largest number of ancestors that are examined for a proof without a scan.
const ANCESTORS_MAX: usize = 8;
/// The largest number of ancestors that are examined to find whether a process descends from stayd.
const LINEAGE_MAX: usize = 64;

/// What a scan reads of each process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanDepth {
    /// Only what cannot hang.
    Quick,
    /// Also the environment. That reads the memory of the process and can hang, so it needs a thread that may be
    /// abandoned.
    Full,
}

/// A process to examine.
struct Candidate {
    pid: i32,
    /// Set if a member listed it as its child.
    listed: Option<ListedChild>,
    /// It is an orphan that was reparented to us, or descends from one. The orphan may show no evidence, and its descendants
    /// may.
    below_orphan: bool,
}

/// The listing of a process among a member's children.
#[derive(Clone, Copy)]
struct ListedChild {
    parent: Process,
    /// The time of the listing, in units of process start times.
    at: u64,
}

struct Scan<'a> {
    tree: &'a Tree,
    depth: ScanDepth,
    claim: Claim<'a>,
    in_cgroup: HashSet<i32>,
}

impl Tree {
    /// Visits each member, parents before their children. `visit` may kill the member: its children are already listed.
    /// Returns whether every process that may be a member could be read.
    pub(super) fn walk(&self, depth: ScanDepth, visit: &mut dyn FnMut(&Member)) -> bool {
        let in_cgroup: HashSet<i32> = self.cgroup.as_deref().map(in_cgroup).unwrap_or_default();
        let (candidates, are_all_listed) = self.candidates(&in_cgroup);
        let scan = Scan {
            tree: self,
            depth,
            claim: self.claim(),
            in_cgroup,
        };
        scan.run(candidates, visit) && are_all_listed
    }

    /// Examines one process by all evidence that it shows itself; its parents count only in a scan. Reads its environment, and
    /// so can hang.
    pub(crate) fn examine(&self, process: Process) -> Option<Member> {
        let stat = process::stat(process.pid).ok()?;
        let scan = Scan {
            tree: self,
            depth: ScanDepth::Full,
            claim: self.claim(),
            in_cgroup: HashSet::new(),
        };
        let candidate = Candidate {
            pid: process.pid,
            listed: None,
            below_orphan: false,
        };
        let member = scan.examine(&candidate, stat)?;
        (member.process == process).then_some(member)
    }

    /// Why the process of `stat` belongs to the instance, as far as its own state and that of its nearest ancestors show. The
    /// cost does not depend on the size of the tree. None is no statement: a scan may find more.
    pub(crate) fn proof_without_scan(&self, stat: &Stat) -> Option<Proof> {
        if let Some(proof) = self.own_proof(stat) {
            return Some(proof);
        }
        if self.group_only {
            return None;
        }
        let mut child = stat.clone();
        for _ in 0..ANCESTORS_MAX {
            if child.ppid <= 1 || child.ppid == identity::pid() {
                return None;
            }
            let parent = process::stat(child.ppid).ok()?;
            // If the parent has ended meanwhile, a process that has its pid by now started after the child.
            if parent.process.start_time > child.process.start_time {
                return None;
            }
            if self.own_proof(&parent).is_some() {
                return Some(Proof::Parentage);
            }
            child = parent;
        }
        None
    }

    /// What the state of a process alone proves: neither its parents nor its descriptors.
    fn own_proof(&self, stat: &Stat) -> Option<Proof> {
        if self.group_only && stat.pgid != self.session {
            return None;
        }
        let scan = Scan {
            tree: self,
            depth: ScanDepth::Quick,
            claim: self.claim(),
            in_cgroup: HashSet::new(),
        };
        let candidate = Candidate {
            pid: stat.process.pid,
            listed: None,
            below_orphan: false,
        };
        prove(&scan.claim, &scan.observe(&candidate, stat))
    }

    /// What is known of the instance now. Read it after the processes that are compared with it: a process that stayd has
    /// spawned since then must not be among them.
    fn claim(&self) -> Claim<'_> {
        Claim {
            main: self.main,
            claimed: self.claimed,
            session: self.session,
            first_start_time: self.first_start_time,
            uid: self.uid,
            members: &self.members,
            sole_instance: self.sole_child_at == Some(spawn::count()),
            we_are_first: identity::pid() == 1,
            ourselves: identity::pid(),
        }
    }

    /// The processes from which members can be found: the main process, known members, the cgroup, and orphans. Also
    /// returns whether the orphans could be listed.
    fn candidates(&self, in_cgroup: &HashSet<i32>) -> (VecDeque<Candidate>, bool) {
        let come_to_us = self.orphans_come_to_us();
        let possible_orphans = if come_to_us {
            reaper::own_children()
        } else {
            process::all()
        };
        let are_listed = possible_orphans.is_ok();
        // A process that we spawned is the main process of an instance, so it is not an orphan of another one.
        let orphans = possible_orphans.unwrap_or_default().into_iter();
        let orphans = orphans.filter(|pid| !spawn::is_spawned(*pid));
        let known = self.members.iter().map(|member| member.pid);
        let candidates = std::iter::once(self.main.pid)
            .chain(known)
            .chain(in_cgroup.iter().copied())
            .map(|pid| (pid, false))
            .chain(orphans.map(|pid| (pid, come_to_us)))
            .map(|(pid, below_orphan)| Candidate {
                pid,
                listed: None,
                below_orphan,
            });
        (candidates.collect(), are_listed)
    }
}

impl Scan<'_> {
    /// Returns whether each candidate, and the list of each member's children, could be read.
    fn run(&self, mut candidates: VecDeque<Candidate>, visit: &mut dyn FnMut(&Member)) -> bool {
        let mut is_complete = true;
        let mut proven = HashSet::new();
        let mut count = 0;
        while let Some(candidate) = candidates.pop_front()
            && count < SCAN_MAX
        {
            count += 1;
            if proven.contains(&candidate.pid) {
                continue;
            }
            let stat = process::stat(candidate.pid);
            is_complete &= is_readable(&stat);
            let Some(member) = stat.ok().and_then(|stat| self.examine(&candidate, stat)) else {
                candidates.extend(self.below_unproven_orphan(&candidate));
                continue;
            };
            proven.insert(candidate.pid);
            let children = process::children(candidate.pid);
            is_complete &= is_readable(&children);
            let listed = ListedChild {
                parent: member.process,
                at: process::start_time_now(),
            };
            visit(&member);
            // Before the other candidates, so that parentage is found while the parent exists.
            for pid in children.unwrap_or_default() {
                candidates.push_front(Candidate {
                    pid,
                    listed: Some(listed),
                    below_orphan: false,
                });
            }
        }
        is_complete
    }

    /// The children of an orphan without evidence, as candidates of a full scan: only evidence of their own can prove them.
    fn below_unproven_orphan(&self, orphan: &Candidate) -> Vec<Candidate> {
        if !orphan.below_orphan || self.depth != ScanDepth::Full {
            return Vec::new();
        }
        let children = process::children(orphan.pid).unwrap_or_default();
        let candidate = |pid| Candidate {
            pid,
            listed: None,
            below_orphan: true,
        };
        children.into_iter().map(candidate).collect()
    }

    fn examine(&self, candidate: &Candidate, stat: Stat) -> Option<Member> {
        if self.tree.group_only && stat.pgid != self.tree.session {
            return None;
        }
        let proof = self.proof(candidate, &stat)?;
        Some(Member {
            process: stat.process,
            proof,
            stat,
        })
    }

    /// Reads what is cheap first, and more only if that proves nothing.
    fn proof(&self, candidate: &Candidate, stat: &Stat) -> Option<Proof> {
        let mut seen = self.observe(candidate, stat);
        if let Some(proof) = prove(&self.claim, &seen) {
            return Some(proof);
        }
        if stat.process.start_time < self.tree.first_start_time {
            return None; // no descriptor or token can prove an older process
        }
        if let Some(file) = &self.tree.claim_file {
            seen.holds_claim = process::inherits(candidate.pid, file).unwrap_or(false);
        }
        if seen.holds_claim {
            self.observe_origin(stat, &mut seen)?;
        }
        let needs_token = self.depth == ScanDepth::Full && !self.tree.token.is_empty();
        if needs_token && prove(&self.claim, &seen).is_none() {
            let token = process::environment_value(candidate.pid, self.tree.token_name);
            seen.carries_token = token.is_ok_and(|token| token.as_ref() == Some(&self.tree.token));
            if seen.carries_token {
                self.observe_origin(stat, &mut seen)?;
            }
        }
        if !process::exists(stat.process) {
            return None; // the descriptors and the environment may be those of a later process with this pid
        }
        prove(&self.claim, &seen)
    }

    /// Reads what decides whether a descriptor or a token counts. None where the process has ended.
    fn observe_origin(&self, stat: &Stat, seen: &mut ObservedProcess) -> Option<()> {
        let pid = stat.process.pid;
        seen.uid = process::uid(pid).ok()?;
        seen.descends_from_us = self.descends_from_us(stat);
        seen.in_other_cgroup = is_in_other_cgroup(pid, self.main_if_alive());
        Some(())
    }

    /// The main process or, where that has ended, stayd itself: the cgroup of the instance is the cgroup of this process.
    fn main_if_alive(&self) -> i32 {
        let mains = [self.tree.main, self.tree.claimed];
        let alive = mains.into_iter().find(|&main| process::exists(main));
        alive.map_or_else(identity::pid, |main| main.pid)
    }

    /// Whether the parents of the process lead to stayd through this tree and orphans. A parent that ends meanwhile makes this
    /// false; the next scan finds the new parent. An orphan in the session of another child of stayd comes from that child.
    fn descends_from_us(&self, stat: &Stat) -> bool {
        if stat.sid != self.tree.session && spawn::is_spawned(stat.sid) {
            return false;
        }
        let mut child = stat.clone();
        for _ in 0..LINEAGE_MAX {
            if child.ppid == identity::pid() {
                return true;
            }
            let Ok(parent) = process::stat(child.ppid) else {
                return false;
            };
            let is_reused = parent.process.start_time > child.process.start_time;
            let is_other_child = spawn::is_spawned(child.ppid) && parent.process != self.tree.main;
            if child.ppid <= 1 || is_reused || is_other_child {
                return false;
            }
            child = parent;
        }
        false
    }

    fn observe(&self, candidate: &Candidate, stat: &Stat) -> ObservedProcess {
        let is_in_session = stat.sid == self.tree.session;
        let leader = is_in_session
            .then(|| process::stat(stat.sid).ok())
            .flatten();
        ObservedProcess {
            process: stat.process,
            below_member: candidate
                .listed
                .as_ref()
                .is_some_and(|listed| is_child(stat, listed)),
            session: stat.sid,
            session_leader: leader.map(|leader| leader.process),
            in_cgroup: self.in_cgroup.contains(&candidate.pid),
            holds_claim: false,
            in_other_cgroup: false,
            carries_token: false,
            uid: u32::MAX,
            our_child: stat.ppid == identity::pid(),
            descends_from_us: false,
            // In this order: a process that had reached exec when `stat` was read is registered as ours by now.
            spawned: stat.before_exec || spawn::is_spawned(candidate.pid),
        }
    }
}

/// Whether `pid` is neither in the cgroup of the process `instance` nor in a cgroup below it. False where the kernel reports
/// no cgroups.
pub(crate) fn is_in_other_cgroup(pid: i32, instance: i32) -> bool {
    let (Some(own), Some(of_instance)) = (process::cgroup(pid), process::cgroup(instance)) else {
        return false;
    };
    !Path::new(&own).starts_with(of_instance)
}

/// Whether something about a process was read, or the process has ended or is hidden from stayd. Other errors mean that stayd
/// lacks a resource, for example a file descriptor.
fn is_readable<T>(result: &io::Result<T>) -> bool {
    result.as_ref().err().is_none_or(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        )
    })
}

/// Whether `stat` is of the process that was listed, not of a later one with its pid. The present parent is no
/// evidence: the listed parent may have ended meanwhile, and then its children have another one.
fn is_child(stat: &Stat, listed: &ListedChild) -> bool {
    (listed.parent.start_time..=listed.at).contains(&stat.process.start_time)
}

/// Every process in the cgroup `dir` and its descendants.
fn in_cgroup(dir: &Path) -> HashSet<i32> {
    let mut pids = HashSet::new();
    for dir in with_descendants(dir) {
        let list = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(list.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    pids
}
