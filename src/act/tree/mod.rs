//! The process tree of an instance: finds its members, measures what they use, finds the one that listens, and kills
//! them.
//!
//! A scan starts at the main process and follows existing parents to their children. Then it checks the processes that
//! may have left the tree: members known from earlier scans, the members of the cgroup, and the orphans that were
//! reparented to stayd. [`ownership::prove`](crate::decide::ownership::prove) compares each with the claim. stayd does
//! not touch a process that cannot be proven to be a member.

pub mod cgroups;
mod command_token;
mod instance_tree;
mod kill;
pub mod killer;
pub(crate) mod stop_state;
mod walk;

pub use command_token::{CommandToken, INSTANCE_TOKEN_OF_COMMAND};
pub(crate) use instance_tree::InstanceTree;
pub use kill::KillOutcome;
pub(crate) use walk::is_in_other_cgroup;

use crate::decide::event::UnknownUse;
use crate::decide::ownership::Proof;
use crate::sys::cgroup::{self, CgroupUse};
use crate::sys::process::{self, InheritedFile, IoUse, Process, Stat};
use crate::sys::socket::{self, Listener};
use crate::sys::{identity, reaper, spawn};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use walk::ScanDepth;

/// The largest number of members outside the session that are recorded. Other members are found only by other evidence.
pub const MEMBERS_MAX: usize = 256;

/// The environment variable that carries an instance's token.
pub const INSTANCE_TOKEN: &str = "STAYD_TOKEN";
/// The environment variable that carries the pid of an instance's first process. It distinguishes that process from
/// its descendants, which inherit the token.
pub const INSTANCE_PID: &str = "STAYD_PID";

/// The process tree of one instance, with the evidence by which its members are found.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The main process: the spawned one, or its successor.
    pub main: Process,
    /// The main process of a claim on disk, before other evidence proves it; [`Process::NONE`] in any other tree.
    pub claimed: Process,
    /// The session of the instance: the pid of the spawned process.
    pub session: i32,
    /// Start time of the spawned process. An older process is not a member.
    pub first_start_time: u64,
    /// The instance's token, 128 bits in hexadecimal, as in STAYD_TOKEN.
    pub token: String,
    /// The environment variable that carries the token.
    pub token_name: &'static str,
    /// The claim file, which the child inherited open.
    pub claim_file: Option<InheritedFile>,
    /// The directory of the instance's cgroup, if it has one of its own.
    pub cgroup: Option<PathBuf>,
    /// The user id that the instance runs as.
    pub uid: u32,
    /// Members outside the session that earlier scans found; the claim on disk lists the same ones.
    pub members: Vec<Process>,
    /// Only the process group of the spawned process belongs to the tree (`kill = "group"`).
    pub group_only: bool,
    /// An earlier stayd spawned it: it is not our child, and its orphans are not reparented to us.
    pub adopted: bool,
    /// The count of this stayd's spawns when the tree was created, if the main process was our only child then. While
    /// the count stays the same, every orphan that is reparented to us belongs to this instance.
    sole_child_at: Option<u64>,
}

/// A process that belongs to the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The process.
    pub process: Process,
    /// Why it belongs to the instance.
    pub proof: Proof,
    /// Its state at the time of the scan.
    pub stat: Stat,
}

impl Member {
    /// Whether it was alive at the time of the scan.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.stat.is_alive()
    }
}

/// The resources that a tree has used since its processes started. The share of a process that ends is lost, unless its parent is
/// in the tree and waits for it; so only an increase has a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time, also of ended children.
    pub cpu: Duration,
    /// Bytes read and written.
    pub io: IoUse,
    /// What the instance's own cgroup has used, where it has one: this includes processes that have ended unseen.
    pub cgroup: CgroupUse,
    /// How often a quota throttled its cgroup.
    pub throttled: u64,
    /// Why a part of the use is missing; none if it is complete.
    pub unknown: Option<UnknownUse>,
}

impl Usage {
    /// Adds what a process has used.
    pub(crate) fn add(&mut self, stat: &Stat) {
        self.cpu += stat.cpu + stat.children_cpu;
        match process::io_use(stat.process.pid) {
            Ok(io) => {
                self.io.calls = self.io.calls.saturating_add(io.calls);
                self.io.disk = self.io.disk.saturating_add(io.disk);
            }
            Err(error) => {
                let has_ended = error.kind() == io::ErrorKind::NotFound || !stat.is_alive();
                if !has_ended {
                    self.unknown.get_or_insert(UnknownUse::Io);
                }
            }
        }
    }

