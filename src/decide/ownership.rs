//! Whose process is this? A claim of ours against what was seen in the kernel.
//!
//! No process is signalled without one of these proofs. A claim is a record of ours, written before the fork; so the
//! answer is never built from what a process says about itself alone. What cannot be proven is a stranger: it is
//! named, shown and left alone.

use super::event::Process;

/// What we know of one life, from our own records.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The process that this life was spawned as; for an inherited life, its heir.
    pub main: Process,
    /// The session the first process of the life made, which has that process's number.
    pub session: i32,
    /// Birth of the first process of the life: nothing older belongs to it.
    pub born: u64,
    /// The user the life was started as.
    pub uid: u32,
    /// Members seen and proven earlier, in whatever way, while the proof was to be had.
    pub members: &'a [Process],
    /// No other life, job, probe or helper of ours has run since the life began.
    pub sole_life: bool,
    /// We are the first process of our pid namespace, where everybody's orphans land.
    pub we_are_first: bool,
    /// Our own process: it reads the life's output and so holds its claim file, but is no member.
    pub ourselves: i32,
}

/// What was seen of one process.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// Who.
    pub proc: Process,
    /// Following living parents leads to a proven member.
    pub below_member: bool,
    /// Its session.
    pub session: i32,
    /// The living process whose number is the session's, if there is one.
    pub session_leader: Option<Process>,
    /// It is in the life's cgroup.
    pub in_cgroup: bool,
    /// The life's claim file is among its open descriptors, by device and inode.
    pub holds_claim: bool,
    /// The life's token is in its environment.
    pub carries_token: bool,
    /// Its real user.
    pub uid: u32,
    /// It is a child of ours, perhaps one that we spawned.
    pub our_child: bool,
    /// We spawned it: as this life's first process, or as something else. Before exec it has all that we have, the
    /// descriptors of other lives included.
    pub spawned: bool,
}

/// Why a process belongs to a life, the strongest reason there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// It is the main process itself.
    Child,
    /// It descends from a member, every parent in between alive.
    Parentage,
    /// It was proven a member before.
    Member,
    /// It is in the life's cgroup.
    Cgroup,
    /// It is in the session that the life's first process made.
    Session,
    /// It holds the claim file.
    ClaimFd,
    /// It carries the token, as the life's user.
    Token,
    /// It landed with us while nobody else's child could have.
    OrphanOfSoleLife,
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
            Self::ClaimFd => "holds its claim file",
            Self::Token => "carries its token",
            Self::OrphanOfSoleLife => "is an orphan that only it can have left",
        }
    }
}

/// The proof that `seen` belongs to the life of `claim`, if there is one.
#[must_use]
pub fn prove(claim: &Claim<'_>, seen: &Sighting) -> Option<Proof> {
    if seen.proc.pid <= 1 || seen.proc.pid == claim.ourselves {
        return None;
    }
    if seen.proc == claim.main {
        return Some(Proof::Child);
    }
    if seen.spawned {
        return None;
    }
    if claim.members.contains(&seen.proc) {
        return Some(Proof::Member);
    }
    if seen.proc.start_time < claim.born {
        return None;
    }
    let proofs = [
        (seen.below_member, Proof::Parentage),
        (seen.in_cgroup, Proof::Cgroup),
        (in_its_session(claim, seen), Proof::Session),
        (seen.holds_claim, Proof::ClaimFd),
        (seen.carries_token && seen.uid == claim.uid, Proof::Token),
        (only_it_can_have_left(claim, seen), Proof::OrphanOfSoleLife),
    ];
    proofs
        .into_iter()
        .find_map(|(holds, proof)| holds.then_some(proof))
}

/// A process comes into a session only by being born into it (setsid(2)), and the kernel gives a session's number to no
/// new process while a member lives. So a session of that number is the life's own as long as its leader is the life's
/// first process, dead or alive. A living leader with another birth means that all members had ended and the number
/// was given anew.
fn in_its_session(claim: &Claim<'_>, seen: &Sighting) -> bool {
    let leader_is_ours = seen
        .session_leader
        .is_none_or(|leader| leader.start_time == claim.born);
    claim.session > 1 && seen.session == claim.session && leader_is_ours
}

/// As pid 1 we get strangers' orphans too, and so this proves nothing there.
fn only_it_can_have_left(claim: &Claim<'_>, seen: &Sighting) -> bool {
    seen.our_child && claim.sole_life && !claim.we_are_first
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;
