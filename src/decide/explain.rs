//! For `stayd explain`: compares a process with a claim, and returns what proves it ours and how stayd treats it.
//!
//! [`assess`] judges exactly as the recovery scan of the next stayd would, and [`treatment`] returns what would follow.
//! Neither does anything to the process.

use super::event::{Life, Process};
use super::ownership::{Claim, ObservedProcess, Proof, prove};

/// A claim as it was read from disk.
#[derive(Clone, Copy, Debug)]
pub struct StoredClaim<'a> {
    /// Which instance.
    pub life: Life,
    /// The claimed main process; `None` between the intent and the spawn.
    pub main: Option<Process>,
    /// The process that the instance began with, whose pid is the id of its session.
    pub first: Option<Process>,
    /// The user it ran as.
    pub uid: u32,
    /// Members seen and proven earlier.
    pub members: &'a [Process],
    /// It was written in this boot and in our pid namespace; otherwise its pids mean nothing here.
    pub present: bool,
    /// A running stayd reports that this instance runs. That proves the process that it spawned and has not reaped.
    pub runs: bool,
    /// That stayd's pid, or our own: it holds the claim files of its instances, and is a member of none.
    pub ourselves: i32,
}

/// Whether a process shows one kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The process shows it.
    Shown,
    /// It does not.
    Missing,
    /// It cannot be seen: the descriptors or the environment of the process are hidden from this user.
    Hidden,
}

/// Which properties of a process are visible to this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visibility {
    /// Its descriptors.
    pub descriptors: bool,
    /// Its environment.
    pub environment: bool,
}

/// Whether a process belongs to the instance of one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It belongs to the instance, for this reason.
    Proven(Proof),
    /// The claim names this very process, which shows no evidence: a pid and a start time can be written by hand.
    Unproven,
    /// Its pid is the claimed one and its start time is not: the kernel has reused the pid.
    PidReused,
    /// The claim is of another boot or another pid namespace.
    OtherBoot,
    /// The claim does not name it.
    Unrelated,
}

/// The result of comparing a process with one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Each kind of evidence, and whether the process shows it.
    pub evidence: Vec<(Proof, Observation)>,
    /// What follows from it.
    pub ownership: Ownership,
}

/// Compares a process with a claim. If the instance runs under a running stayd, the main process and its session count
/// as proof, as they do for that stayd. An instance that was left behind is proven only by claim file, token, cgroup and
/// known members, never by pid, start time or session alone.
#[must_use]
pub fn assess(
    stored: &StoredClaim<'_>,
    seen: &ObservedProcess,
    visibility: Visibility,
) -> Assessment {
    if !stored.present {
        return Assessment {
            evidence: Vec::new(),
            ownership: Ownership::OtherBoot,
        };
    }
    let first = stored.first.or(stored.main);
    let spawned_by_running_stayd = first.filter(|_| stored.runs);
    let claim = Claim {
        main: stored.main.filter(|_| stored.runs).unwrap_or(Process::NONE),
        claimed: stored.main.unwrap_or(Process::NONE),
        session: spawned_by_running_stayd.map_or(0, |first| first.pid),
        first_start_time: first.map_or(0, |first| first.start_time),
        uid: stored.uid,
        members: stored.members,
        sole_instance: false,
        we_are_first: false,
        ourselves: stored.ourselves,
    };
    Assessment {
        evidence: evidence(stored, first, seen, visibility),
        ownership: prove(&claim, seen).map_or_else(|| unproven(stored, seen), Ownership::Proven),
    }
}

fn unproven(stored: &StoredClaim<'_>, seen: &ObservedProcess) -> Ownership {
    let mut named = stored.main.iter().chain(stored.members).copied();
    match named.find(|process| process.pid == seen.process.pid) {
        Some(process) if process == seen.process => Ownership::Unproven,
        Some(_) => Ownership::PidReused,
        None => Ownership::Unrelated,
    }
}

fn evidence(
    stored: &StoredClaim<'_>,
    first: Option<Process>,
    seen: &ObservedProcess,
    visibility: Visibility,
) -> Vec<(Proof, Observation)> {
    let plain = |holds| {
        if holds {
            Observation::Shown
        } else {
            Observation::Missing
        }
    };
    let where_visible = |holds, visibility| {
        if holds || visibility {
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
        (Proof::Child, plain(stored.main == Some(seen.process))),
        (Proof::Parentage, plain(seen.below_member)),
        (Proof::Member, plain(stored.members.contains(&seen.process))),
        (Proof::Cgroup, plain(seen.in_cgroup)),
        (Proof::Session, plain(first.is_some_and(leads))),
        (
            Proof::ClaimFd,
            where_visible(seen.holds_claim, visibility.descriptors),
        ),
        (
            Proof::Token,
            where_visible(seen.carries_token, visibility.environment),
        ),
    ]
}

/// What is known of the service whose claim a process was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainContext {
    /// The stayd whose claim this is runs.
    pub stayd_runs: bool,
    /// It is the claimed main process, or the claim names none yet.
    pub is_main: bool,
    /// The claimed main process is alive.
    pub main_runs: bool,
    /// `leftover = "replace"`, as far as the configuration could be read.
    pub replaces: bool,
    /// The process listens on the port of the service.
    pub holds_its_port: bool,
    /// The service is no longer configured: neither a running stayd nor the configuration lists it.
    pub orphaned: bool,
    /// An instance of the service runs now.
    pub service_runs: bool,
    /// The service is attached to the holder of its port now.
    pub attached: bool,
    /// `stranger = "attach"`, as far as the configuration could be read.
    pub attaches: bool,
}