    /// The CPU time used since `before`: by the processes that were seen or by the cgroup, whichever is more.
    #[must_use]
    pub fn cpu_since(&self, before: &Self) -> Duration {
        let by_cgroup = self.cgroup.cpu.saturating_sub(before.cgroup.cpu);
        by_cgroup.max(self.cpu.saturating_sub(before.cpu))
    }

    /// The bytes read and written since `before`: through system calls or from and to disks, whichever is more, because a
    /// read of a file counts as both, and a page fault only as the second. The cgroup counts disks only.
    #[must_use]
    pub fn io_bytes_since(&self, before: &Self) -> u64 {
        let calls = self.io.calls.saturating_sub(before.io.calls);
        let by_cgroup = self.cgroup.disk.saturating_sub(before.cgroup.disk);
        let disk = self.io.disk.saturating_sub(before.io.disk);
        calls.max(disk).max(by_cgroup)
    }
}

impl Tree {
    /// The tree of a process that was just spawned, with no evidence but parentage and session. Create it before
    /// another child is spawned, so that its orphans can be distinguished from those of other children.
    #[must_use]
    pub fn new(main: Process, uid: u32) -> Self {
        Self {
            main,
            claimed: Process::NONE,
            session: main.pid,
            first_start_time: main.start_time,
            token: String::new(),
            token_name: INSTANCE_TOKEN,
            claim_file: None,
            cgroup: None,
            uid,
            members: Vec::new(),
            group_only: false,
            adopted: false,
            sole_child_at: sole_child_at(main),
        }
    }

    /// The tree of an instance that an earlier stayd started. Its first process had the pid `session` and started at
    /// `first_start_time`.
    #[must_use]
    pub fn new_adopted(main: Process, session: i32, first_start_time: u64) -> Self {
        Self {
            session,
            first_start_time,
            adopted: true,
            sole_child_at: None,
            ..Self::new(main, identity::euid())
        }
    }

    /// The tree of a child of ours that runs its program; takes the user id from the process.
    #[must_use]
    pub fn of_child(main: Process) -> Self {
        let uid = process::uid(main.pid).unwrap_or_else(|_| identity::euid());
        Self::new(main, uid)
    }

    /// Sets the token that the processes of a command carry in their environment.
    pub fn set_token(&mut self, token: Option<CommandToken>) {
        if let Some(CommandToken { name, token }) = token {
            self.token_name = name;
            self.token = token;
        }
    }

    /// Whether no process of the tree can be left: no orphan that was reparented to us can be a member. Reads nothing
    /// that could hang. False is no statement, because an unrelated orphan can look like a member.
    #[must_use]
    pub fn is_known_gone(&self) -> bool {
        let has_no_member = || {
            !self.members().iter().any(Member::is_alive)
                && self.possible_members().is_some_and(|pids| pids.is_empty())
        };
        // Every member is a descendant of a child of ours.
        self.orphans_come_to_us() && (reaper::has_no_child() || has_no_member())
    }

    /// Whether its orphans are reparented to us, so that our own children show whether it is gone.
    pub(crate) fn orphans_come_to_us(&self) -> bool {
        !self.adopted && reaper::adopts_orphans()
    }

    /// The orphans among our children that can be members, judged by start time and session; none if our children
    /// cannot be read. An orphan that ended after it was listed counts, as does a zombie: its own children may have
    /// been reparented to us after the listing. Empty if orphans of the tree are reparented to another process.
    fn possible_members(&self) -> Option<Vec<i32>> {
        if !self.orphans_come_to_us() {
            return Some(Vec::new());
        }
        let is_possible = |pid: i32| {
            let Ok(stat) = process::stat(pid) else {
                return true;
            };
            let is_in_other_session = stat.sid != self.session && spawn::is_spawned(stat.sid);
            let is_in_group = !self.group_only || stat.pgid == self.session;
            let is_spawning = stat.before_exec;
            stat.process.start_time >= self.first_start_time
                && is_in_group
                && !is_in_other_session
                && !is_spawning
        };
        let children = reaper::children().ok()?.into_iter();
        let orphans = children
            .filter(|child| !child.spawned)
            .map(|child| child.pid);
        Some(orphans.filter(|pid| is_possible(*pid)).collect())
    }

