//! A process held against the claims of an instance: which marks it shows, whose it therefore is, and what becomes of it.
//!
//! Nothing is done here: [`weigh`] judges exactly as the next stayd would when it looks for what an earlier one has left,
//! and [`fate`] says what would follow.

use super::event::{Life, Process};
use super::ownership::{Claim, Proof, Sighting, prove};

/// Nobody: no process has this number.
const NOBODY: Process = Process {
    pid: 0,
    start_time: 0,
};

/// A claim, as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Which life.
    pub life: Life,
    /// The claimed main process; none between the intent and the spawn.
    pub main: Option<Process>,
    /// The process that the life began with, whose number is its session's.
    pub first: Option<Process>,
    /// The user it ran as.
    pub uid: u32,
    /// Members seen and proven earlier.
    pub members: &'a [Process],
    /// It was written in this boot and counts in our pid namespace; else its numbers name nobody here.
    pub present: bool,
    /// A running stayd says that this life is running: what it started is proven by that, as long as it has not reaped it.
    pub runs: bool,
    /// That stayd's pid, or our own: it holds what proves its lives, and is none of them.
    pub ourselves: i32,
}

/// What a look at one mark gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The process shows it.
    Shown,
    /// It does not.
    Missing,
    /// Nobody could look: its descriptors or its environment are hidden from this user.
    Hidden,
}

/// What of a process could be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visible {
    /// Its descriptors.
    pub descriptors: bool,
    /// Its environment.
    pub environment: bool,
}

/// Whose a process is, by one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to the life, for this reason.
    Ours(Proof),
    /// The claim names this very process, which shows no mark of the life: a number and a birth can be written by hand.
    Unproven,
    /// Its number is the claimed one and its birth is not: the number was given anew.
    NumberReused,
    /// The claim is of another boot or another pid namespace.
    OfElsewhere,
    /// The claim says nothing about it.
    NotIts,
}

/// A process held against one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// Each mark, and whether the process shows it.
    pub marks: Vec<(Proof, Observation)>,
    /// What follows.
    pub standing: Standing,
}

/// Holds a process against a claim. A life that runs is believed as its stayd believes it; a life that was left behind
/// only by its marks and its known members, never by number, birth or session alone.
#[must_use]
pub fn weigh(record: &Record<'_>, seen: &Sighting, visible: Visible) -> Weighed {
    if !record.present {
        return Weighed {
            marks: Vec::new(),
            standing: Standing::OfElsewhere,
        };
    }
    let first = record.first.or(record.main);
    let believed = first.filter(|_| record.runs);
    let claim = Claim {
        main: record.main.filter(|_| record.runs).unwrap_or(NOBODY),
        session: believed.map_or(0, |first| first.pid),
        born: first.map_or(0, |first| first.start_time),
        uid: record.uid,
        members: record.members,
        sole_life: false,
        we_are_first: false,
        ourselves: record.ourselves,
    };
    Weighed {
        marks: marks(record, first, seen, visible),
        standing: prove(&claim, seen).map_or_else(|| unproven(record, seen), Standing::Ours),
    }
}

fn unproven(record: &Record<'_>, seen: &Sighting) -> Standing {
    let mut named = record.main.iter().chain(record.members).copied();
    match named.find(|proc| proc.pid == seen.proc.pid) {
        Some(proc) if proc == seen.proc => Standing::Unproven,
        Some(_) => Standing::NumberReused,
        None => Standing::NotIts,
    }
}

fn marks(
    record: &Record<'_>,
    first: Option<Process>,
    seen: &Sighting,
    visible: Visible,
) -> Vec<(Proof, Observation)> {
    let plain = |holds| {
        if holds {
            Observation::Shown
        } else {
            Observation::Missing
        }
    };
    let where_visible = |holds, visible| {
        if holds || visible {
            plain(holds)
        } else {
            Observation::Hidden
        }
    };
    let leads = |first: Process| {
        let leader = seen.session_leader;
        seen.session == first.pid && leader.is_none_or(|leader| leader == first)
    };
    vec![
        (Proof::Child, plain(record.main == Some(seen.proc))),
        (Proof::Parentage, plain(seen.below_member)),
        (Proof::Member, plain(record.members.contains(&seen.proc))),
        (Proof::Cgroup, plain(seen.in_cgroup)),
        (Proof::Session, plain(first.is_some_and(leads))),
        (
            Proof::ClaimFd,
            where_visible(seen.holds_claim, visible.descriptors),
        ),
        (
            Proof::Token,
            where_visible(seen.carries_token, visible.environment),
        ),
    ]
}

