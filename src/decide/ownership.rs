//! Decides whether a process belongs to an instance of ours, from the claim and from what the kernel shows of the process.
//!
//! No process is signalled without one of these proofs. stayd writes the claim before the fork, so the decision never
//! depends only on properties that a process itself controls. A process that cannot be proven ours is foreign: stayd
//! reports it and leaves it alone.

use super::event::Process;

/// The records of stayd about one instance.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The process that this instance was spawned as; after a launcher, its successor.
    pub main: Process,
    /// The process that the claim on disk names as the main process, where only the claim names it: its pid and start time
    /// prove nothing alone. [`Process::NONE`] where stayd itself knows `main`.
    pub claimed: Process,
    /// The session that the first process of the instance made; its id is that process's pid.
    pub session: i32,
    /// Start time of the first process of the instance: no older process belongs to it.
    pub first_start_time: u64,
    /// The user that the instance was started as.
    pub uid: u32,
    /// Members that were proven earlier, while the proof was there.
    pub members: &'a [Process],
    /// No other instance, job, probe or helper of ours has run since the instance began.
    pub sole_instance: bool,
    /// stayd is the first process of its pid namespace, to which the kernel reparents all orphans.
    pub we_are_first: bool,
    /// stayd's own pid: it reads the instance's output and so holds its claim file, but is no member.
    pub ourselves: i32,
}

/// The observed properties of one process.
#[derive(Clone, Copy, Debug)]
pub struct ObservedProcess {
    /// Its identity.
    pub process: Process,
    /// A proven member is among its parents, and every parent in between is alive.
    pub below_member: bool,
    /// Its session.
    pub session: i32,
    /// The existing process whose pid is the session's id, if there is one.
    pub session_leader: Option<Process>,
    /// It is in the instance's cgroup.
    pub in_cgroup: bool,
    /// It has inherited a descriptor of the instance's claim file: one that stayd opened, under the number that stayd gave it.
    /// A descriptor that the process opened itself does not count, because another process can choose what it opens.
    pub holds_claim: bool,
    /// It is in another cgroup than the instance, as a process is that another service manager has started.
    pub in_other_cgroup: bool,
    /// The instance's token is in its environment.
    pub carries_token: bool,
    /// Its real user.
    pub uid: u32,
    /// It is a child of stayd, perhaps one that stayd spawned.
    pub our_child: bool,
    /// Its parents lead to stayd, and none of them is a process that stayd spawned as something else.
    pub descends_from_us: bool,
    /// stayd spawned it: as this instance's first process, or as something else. Before exec it has all descriptors of
    /// stayd, including those of other instances.
    pub spawned: bool,
}

/// Why a process belongs to an instance: the strongest reason there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// It is the main process itself.
    Child,
    /// It descends from a member, and every parent in between is alive.
    Parentage,
    /// It was proven a member before.
    Member,
    /// It is in the instance's cgroup.
    Cgroup,
    /// It is in the session that the instance's first process made.
    Session,
    /// It has inherited the claim file, and is neither of another user nor started by another service manager.
    ClaimFd,
    /// It carries the token, and runs as the instance's user or descends from stayd, or the claim names it.
    Token,
    /// It was reparented to stayd while no other tree of ours could have left an orphan.
    OrphanOfSoleInstance,
}

impl Proof {
    /// For a sentence: "it …".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Child => "is the process that was started",
            Self::Parentage => "descends from it",
            Self::Member => "was seen as its descendant",
            Self::Cgroup => "is in its cgroup",
            Self::Session => "is in its session",
            Self::ClaimFd => "has inherited its claim file",
            Self::Token => "carries its token",
            Self::OrphanOfSoleInstance => "is an orphan that only it can have left",
        }
    }
}

/// The proof that `seen` belongs to the instance of `claim`; `None` if there is none.
#[must_use]
pub fn prove(claim: &Claim<'_>, seen: &ObservedProcess) -> Option<Proof> {
    if seen.process.pid <= 1 || seen.process.pid == claim.ourselves {
        return None;
    }
    if seen.process == claim.main {
        return Some(Proof::Child);
    }
    if seen.spawned {
        return None;
    }
    if claim.members.contains(&seen.process) {
        return Some(Proof::Member);
    }
    if seen.process.start_time < claim.first_start_time {
        return None;
    }
    let proofs = [
        (seen.below_member, Proof::Parentage),
        (seen.in_cgroup, Proof::Cgroup),
        (in_its_session(claim, seen), Proof::Session),
        (claim_fd_counts(claim, seen), Proof::ClaimFd),
        (token_counts(claim, seen), Proof::Token),
        (
            only_it_can_have_left(claim, seen),
            Proof::OrphanOfSoleInstance,
        ),
    ];
    proofs
        .into_iter()
        .find_map(|(holds, proof)| holds.then_some(proof))
}

/// Whether the process is in the instance's session. A process gets into a session only by being forked in it (setsid(2)),
/// and the kernel gives a session's id to no new process while the session has a member. So a session of that id is the
/// instance's own as long as its leader is the instance's first process, dead or alive. An existing leader with another start
/// time means that all members had ended and the pid was reused.
fn in_its_session(claim: &Claim<'_>, seen: &ObservedProcess) -> bool {
    let leader_is_ours = seen
        .session_leader
        .is_none_or(|leader| leader.start_time == claim.first_start_time);
    claim.session > 1 && seen.session == claim.session && leader_is_ours
}

/// Whether the process has inherited the claim file and was not merely given it. A process can pass its descriptors to any
/// other (SCM_RIGHTS), also to one of another user, and service managers start programs with the output of their client. A
/// process of another user counts only if the claim names it: then it has given up its user since.
fn claim_fd_counts(claim: &Claim<'_>, seen: &ObservedProcess) -> bool {
    let is_claimed = seen.process == claim.claimed;
    let is_started_elsewhere = seen.in_other_cgroup && !seen.descends_from_us;
    seen.holds_claim && (is_claimed || seen.uid == claim.uid && !is_started_elsewhere)
}

/// Whether the process carries the token and cannot merely have copied it. A process of another user counts only if it
/// descends from stayd, or if the claim names it: then a process of the instance started it and has given up its user since
/// (setuid(2)).
fn token_counts(claim: &Claim<'_>, seen: &ObservedProcess) -> bool {
    let is_claimed = seen.process == claim.claimed;
    seen.carries_token && (seen.uid == claim.uid || seen.descends_from_us || is_claimed)
}

/// Whether only this instance can have left the orphan. As pid 1, stayd also gets the orphans of foreign processes, so this
/// proves nothing there.
fn only_it_can_have_left(claim: &Claim<'_>, seen: &ObservedProcess) -> bool {
    seen.our_child && claim.sole_instance && !claim.we_are_first
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;