/// How stayd treats a process, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It belongs to an instance that a running stayd supervises.
    Supervised,
    /// The next stayd adopts it.
    Adopt,
    /// The next stayd ends it in order, and starts a new instance.
    Replace,
    /// Its main process is gone: the next stayd kills what is left of the tree, then starts a new instance.
    KillTree,
    /// Named and left alone; and no second copy of the service is started while it runs.
    BlockService,
    /// It holds the port of the service: named, left alone, and the service waits for the port.
    PortConflict,
    /// It holds the port of the service, and is monitored; never signalled.
    Attached,
    /// It holds the port of the service; the next stayd or the next start attaches to it.
    Attach,
    /// It holds the port of a service that runs: its answers do not count as answers of the service.
    Outsider,
    /// It belongs to a service that is no longer configured: named, left alone, and not monitored.
    Orphaned,
    /// stayd does nothing about it.
    None,
}

/// What stayd does with a process of this ownership, in this context.
#[must_use]
pub const fn treatment(ownership: Ownership, context: &ExplainContext) -> Treatment {
    match ownership {
        Ownership::Proven(_) | Ownership::Unproven if context.orphaned => Treatment::Orphaned,
        Ownership::Proven(_) if context.stayd_runs => Treatment::Supervised,
        Ownership::Proven(_) if !context.is_main && !context.main_runs => Treatment::KillTree,
        Ownership::Proven(_) if context.replaces => Treatment::Replace,
        Ownership::Proven(_) => Treatment::Adopt,
        Ownership::Unproven if context.is_main => Treatment::BlockService,
        Ownership::Unproven
        | Ownership::PidReused
        | Ownership::OtherBoot
        | Ownership::Unrelated => match (context.holds_its_port, context.service_runs) {
            (true, true) => Treatment::Outsider,
            (true, false) if context.attached => Treatment::Attached,
            (true, false) if context.attaches => Treatment::Attach,
            (true, false) => Treatment::PortConflict,
            (false, _) => Treatment::None,
        },
    }
}

/// What supervises a process, as far as its cgroup and its parents show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessSupervisor {
    /// The stayd of this name.
    Stayd(String),
    /// A unit of systemd.
    Unit(String),
    /// A container runtime, by the name of its process or its cgroup.
    Container(String),
    /// A login session: a terminal or a remote session.
    Login(String),
    /// launchd.
    Launchd,
    /// The first process of this machine or container is its parent; its name.
    Init(String),
    /// No known supervisor.
    Unknown,
}

/// Names of the processes between a container and its host.
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

/// Finds the supervisor of a process. `cgroup` is the cgroup of the process, `parents` are the short names of its parents,
/// the nearest first, up to pid 1.
#[must_use]
pub fn supervisor(cgroup: Option<&str>, parents: &[&str]) -> ProcessSupervisor {
    let runtime = |name: &&&str| RUNTIMES.iter().any(|runtime| name.starts_with(runtime));
    if let Some(runtime) = parents.iter().find(runtime) {
        return ProcessSupervisor::Container((*runtime).to_owned());
    }
    let unit = cgroup.and_then(unit);
    if let Some(unit) = unit {
        let in_container = CONTAINER_CGROUPS.iter().any(|part| unit.starts_with(part));
        return match unit {
            _ if in_container => ProcessSupervisor::Container(unit.to_owned()),
            _ if unit.starts_with("session-") => ProcessSupervisor::Login(unit.to_owned()),
            _ => ProcessSupervisor::Unit(unit.to_owned()),
        };
    }
    match parents.last() {
        Some(&"launchd") => ProcessSupervisor::Launchd,
        Some(first) if parents.len() == 1 => ProcessSupervisor::Init((*first).to_owned()),
        Some(_) | None => ProcessSupervisor::Unknown,
    }
}

/// The innermost unit in a cgroup's path. The path of a user unit also contains the unit of the user's manager.
fn unit(cgroup: &str) -> Option<&str> {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    let found = cgroup.rsplit('/').find(is_unit)?;
    (found != "init.scope").then_some(found)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
