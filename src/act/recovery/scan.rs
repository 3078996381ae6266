//! The recovery scan: finds the instance of a service that an earlier stayd has left, and adopts it if it is proven ours.
//!
//! A claim alone is not enough: the main process must also show evidence of its instance (its claim file, its token, its
//! cgroup). Members that were recorded outside the tree are accepted by pid and start time, because their evidence is often
//! gone.

use super::adopt::{adopt, proven_tree};
use super::adoptable::adoptable;
use super::claimed::{is_of_this_boot, suspected_tree};
use super::inherited::InheritedInstances;
use super::inherited_child::continue_instance;
use crate::act::claims::{Claim, ClaimFile, ClaimOnDisk};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::lifecycle::successor::await_end;
use crate::act::off_loop::{OffLoopError, off_loop};
use crate::act::process_exit::still_runs;
use crate::act::tree::cgroups::InstanceCgroup;
use crate::act::tree::{INSTANCE_PID, INSTANCE_TOKEN, Member, Tree};
use crate::decide::event::{Exit, Life, ScanOutcome, ServiceEvent};
use crate::sys::identity;
use crate::sys::process::{self, Process};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The most time for the scan. It reads environments from the processes' own memory, which can hang.
const SCAN_TIMEOUT: Duration = Duration::from_secs(5);
/// Why an instance may run without a claim: stayd starts a service even if the disk refuses its claim.
const NO_CLAIM: &str = "no claim names an instance";
/// The same, where the disk has an older claim.
const ENDED: &str = "the instance that was claimed last has ended";

/// Runs the scan, adopts what is proven, and reports what was found.
pub(crate) async fn scan(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    inherited: Rc<InheritedInstances>,
) {
    if let Some(child) = inherited.take_child(service.name()) {
        return continue_instance(shared, service, child).await;
    }
    let finding = find(&shared, &service, &inherited);
    let found = shared.orphans.suspend_during(finding).await;
    let adopted = match &found {
        ScanOutcome::Adoptable(found) => service.instance(found.life),
        ScanOutcome::Nothing(_) | ScanOutcome::Ended { .. } | ScanOutcome::Unclear(_) => None,
    };
    let event = ServiceEvent::RecoveryScanned(found);
    shared.send(service.id, event).await;
    // The event about the instance must be sent before the one about its end.
    if let Some(instance) = adopted {
        await_end(shared, service, instance).await;
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
            let why = format!("the claim of an earlier stayd is unverifiable: {why}");
            tracing::warn!(
                service = name,
                "{why}; stayd leaves the processes that it names alone"
            );
            unclaimed(shared, service, Life(0), &why).await
        }
        ClaimOnDisk::Valid(claim) if !is_of_this_boot(shared, &claim) => {
            ScanOutcome::Nothing(Life(claim.life))
        }
        ClaimOnDisk::Valid(claim) if claim.ended.is_some() => {
            ended_as_recorded(shared, service, *claim)
        }
        ClaimOnDisk::Valid(claim) => match observe(shared, service, &claim).await {
            Ok(seen) => judge(shared, service, inherited, *claim, seen).await,
            Err(message) => ScanOutcome::Unclear(message),
        },
    }
}