/// What is known of the service that a process was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// A stayd runs for this instance.
    pub stayd_runs: bool,
    /// It is the claimed main process, or the claim names none yet.
    pub is_main: bool,
    /// The claimed main process lives.
    pub main_lives: bool,
    /// `leftover = "replace"`, as far as the configuration could be read.
    pub replaces: bool,
    /// The process listens on the port that the service wants.
    pub holds_its_port: bool,
    /// The service is not configured any more: a running stayd, or the configuration, does not know it.
    pub forgotten: bool,
    /// A life of the service runs now.
    pub service_runs: bool,
    /// The service is attached to the holder of its port now.
    pub attached: bool,
    /// `stranger = "attach"`, as far as the configuration could be read.
    pub attaches: bool,
}

/// What stayd does with a process, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is of a life that a running stayd looks after.
    Kept,
    /// The next stayd goes on with it.
    Adopt,
    /// The next stayd ends it in order, and begins a new life.
    Replace,
    /// Its main process is gone: the next stayd ends what is left of the life, then begins a new one.
    End,
    /// Named and left alone; and no second copy of the service is started while it lives.
    Block,
    /// It holds the port that the service wants: named, left alone, and the service waits for the port.
    Conflict,
    /// It holds the port that the service wants, and is watched; never signalled.
    Attached,
    /// The same, by the next stayd or the next start.
    Attach,
    /// It holds the port of a service that runs: nothing is concluded from its answers.
    Outsider,
    /// It is left of a service that is not configured any more: named, left alone, and watched by nobody.
    Forgotten,
    /// Nothing at all.
    Nothing,
}

/// What becomes of a process of this standing.
#[must_use]
pub const fn fate(standing: Standing, around: &Surroundings) -> Fate {
    match standing {
        Standing::Ours(_) | Standing::Unproven if around.forgotten => Fate::Forgotten,
        Standing::Ours(_) if around.stayd_runs => Fate::Kept,
        Standing::Ours(_) if !around.is_main && !around.main_lives => Fate::End,
        Standing::Ours(_) if around.replaces => Fate::Replace,
        Standing::Ours(_) => Fate::Adopt,
        Standing::Unproven if around.is_main => Fate::Block,
        Standing::Unproven | Standing::NumberReused | Standing::OfElsewhere | Standing::NotIts => {
            match (around.holds_its_port, around.service_runs) {
                (true, true) => Fate::Outsider,
                (true, false) if around.attached => Fate::Attached,
                (true, false) if around.attaches => Fate::Attach,
                (true, false) => Fate::Conflict,
                (false, _) => Fate::Nothing,
            }
        }
    }
}

/// Who looks after a process besides any stayd, as far as its cgroup and its parents tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The stayd of this instance.
    Stayd(String),
    /// A unit of systemd.
    Unit(String),
    /// A container runtime, by the name of its process or its cgroup.
    Container(String),
    /// Somebody who has logged in: a terminal or a remote session.
    Login(String),
    /// launchd.
    Launchd,
    /// The first process of this machine or container got it, by name.
    First(String),
    /// Nobody known.
    Nobody,
}

/// Processes that stand between a container and its host.
const RUNTIMES: [&str; 6] = [
    "containerd-shim",
    "conmon",
    "dockerd",
    "crio",
    "lxc-start",
    "systemd-nspawn",
];
/// Parts of cgroup names that container runtimes give.
const CONTAINER_CGROUPS: [&str; 5] = ["docker", "libpod", "cri-containerd", "crio", "kubepods"];

/// Names it. `cgroup` is the process's, `parents` the short names of its parents, the nearest first, up to the first
/// process.
#[must_use]
pub fn keeper(cgroup: Option<&str>, parents: &[&str]) -> Keeper {
    let runtime = |name: &&&str| RUNTIMES.iter().any(|runtime| name.starts_with(runtime));
    if let Some(runtime) = parents.iter().find(runtime) {
        return Keeper::Container((*runtime).to_owned());
    }
    let unit = cgroup.and_then(unit);
    if let Some(unit) = unit {
        let in_container = CONTAINER_CGROUPS.iter().any(|part| unit.starts_with(part));
        return match unit {
            _ if in_container => Keeper::Container(unit.to_owned()),
            _ if unit.starts_with("session-") => Keeper::Login(unit.to_owned()),
            _ => Keeper::Unit(unit.to_owned()),
        };
    }
    match parents.last() {
        Some(&"launchd") => Keeper::Launchd,
        Some(first) if parents.len() == 1 => Keeper::First((*first).to_owned()),
        Some(_) | None => Keeper::Nobody,
    }
}

/// The innermost unit in a cgroup's path: the manager of a user's units is a unit as well.
fn unit(cgroup: &str) -> Option<&str> {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    let found = cgroup.rsplit('/').find(is_unit)?;
    (found != "init.scope").then_some(found)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
