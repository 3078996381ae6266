//! The tree of a life: who belongs to it, what it uses, who of it listens, and its end.
//!
//! A look starts at the main process and follows living parentage, then turns to what has left the tree: members
//! remembered from earlier, the cgroup, and the orphans that landed with us. Everything found is held against the
//! claim by [`ownership::prove`](crate::decide::ownership::prove); what cannot be proven is not touched.

pub mod cgroups;
mod kill;
pub mod killer;
pub(crate) mod stop_state;
mod walk;

pub use kill::KillOutcome;

use crate::act::spawn::launch::CommandToken;
use crate::decide::ownership::Proof;
use crate::sys::process::{self, Process, Stat};
use crate::sys::{identity, reaper, socket, spawn};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use walk::Eyes;

/// So many members outside the session are remembered; the rest is found again by other proofs, or not.
pub const MEMBERS_MAX: usize = 256;

/// The variable that carries a life's token.
pub const LIFE_TOKEN: &str = "STAYD_TOKEN";
/// The variable that carries the number of a life's first process: the token is inherited by all that it starts.
pub const LIFE_PID: &str = "STAYD_PID";

/// One life's processes, as far as this stayd knows the life.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The main process: the one spawned, or its heir.
    pub main: Process,
    /// The session of the life: the number of the process that was spawned.
    pub session: i32,
    /// Birth of the process that was spawned; nothing older is a member.
    pub born: u64,
    /// The life's token, 128 bits in hexadecimal, as in STAYD_TOKEN.
    pub token: String,
    /// The variable that carries the token.
    pub token_name: &'static str,
    /// Device and inode of the claim file that the child was given open.
    pub claim_file: Option<(u64, u64)>,
    /// The life's cgroup directory, where it has one of its own.
    pub cgroup: Option<PathBuf>,
    /// The user it runs as.
    pub uid: u32,
    /// Members that have left the session, seen earlier; as kept in the claim on disk.
    pub members: Vec<Process>,
    /// Only the process group of the spawned process is meant (`kill = "group"`).
    pub group_only: bool,
    /// An earlier stayd spawned it: it is no child of ours, and its orphans land with somebody else.
    pub adopted: bool,
    /// How many spawns of this stayd there were when the tree was made, if it was our only child then. While there
    /// are no more, every orphan that lands with us is this life's.
    sole_child_at: Option<u64>,
}

/// A process that belongs to the life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub process: Process,
    /// Why it belongs to it.
    pub proof: Proof,
    /// What it is doing, as of the look.
    pub stat: Stat,
}

impl Member {
    /// Whether it still ran when it was looked at.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.stat.is_alive()
    }
}

/// What a tree has used since its processes were born. Those that end take their share with them, so only growth
/// means something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Bytes through read and write calls.
    pub io_bytes: u64,
    /// Times its cgroup was throttled by a quota.
    pub throttled: u64,
}

impl Tree {
    /// The tree of a process just spawned, with no other proof than its parentage and session yet. Make it at once,
    /// before anything else is spawned: then its orphans can be told from others'.
    #[must_use]
    pub fn new(main: Process, uid: u32) -> Self {
        Self {
            main,
            session: main.pid,
            born: main.start_time,
            token: String::new(),
            token_name: LIFE_TOKEN,
            claim_file: None,
            cgroup: None,
            uid,
            members: Vec::new(),
            group_only: false,
            adopted: false,
            sole_child_at: sole_child_at(main),
        }
    }

    /// The tree of a life that an earlier stayd began with the process `session`, born at `born`.
    #[must_use]
    pub fn of_an_earlier_stayd(main: Process, session: i32, born: u64) -> Self {
        Self {
            session,
            born,
            adopted: true,
            sole_child_at: None,
            ..Self::new(main, identity::euid())
        }
    }

    /// The tree of a child of ours that runs its program, as whoever it runs.
    #[must_use]
    pub fn of_child(main: Process) -> Self {
        let uid = process::uid(main.pid).unwrap_or_else(|_| identity::euid());
        Self::new(main, uid)
    }

    /// Gives it the mark that its processes carry.
    pub fn marked(&mut self, mark: Option<CommandToken>) {
        if let Some(CommandToken { name, token }) = mark {
            self.token_name = name;
            self.token = token;
        }
    }

    /// Whether nothing of it can be left: nobody who landed with us may be of it. Looks at nothing that could hang. False
    /// says nothing: somebody else's orphan may be as young.
    #[must_use]
    pub fn is_surely_gone(&self) -> bool {
        let nobody_is_it = || {
            !self.members().iter().any(Member::is_alive)
                && self.suspects().is_some_and(|suspects| suspects.is_empty())
        };
        // Whoever is of it is below a child of ours.
        self.leaves_its_orphans_to_us() && (reaper::has_no_child() || nobody_is_it())
    }

