//! One look at the tree.

use super::{Member, Tree};
use crate::decide::ownership::{Claim, ObservedProcess, Proof, prove};
use crate::sys::cgroup::with_those_below;
use crate::sys::process::{self, Process, Stat};
use crate::sys::{identity, reaper, spawn};
use std::collections::{HashSet, VecDeque};
use std::path::Path;

/// A look ends after so many processes; a kill takes more looks.
const WALK_MAX: usize = 32_768;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eyes {
    /// Only what cannot hang.
    Quick,
    /// Environments too: that may wait for a sick process's memory, so on a thread that may be lost.
    Thorough,
}

/// A process to look at.
struct Lead {
    pid: i32,
    listed: Option<Listed>,
}

/// It was among this member's children.
#[derive(Clone, Copy)]
struct Listed {
    parent: Process,
    /// When, as a birth.
    at: u64,
}

struct Walk<'a> {
    tree: &'a Tree,
    eyes: Eyes,
    claim: Claim<'a>,
    in_cgroup: HashSet<i32>,
}

impl Tree {
    /// Visits each member, parents before their children. `visit` may kill it: its children are listed already.
    pub(super) fn walk(&self, eyes: Eyes, visit: &mut dyn FnMut(&Member)) {
        let members: Vec<Process> = self.members.iter().copied().map(to_proc).collect();
        let in_cgroup: HashSet<i32> = self.cgroup.as_deref().map(in_cgroup).unwrap_or_default();
        let leads = self.leads(&in_cgroup);
        let claim = Claim {
            main: to_proc(self.main),
            session: self.session,
            first_start_time: self.born,
            uid: self.uid,
            members: &members,
            // asked after the listing: what was spawned since is not on the list
            sole_instance: self.sole_child_at == Some(spawn::count()),
            we_are_first: identity::pid() == 1,
            ourselves: identity::pid(),
        };
        let walk = Walk {
            tree: self,
            eyes,
            claim,
            in_cgroup,
        };
        walk.follow(leads, visit);
    }

    /// Where members can be: the tree itself, those known, the cgroup, and wherever orphans land.
    fn leads(&self, in_cgroup: &HashSet<i32>) -> VecDeque<Lead> {
        let landed = if reaper::adopts_orphans() && !self.adopted {
            process::own_children()
        } else {
            process::all()
        };
        // Those that we have spawned are somebody's main process, and are not looked at for each of the others.
        let orphans = landed.unwrap_or_default().into_iter();
        let orphans = orphans.filter(|pid| !spawn::is_ours(*pid));
        let known = self.members.iter().map(|member| member.pid);
        std::iter::once(self.main.pid)
            .chain(known)
            .chain(in_cgroup.iter().copied())
            .chain(orphans)
            .map(|pid| Lead { pid, listed: None })
            .collect()
    }
}

impl Walk<'_> {
    fn follow(&self, mut leads: VecDeque<Lead>, visit: &mut dyn FnMut(&Member)) {
        let mut proven = HashSet::new();
        let mut looks = 0;
        while let Some(lead) = leads.pop_front()
            && looks < WALK_MAX
        {
            looks += 1;
            if proven.contains(&lead.pid) {
                continue;
            }
            let Some(member) = self.judge(&lead) else {
                continue;
            };
            proven.insert(lead.pid);
            let children = process::children(lead.pid).unwrap_or_default();
            let listed = Listed {
                parent: member.process,
                at: process::birth_of_one_born_now(),
            };
            visit(&member);
            // before the other leads, so that parentage is found while the parent lives
            for pid in children {
                let listed = Some(listed);
                leads.push_front(Lead { pid, listed });
            }
        }
    }

    fn judge(&self, lead: &Lead) -> Option<Member> {
        let stat = process::stat(lead.pid).ok()?;
        if self.tree.group_only && stat.pgid != self.tree.session {
            return None;
        }
        let proof = self.proof(lead, &stat)?;
        Some(Member {
            process: stat.process,
            proof,
            stat,
        })
    }

    /// Looks at what is cheap first, and closer only while that proves nothing.
    fn proof(&self, lead: &Lead, stat: &Stat) -> Option<Proof> {
        let mut seen = self.first_sight(lead, stat);
        if let Some(proof) = prove(&self.claim, &seen) {
            return Some(proof);
        }
        if stat.process.start_time < self.tree.born {
            return None; // nothing that it holds or carries could prove anything
        }
        if let Some((dev, ino)) = self.tree.claim_file {
            seen.holds_claim = process::holds_file(lead.pid, dev, ino).unwrap_or(false);
        }
        if !seen.holds_claim && self.eyes == Eyes::Thorough && !self.tree.token.is_empty() {
            let token = process::environment_value(lead.pid, self.tree.token_name);
            seen.uid = process::uid(lead.pid).ok()?;
            seen.carries_token = token.is_ok_and(|token| token.as_ref() == Some(&self.tree.token));
        }
        if !still_is(stat.process) {
            return None; // the descriptors and the environment may have been a later process's
        }
        prove(&self.claim, &seen)
    }

    fn first_sight(&self, lead: &Lead, stat: &Stat) -> ObservedProcess {
        let is_sessions = stat.sid == self.tree.session;
        let leader = is_sessions.then(|| process::stat(stat.sid).ok()).flatten();
        ObservedProcess {
            process: to_proc(stat.process),
            below_member: lead
                .listed
                .as_ref()
                .is_some_and(|listed| is_child(stat, listed)),
            session: stat.sid,
            session_leader: leader.map(|leader| to_proc(leader.process)),
            in_cgroup: self.in_cgroup.contains(&lead.pid),
            holds_claim: false,
            carries_token: false,
            uid: u32::MAX,
            our_child: stat.ppid == identity::pid(),
            // in this order: one that had come to exec when it was looked at is known as ours by now
            spawned: stat.before_exec || spawn::is_ours(lead.pid),
        }
    }
}

/// Whether it is the very process that was on its parent's list: no later one has got its number since. Whose child it is
/// now says less, for the parent may have died meanwhile, and anybody may have got its children.
fn is_child(stat: &Stat, listed: &Listed) -> bool {
    (listed.parent.start_time..=listed.at).contains(&stat.process.start_time)
}

fn still_is(process: Process) -> bool {
    process::stat(process.pid).is_ok_and(|stat| stat.process == process)
}

fn to_proc(process: Process) -> Process {
    Process {
        pid: process.pid,
        start_time: process.start_time,
    }
}

/// Every process in the cgroup `dir` and those below it.
fn in_cgroup(dir: &Path) -> HashSet<i32> {
    let mut pids = HashSet::new();
    for dir in with_those_below(dir) {
        let list = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(list.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    pids
}