    /// The members now, including zombies. Does not read the memory of a process, so it cannot hang.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let mut members = Vec::new();
        self.walk(ScanDepth::Quick, &mut |member| members.push(member.clone()));
        members
    }

    /// As [`Self::members`], and whether every process of the tree could be read.
    #[must_use]
    pub fn members_if_readable(&self) -> (Vec<Member>, bool) {
        let mut members = Vec::new();
        let is_complete = self.walk(ScanDepth::Quick, &mut |member| members.push(member.clone()));
        (members, is_complete)
    }

    /// The members now, including those proven only by the token in their environment. Reading an environment reads the
    /// memory of a process and can hang, so call this on a thread that may be abandoned.
    #[must_use]
    pub fn members_full_scan(&self) -> Vec<Member> {
        let mut members = Vec::new();
        self.walk(ScanDepth::Full, &mut |member| members.push(member.clone()));
        members
    }

    /// Updates [`Self::members`]: adds members that have left the session, while they can be proven, and removes ended
    /// ones. Returns true if the list changed, so that the claim on disk must be written again.
    pub fn update_members(&mut self) -> bool {
        let members = self.members();
        if self.adopted && members.iter().all(|member| member.stat.sid != self.session) {
            // The session has no member, so an unrelated session can reuse its number. Adopted trees scan all
            // processes.
            self.session = 0;
        }
        let mut outside: Vec<Process> = members
            .into_iter()
            .filter(|member| member.stat.sid != self.session && member.process != self.main)
            .map(|member| member.process)
            .collect();
        // Keep the order, so that the bound drops those that were found last.
        outside.sort_by_key(|process| self.index_of(*process));
        outside.truncate(MEMBERS_MAX);
        let changed = outside != self.members;
        self.members = outside;
        changed
    }

    /// Adds a process that was proven a member. Returns false if it is recorded already, or if there is no room.
    fn add_member(&mut self, member: Process) -> bool {
        let is_new = member != self.main && !self.members.contains(&member);
        let is_added = is_new && self.members.len() < MEMBERS_MAX;
        if is_added {
            self.members.push(member);
        }
        is_added
    }

    fn index_of(&self, process: Process) -> usize {
        let index = self.members.iter().position(|known| *known == process);
        index.unwrap_or(usize::MAX)
    }

    /// The resources that the running members have used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let cgroup = self.cgroup.as_deref().map(cgroup::used);
        let mut usage = Usage {
            throttled: process::throttled_count(self.main.pid).unwrap_or(0),
            cgroup: cgroup.unwrap_or_default(),
            ..Usage::default()
        };
        let is_complete = self.walk(ScanDepth::Quick, &mut |member| usage.add(&member.stat));
        if !is_complete {
            usage.unknown = Some(UnknownUse::Processes);
        }
        usage
    }

    /// Those of `listeners` that members have open, and what stayd could not see.
    ///
    /// # Errors
    /// The descriptors of a member cannot be read for lack of a resource.
    pub fn held_listeners(&self, listeners: &[Listener]) -> io::Result<HeldListeners> {
        let mut found = HeldListeners::default();
        let mut missing = listeners.to_vec();
        for member in self.members() {
            if missing.is_empty() {
                break;
            }
            let pid = member.process.pid;
            match socket::held_listeners(pid, &missing) {
                Ok(held) => {
                    missing.retain(|one| !held.contains(one));
                    found.held.extend(held);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    found.hidden_users.extend(process::uid(pid));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// The listeners that members of a tree have open.
#[derive(Debug, Default)]
pub struct HeldListeners {
    /// The listeners.
    pub held: Vec<Listener>,
    /// The users of members whose descriptors stayd may not read.
    pub hidden_users: BTreeSet<u32>,
}

/// The count of spawns, if `main` is our only child.
fn sole_child_at(main: Process) -> Option<u64> {
    let spawns = spawn::count_if_only_child(main.pid)?;
    reaper::is_only_child(main.pid).then_some(spawns)
}
