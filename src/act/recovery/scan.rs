//! The recovery scan: finds what an earlier stayd has left of a service, and adopts it where it is proven.
//!
//! A claim is stayd's own word, and so it is not enough: the main process has to show evidence of its instance as well (its
//! claim file, its token, its cgroup). Members that had left the tree when they were seen are believed by number and start
//! time, because their evidence is often gone.

use super::adopt::{adopt, proven_tree};
use super::adoptable::adoptable;
use super::claimed::{is_of_this_boot, suspected_tree};
use super::inherited::InheritedInstances;
use super::inherited_child::go_on;
use crate::act::claims::{Claim, ClaimFile, ClaimOnDisk};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::lifecycle::successor::attend;
use crate::act::off_loop::{OffLoopError, off_loop};
use crate::act::process_exit::still_runs;
use crate::act::tree::cgroups::InstanceCgroup;
use crate::act::tree::{LIFE_PID, LIFE_TOKEN, Member, Tree};
use crate::decide::event::{Exit, Life, ScanOutcome, ServiceEvent};
use crate::sys::identity;
use crate::sys::process::{self, Process};
use std::rc::Rc;
use std::time::Duration;

/// Environments are read from the processes' own memory, which a sick process may not show.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Why an instance may run that no claim leads to: a disk that refuses claims does not keep a service down.
const NO_CLAIM: &str = "no claim names a life";
/// The same, where the disk has an older claim.
const ENDED: &str = "the life that was claimed last has ended";
/// Runs the scan, adopts what is proven, and reports what was found.
pub(crate) async fn scan(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    inherited: Rc<InheritedInstances>,
) {
    if let Some(child) = inherited.take_child(service.name()) {
        return go_on(shared, service, child).await;
    }
    let finding = find(&shared, &service, &inherited);
    let found = shared.orphans.suspend_during(finding).await;
    let adopted = match &found {
        ScanOutcome::Adoptable(found) => service.instance(found.life),
        ScanOutcome::Nothing(_) | ScanOutcome::Ended { .. } | ScanOutcome::Unclear(_) => None,
    };
    let event = ServiceEvent::RecoveryScanned(found);
    shared.send(service.id, event).await;
    // The loop has to hear of the instance before it hears of the instance's end.
    if let Some(instance) = adopted {
        attend(shared, service, instance).await;
    }
}

async fn find(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    inherited: &InheritedInstances,
) -> ScanOutcome {
    let name = service.name();
    let reading = match inherited.claim(name) {
        Some(claim) => ClaimOnDisk::Valid(Box::new(claim)),
        None => shared.claims.read(name),
    };
    if let ClaimOnDisk::Valid(claim) = &reading
        && is_of_this_boot(shared, claim)
    {
        super::probe_commands::end(shared, service, claim).await;
    }
    match reading {
        ClaimOnDisk::Absent => unclaimed(shared, service, Life(0), NO_CLAIM).await,
        ClaimOnDisk::Unverifiable(why) => {
            let why = format!("an earlier stayd's claim is not believed: {why}");
            tracing::warn!(service = name, "{why}; what it names is left alone");
            unclaimed(shared, service, Life(0), &why).await
        }
        ClaimOnDisk::Valid(claim) if !is_of_this_boot(shared, &claim) => {
            ScanOutcome::Nothing(Life(claim.life))
        }
        ClaimOnDisk::Valid(claim) if claim.ended.is_some() => concluded(shared, service, *claim),
        ClaimOnDisk::Valid(claim) => match look(shared, service, &claim).await {
            Ok(sighted) => judge(shared, service, inherited, *claim, sighted).await,
            Err(message) => ScanOutcome::Unclear(message),
        },
    }
}

/// No claim leads to a process; `why` says so. But a process that holds a FIFO of this service is a copy of it.
async fn unclaimed(
    shared: &SharedContext,
    service: &ServiceContext,
    claimed: Life,
    why: &str,
) -> ScanOutcome {
    let fifos = shared.output.claim_files(service.name());
    if fifos.is_empty() {
        return ScanOutcome::Nothing(claimed);
    }
    match off_loop("recovery", LOOK_DEADLINE, move || holder_of(&fifos)).await {
        Ok(None) => ScanOutcome::Nothing(claimed),
        Ok(Some(pid)) => ScanOutcome::Unclear(format!(
            "{why}; pid {pid} holds the output of an earlier life: it is left alone, and a second copy is not started; \
             stop it with `kill {pid}`, and the next life begins by itself"
        )),
        Err(cause) => ScanOutcome::Unclear(format!(
            "{why}; cannot see whether an earlier life still runs: {cause}; a second copy is not started, trying again"
        )),
    }
}

fn holder_of(files: &[ClaimFile]) -> Option<i32> {
    let holds = |pid: i32, file: &ClaimFile| {
        process::holds_file(pid, file.dev, file.inode).unwrap_or(false)
    };
    let others = process::all().unwrap_or_default().into_iter();
    others
        .filter(|&pid| pid != identity::pid())
        .find(|&pid| files.iter().any(|file| holds(pid, file)))
}