    /// Whether what it leaves behind lands with us: then our own children tell whether it is gone.
    fn leaves_its_orphans_to_us(&self) -> bool {
        !self.adopted && reaper::adopts_orphans()
    }

    /// The orphans among our children that may be of it, as far as their age and session tell; none where that cannot be
    /// read. One that has died since it was listed is one of them, and a zombie: what it has started may have landed behind
    /// it. Nobody where orphans of it land elsewhere.
    fn suspects(&self) -> Option<Vec<i32>> {
        if !self.leaves_its_orphans_to_us() {
            return Some(Vec::new());
        }
        let is_suspect = |pid: i32| {
            let Ok(stat) = process::stat(pid) else {
                return true;
            };
            let is_in_anothers_session = stat.sid != self.session && spawn::is_spawned(stat.sid);
            let is_meant = !self.group_only || stat.pgid == self.session;
            let is_spawning = stat.before_exec;
            stat.process.start_time >= self.born
                && is_meant
                && !is_in_anothers_session
                && !is_spawning
        };
        let children = reaper::children().ok()?.into_iter();
        let orphans = children
            .filter(|child| !child.spawned)
            .map(|child| child.pid);
        Some(orphans.filter(|pid| is_suspect(*pid)).collect())
    }

    /// Who belongs to the life now, zombies included. Reads no process's memory, so it cannot hang.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let mut members = Vec::new();
        self.walk(Eyes::Quick, &mut |member| members.push(member.clone()));
        members
    }

    /// The same, environments included: that may wait for a sick process's memory, so on a thread that may be lost.
    #[must_use]
    pub fn members_by_every_proof(&self) -> Vec<Member> {
        let mut members = Vec::new();
        self.walk(Eyes::Thorough, &mut |member| members.push(member.clone()));
        members
    }

    /// Adds the members that have left the session, while their proof is to be had, and forgets the dead.
    /// True when that changed anything: the claim on disk wants to be written again.
    pub fn remember(&mut self) -> bool {
        let members = self.members();
        if self.adopted && members.iter().all(|member| member.stat.sid != self.session) {
            // with nobody in it, its number may be anybody's; here all processes are looked at
            self.session = 0;
        }
        let mut left: Vec<Process> = members
            .into_iter()
            .filter(|member| member.stat.sid != self.session && member.process != self.main)
            .map(|member| member.process)
            .collect();
        // those known longest first: the port's holder was put there by `remember_first`
        left.sort_by_key(|process| self.place_of(*process));
        left.truncate(MEMBERS_MAX);
        let changed = left != self.members;
        self.members = left;
        changed
    }

    /// Puts `member`, the one that holds the port, before all others, so that no bound ever drops it.
    pub fn remember_first(&mut self, member: Process) {
        self.members.retain(|known| *known != member);
        self.members.insert(0, member);
        self.members.truncate(MEMBERS_MAX);
    }

    fn place_of(&self, process: Process) -> usize {
        let place = self.members.iter().position(|known| *known == process);
        place.unwrap_or(usize::MAX)
    }

    /// What the tree has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            throttled: process::throttled_count(self.main.pid).unwrap_or(0),
            ..Usage::default()
        };
        self.walk(Eyes::Quick, &mut |member| {
            usage.cpu += member.stat.cpu;
            let io_bytes = process::io_bytes(member.process.pid).unwrap_or(0);
            usage.io_bytes = usage.io_bytes.saturating_add(io_bytes);
        });
        usage
    }

    /// The member that listens on TCP `port`; none when nobody does or only strangers do.
    ///
    /// # Errors
    /// The kernel does not list its sockets.
    pub fn holds_listener(&self, port: u16) -> io::Result<Option<Process>> {
        let listeners = socket::listeners(port)?;
        if listeners.is_empty() {
            return Ok(None);
        }
        let members = self.members();
        let holder = members.into_iter().find(|member| {
            let holds = |listener| socket::holds_listener(member.process.pid, listener);
            listeners.iter().any(|each| holds(each).unwrap_or(false))
        });
        Ok(holder.map(|member| member.process))
    }
}

/// The count of spawns, if `main` is the only child that we have.
fn sole_child_at(main: Process) -> Option<u64> {
    let spawns = spawn::count_if_only_child(main.pid)?;
    let children = process::own_children().ok()?;
    (children == [main.pid]).then_some(spawns)
}