/// No claim names a running process, for the reason `why`. Searches for a process that holds a FIFO of this service, because
/// that would be a copy of the service.
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
    match off_loop("recovery", SCAN_TIMEOUT, move || holder_of(&fifos)).await {
        Ok(None) => ScanOutcome::Nothing(claimed),
        Ok(Some(pid)) => ScanOutcome::Unclear(format!(
            "{why}; pid {pid} holds the output of an earlier instance: stayd leaves it alone and starts no second copy; \
             stop it with `kill {pid}`, and the next instance starts by itself"
        )),
        Err(cause) => ScanOutcome::Unclear(format!(
            "{why}; cannot find out whether an earlier instance still runs: {cause}; no second copy is started, trying again"
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

/// The processes of a claimed instance that were found.
struct ObservedInstance {
    /// The running processes that show evidence, or are known members.
    members: Vec<Member>,
    /// Whether the claimed main process runs, proven or not.
    main_runs: bool,
    /// Where the claim names no main process yet: the process that the instance began with.
    first: Option<Process>,
    tree: Tree,
}

async fn observe(
    shared: &SharedContext,
    service: &ServiceContext,
    claim: &Claim,
) -> Result<ObservedInstance, String> {
    let tree = suspected_tree(shared, service, claim);
    let main = claim.main();
    let scan = move || {
        let mut members = tree.members_full_scan();
        members.retain(Member::is_alive);
        let is_first = |member: &&Member| is_first_process(member, &tree.token);
        let first = members.iter().find(is_first).map(|member| member.process);
        ObservedInstance {
            members,
            main_runs: main.is_some_and(still_runs),
            first,
            tree,
        }
    };
    let seen = off_loop("recovery", SCAN_TIMEOUT, scan).await;
    seen.map_err(|cause: OffLoopError| {
        format!(
            "cannot find out whether life {} of an earlier stayd still runs: {cause}; no second copy is started, trying \
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
    seen: ObservedInstance,
) -> ScanOutcome {
    let ObservedInstance {
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
        return ScanOutcome::Unclear(unproven_message(&claim));
    }
    if members.is_empty() {
        let found = unclaimed(shared, service, Life(claim.life), ENDED).await;
        let has_run = claim.main().is_some() && !claim.ending;
        return match found {
            ScanOutcome::Nothing(_) if has_run => ended_unrecorded(shared, service, claim),
            found => found,
        };
    }
    if tree.claim_file.is_none() {
        return ScanOutcome::Unclear(claim_file_missing_message(&claim, &members));
    }
    let adoptable = adoptable(service, &claim, main);
    let tree = proven_tree(service, &claim, tree, main, &members);
    reached(Failpoint::OwnershipProven);
    adopt(shared, service, inherited, claim, tree, main).await;
    reached(Failpoint::Adopted);
    ScanOutcome::Adoptable(adoptable)
}

/// An earlier stayd recorded the instance's end, and started no other instance after it.
fn ended_as_recorded(
    shared: &SharedContext,
    service: &ServiceContext,
    claim: Claim,
) -> ScanOutcome {
    let (life, exit) = (Life(claim.life), claim.ended.map(Exit::from));
    shared.claims.adopt(service.name(), claim);
    ScanOutcome::Ended { life, exit }
}

/// Only the claim of the instance is left. Makes the instance the present one, so that it is retired like any other.
fn ended_unrecorded(shared: &SharedContext, service: &ServiceContext, claim: Claim) -> ScanOutcome {
    let life = Life(claim.life);
    let cgroup = InstanceCgroup::existing(shared.cgroups.of(service.name(), life));
    service.begin(Instance::with_cgroup(life, claim.token.clone(), cgroup));
    shared.claims.adopt(service.name(), claim);
    ScanOutcome::Ended { life, exit: None }
}

/// Whether the process is the instance's first one. It carries the token, which `before` and the descendants of that do not,
/// and its own pid, which its descendants do not.
fn is_first_process(member: &Member, token: &str) -> bool {
    let pid = member.process.pid;
    let carries = |name, value: &str| {
        let found = process::environment_value(pid, name).ok().flatten();
        found.is_some_and(|found| found == value)
    };
    member.stat.sid == pid
        && carries(INSTANCE_TOKEN, token)
        && carries(INSTANCE_PID, &pid.to_string())
}

fn unproven_message(claim: &Claim) -> String {
    let pid = claim.pid.unwrap_or_default();
    let read = process::open_files(pid, 1);
    let evidence = match read {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "stayd may not read the evidence of that: the system denies it /proc/PID/fd, for which root needs CAP_SYS_PTRACE"
        }
        Ok(_) | Err(_) => "it shows no evidence of that any more",
    };
    format!(
        "pid {pid} was started as life {} by an earlier stayd, and {evidence}; stayd leaves it alone and starts no second \
         copy: stop it with `kill {pid}`, and the next instance starts by itself",
        claim.life
    )
}

/// The sentence about a process of another stayd: a copied state directory contains that stayd's claims with valid tokens.
fn claim_file_missing_message(claim: &Claim, members: &[Member]) -> String {
    let pid = members.first().map_or(0, |member| member.process.pid);
    format!(
        "pid {pid} carries the evidence of life {}, but the claim file of that life is not in this state folder: it may \
         be another stayd's; stayd leaves it alone and starts no second copy: stop it with `kill {pid}` if it is not, \
         and the next instance starts by itself",
        claim.life
    )
}