/// What is seen of a claimed instance.
struct Sighted {
    /// The running processes that show evidence, or are known members.
    members: Vec<Member>,
    /// Whether the claimed main process runs, proven or not.
    main_runs: bool,
    /// Where the claim names no main process yet: the process that the instance began with.
    first: Option<Process>,
    tree: Tree,
}

async fn look(
    shared: &SharedContext,
    service: &ServiceContext,
    claim: &Claim,
) -> Result<Sighted, String> {
    let tree = suspected_tree(shared, service, claim);
    let main = claim.main();
    let look = move || {
        let mut members = tree.members_full_scan();
        members.retain(Member::is_alive);
        let is_first = |member: &&Member| is_first_process(member, &tree.token);
        let first = members.iter().find(is_first).map(|member| member.process);
        Sighted {
            members,
            main_runs: main.is_some_and(still_runs),
            first,
            tree,
        }
    };
    let seen = off_loop("recovery", LOOK_DEADLINE, look).await;
    seen.map_err(|cause: OffLoopError| {
        format!(
            "cannot see whether life {} of an earlier stayd still runs: {cause}; a second copy is not started, trying \
             again",
            claim.life
        )
    })
}

async fn judge(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    inherited: &InheritedInstances,
    claim: Claim,
    seen: Sighted,
) -> ScanOutcome {
    let Sighted {
        members,
        main_runs,
        first,
        tree,
    } = seen;
    let is_proven = |main: &Process| members.iter().any(|member| member.process == *main);
    let main = match claim.main() {
        Some(main) => Some(main).filter(is_proven),
        // stayd was killed between the intent and the completion of the claim.
        None => first,
    };
    if main.is_none() && main_runs {
        return ScanOutcome::Unclear(unproven(&claim));
    }
    if members.is_empty() {
        let found = unclaimed(shared, service, Life(claim.life), ENDED).await;
        let has_run = claim.main().is_some() && !claim.ending;
        return match found {
            ScanOutcome::Nothing(_) if has_run => ended_unseen(shared, service, claim),
            found => found,
        };
    }
    if tree.claim_file.is_none() {
        return ScanOutcome::Unclear(elsewhere(&claim, &members));
    }
    let adoptable = adoptable(service, &claim, main);
    let tree = proven_tree(service, &claim, tree, main, &members);
    reached(Failpoint::OwnershipProven);
    adopt(shared, service, inherited, claim, tree, main).await;
    reached(Failpoint::Adopted);
    ScanOutcome::Adoptable(adoptable)
}

/// An earlier stayd has seen the instance's end, and has begun nothing after it.
fn concluded(shared: &SharedContext, service: &ServiceContext, claim: Claim) -> ScanOutcome {
    let (life, exit) = (Life(claim.life), claim.ended.map(Exit::from));
    shared.claims.adopt(service.name(), claim);
    ScanOutcome::Ended { life, exit }
}

/// Nothing of the instance is left but its claim, which is retired like that of any instance.
fn ended_unseen(shared: &SharedContext, service: &ServiceContext, claim: Claim) -> ScanOutcome {
    let life = Life(claim.life);
    let cgroup = InstanceCgroup::existing(shared.cgroups.of(service.name(), life));
    service.begin(Instance::with_cgroup(life, claim.token.clone(), cgroup));
    shared.claims.adopt(service.name(), claim);
    ScanOutcome::Ended { life, exit: None }
}

/// Whether the process is the one that the instance began with. It carries the token, which `before` and its descendants do
/// not, and its own number, which its descendants do not.
fn is_first_process(member: &Member, token: &str) -> bool {
    let pid = member.process.pid;
    let carries = |name, value: &str| {
        let found = process::environment_value(pid, name).ok().flatten();
        found.is_some_and(|found| found == value)
    };
    member.stat.sid == pid && carries(LIFE_TOKEN, token) && carries(LIFE_PID, &pid.to_string())
}

fn unproven(claim: &Claim) -> String {
    let pid = claim.pid.unwrap_or_default();
    format!(
        "pid {pid} was started as life {} by an earlier stayd and shows no evidence of that any more; it is left alone, \
         and a second copy is not started: stop it with `kill {pid}`, and the next life begins by itself",
        claim.life
    )
}

/// A copied state directory holds the claims of another stayd, and their tokens are right.
fn elsewhere(claim: &Claim, members: &[Member]) -> String {
    let pid = members.first().map_or(0, |member| member.process.pid);
    format!(
        "pid {pid} carries the evidence of life {}, but the claim file of that life is not in this state folder: it may \
         be another stayd's; it is left alone, and a second copy is not started: stop it with `kill {pid}` if it is not, \
         and the next life begins by itself",
        claim.life
    )
}
