//! What an earlier stayd has left of a service: found by its claim, proven, and taken in hand.
//!
//! A claim is our own word, and so it is not enough: the main process has to show a mark of its life as well (its claim
//! file, its token, its cgroup). Members that had left the tree when they were seen are believed by number and birth,
//! because their marks are often gone.

use super::adoptable::leftover;
use crate::act::claims::{Claim, ClaimFile, Reading};
use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::tree::{LIFE_PID, LIFE_TOKEN, Member, Tree};
use crate::decide::event::{Exit, Life, ScanOutcome, ServiceEvent};
use crate::sys::identity;
use crate::sys::process::{self, Handle, Process};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Environments are read from the processes' own memory, which a sick one may keep for itself.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Stack of the thread that looks.
const LOOK_STACK_BYTES: usize = 256 * 1024;
/// Why a life may run that no claim leads to: a disk that refuses claims keeps no service down.
const NO_CLAIM: &str = "no claim names a life";
/// The same, where the disk has a claim from before.
const ENDED: &str = "the life that was claimed last has ended";
/// No process: nobody's number, nobody's birth.
pub(crate) const NOBODY: Process = Process {
    pid: 0,
    start_time: 0,
};

/// Looks, takes in hand what is proven, and says what was found.
pub(crate) async fn survey(shared: Rc<SharedContext>, context: Rc<ServiceContext>) {
    if let Some(child) = super::handover::child(&shared, &context) {
        return super::handover::go_on(shared, context, child).await;
    }
    let found = shared.orphans.hold_off(find(&shared, &context)).await;
    let taken = match &found {
        ScanOutcome::Adoptable(leftover) => context.instance(leftover.life),
        ScanOutcome::Nothing(_) | ScanOutcome::Ended { .. } | ScanOutcome::Unclear(_) => None,
    };
    shared
        .tell(context.id, ServiceEvent::RecoveryScanned(found))
        .await;
    // only now: the end of a life is no news before the life is
    if let Some(instance) = taken {
        attend(shared, context, instance).await;
    }
}

async fn find(shared: &Rc<SharedContext>, context: &Rc<ServiceContext>) -> ScanOutcome {
    let name = &context.config.name;
    let reading = match super::handover::claim(shared, context) {
        Some(claim) => Reading::Valid(Box::new(claim)),
        None => shared.claims.borrow().read(name),
    };
    if let Reading::Valid(claim) = &reading
        && is_present(shared, claim)
    {
        super::probe_commands::end(shared, context, claim).await;
    }
    match reading {
        Reading::Absent => unclaimed(shared, context, Life(0), NO_CLAIM).await,
        Reading::Unverifiable(why) => {
            let why = format!("an earlier stayd's claim is not believed: {why}");
            tracing::warn!(
                service = context.config.name,
                "{why}; what it names is left alone"
            );
            unclaimed(shared, context, Life(0), &why).await
        }
        Reading::Valid(claim) if !is_present(shared, &claim) => {
            ScanOutcome::Nothing(Life(claim.life))
        }
        Reading::Valid(claim) if claim.ended.is_some() => concluded(shared, context, *claim),
        Reading::Valid(claim) => match look(shared, context, &claim).await {
            Ok(sighted) => judge(shared, context, *claim, sighted).await,
            Err(message) => ScanOutcome::Unclear(message),
        },
    }
}

/// Waits for the end of the main process, which is not our child.
async fn attend(shared: Rc<SharedContext>, context: Rc<ServiceContext>, instance: Rc<Instance>) {
    let main = instance.main.borrow().as_ref().map(Arc::clone);
    if let Some(main) = main {
        crate::act::lifecycle::successor::watch(shared, context, instance, main).await;
    } else if instance.successor.get().is_some() {
        // It ended since it was seen.
        crate::act::lifecycle::successor::begin_end(&shared, &context, &instance, Exit::Unknown);
    }
}

/// No claim leads to a process; `why` says so. But who holds a FIFO of this service is a copy of it.
async fn unclaimed(
    shared: &SharedContext,
    context: &ServiceContext,
    claimed: Life,
    why: &str,
) -> ScanOutcome {
    let fifos = shared.output.borrow().claim_files(&context.config.name);
    if fifos.is_empty() {
        return ScanOutcome::Nothing(claimed);
    }
    match off_the_loop(move || holder_of(&fifos)).await {
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

/// What `look` sees, or why there is no answer in time.
pub(crate) async fn off_the_loop<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (answer, seen) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("survey".into())
        .stack_size(LOOK_STACK_BYTES);
    let looking = thread.spawn(move || {
        // Nobody waits any more after the deadline.
        let _ = answer.send(look());
    });
    looking.map_err(|error| format!("there is no thread to look with: {error}"))?;
    match tokio::time::timeout(LOOK_DEADLINE, seen).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(_)) | Err(_) => Err(format!(
            "a process did not show itself within {} s",
            LOOK_DEADLINE.as_secs()
        )),
    }
}

/// Another boot's processes are gone, and another namespace's numbers mean nothing here. A namespace's number is given
/// anew, so its first process knows that what was born before itself was in another.
pub(crate) fn is_present(shared: &SharedContext, claim: &Claim) -> bool {
    let of_this_boot = (&claim.boot_id, claim.pid_ns) == (&shared.boot.0, shared.boot.1);
    let is_older = |first: Process| {
        claim
            .main()
            .is_some_and(|main| main.start_time < first.start_time)
    };
    let first = Some(identity::pid()).filter(|&pid| pid == 1);
    let first = first.and_then(|pid| process::stat(pid).ok());
    of_this_boot && !first.is_some_and(|first| is_older(first.process))
}

/// What was seen of a claimed life.
struct Sighted {
    /// The living that carry a mark, or are known members.
    members: Vec<Member>,
    /// Whether the claimed main process lives, proven or not.
    main_lives: bool,
    /// Where the claim names nobody yet: the process that the life began with.
    first: Option<Process>,
    tree: Tree,
}

async fn look(
    shared: &SharedContext,
    context: &ServiceContext,
    claim: &Claim,
) -> Result<Sighted, String> {
    let tree = suspected(shared, context, claim);
    let main = claim.main();
    let seen = off_the_loop(move || {
        let mut members = tree.members_by_every_proof();
        members.retain(Member::is_alive);
        let is_first = |member: &&Member| is_first_of_a_life(member, &tree.token);
        let first = members.iter().find(is_first).map(|member| member.process);
        Sighted {
            members,
            main_lives: main.is_some_and(lives),
            first,
            tree,
        }
    });
    seen.await.map_err(|cause| {
        format!(
            "cannot see whether life {} of an earlier stayd still runs: {cause}; a second copy is not started, trying \
             again",
            claim.life
        )
    })
}

/// Nobody but us has our number, whatever a claim says.
pub(crate) fn lives(process: Process) -> bool {
    let is_it = |stat: process::Stat| stat.process == process && stat.is_alive();
    process.pid != identity::pid() && process::stat(process.pid).is_ok_and(is_it)
}

/// The tree with nothing believed but marks: not the main process, and not its session's number.
fn suspected(shared: &SharedContext, context: &ServiceContext, claim: &Claim) -> Tree {
    let born = claim.first.map_or(0, |first| first.start_time);
    let mut tree = Tree::of_an_earlier_stayd(NOBODY, 0, born);
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    claim.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = provable_file(shared, context, claim);
    tree.cgroup = cgroup_of(shared, context, Life(claim.life));
    tree.members = claim.members.iter().copied().map(Into::into).collect();
    tree.group_only = false;
    tree
}

/// Inodes are reused at once: only as long as the claim file is there, no other file has its number.
pub(crate) fn provable_file(
    shared: &SharedContext,
    context: &ServiceContext,
    claim: &Claim,
) -> Option<(u64, u64)> {
    let files = shared.output.borrow().claim_files(&context.config.name);
    let ClaimFile { dev, inode, .. } = claim.claim_fd;
    files.contains(&claim.claim_fd).then_some((dev, inode))
}

pub(crate) fn cgroup_of(
    shared: &SharedContext,
    context: &ServiceContext,
    life: Life,
) -> Option<std::path::PathBuf> {
    let cgroups = shared.cgroups.borrow();
    cgroups.as_ref()?.of(&context.config.name, life)
}

async fn judge(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    claim: Claim,
    seen: Sighted,
) -> ScanOutcome {
    let Sighted {
        members,
        main_lives,
        first,
        tree,
    } = seen;
    let is_proven = |main: &Process| members.iter().any(|member| member.process == *main);
    let main = match claim.main() {
        Some(main) => Some(main).filter(is_proven),
        // stayd was killed between the intent and the claim's completion.
        None => first,
    };
    if main.is_none() && main_lives {
        return ScanOutcome::Unclear(unproven(&claim));
    }
    if members.is_empty() {
        let found = unclaimed(shared, context, Life(claim.life), ENDED).await;
        let has_run = claim.main().is_some() && !claim.ending;
        return match found {
            ScanOutcome::Nothing(_) if has_run => ended_unseen(shared, context, claim),
            found => found,
        };
    }
    if tree.claim_file.is_none() {
        return ScanOutcome::Unclear(elsewhere(&claim, &members));
    }
    let left = leftover(context, &claim, main);
    let tree = believed(context, &claim, tree, main, &members);
    reached(Failpoint::Proven);
    take_in_hand(shared, context, claim, tree, main).await;
    reached(Failpoint::TakenInHand);
    ScanOutcome::Adoptable(left)
}

/// An earlier stayd has seen its end, and begun nothing after it.
fn concluded(shared: &SharedContext, context: &ServiceContext, claim: Claim) -> ScanOutcome {
    let (life, exit) = (Life(claim.life), claim.ended.map(Exit::from));
    shared
        .claims
        .borrow_mut()
        .adopt(&context.config.name, claim);
    ScanOutcome::Ended { life, exit }
}

/// Nothing of it is left but its claim, which goes the way of every life's.
fn ended_unseen(shared: &SharedContext, context: &ServiceContext, claim: Claim) -> ScanOutcome {
    let life = Life(claim.life);
    let instance = Instance::new(life, claim.token.clone());
    instance.cgroup.replace(cgroup_of(shared, context, life));
    context.life.replace(Some(Rc::new(instance)));
    shared
        .claims
        .borrow_mut()
        .adopt(&context.config.name, claim);
    ScanOutcome::Ended { life, exit: None }
}

/// It carries the token, which `before` and what that left do not, and its own number, which nothing that it started does.
fn is_first_of_a_life(member: &Member, token: &str) -> bool {
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
        "pid {pid} was started as life {} by an earlier stayd and shows no mark of that any more; it is left alone, and a \
         second copy is not started: stop it with `kill {pid}`, and the next life begins by itself",
        claim.life
    )
}

/// A state folder that was copied has another instance's claims, whose tokens are right.
fn elsewhere(claim: &Claim, members: &[Member]) -> String {
    let pid = members.first().map_or(0, |member| member.process.pid);
    format!(
        "pid {pid} carries the marks of life {}, but the claim file of that life is not in this state folder: it may be \
         another stayd's; it is left alone, and a second copy is not started: stop it with `kill {pid}` if it is not, and \
         the next life begins by itself",
        claim.life
    )
}

/// The tree as it is supervised from now on.
fn believed(
    context: &ServiceContext,
    claim: &Claim,
    mut tree: Tree,
    main: Option<Process>,
    members: &[Member],
) -> Tree {
    let first = claim.first.map(Process::from).or(main);
    tree.main = main.or(claim.main()).unwrap_or(NOBODY);
    let session = first.map_or(0, |first| first.pid);
    // The number is given to no other session while a member lives; with nobody in it, it may be anybody's by now.
    let is_ours = members.iter().any(|member| member.stat.sid == session);
    tree.session = if is_ours { session } else { 0 };
    tree.born = first.map_or(0, |first| first.start_time);
    let outside = members
        .iter()
        .filter(|member| member.stat.sid != tree.session && member.process != tree.main);
    tree.members = outside.map(|member| member.process).collect();
    tree.group_only = context.config.kill_group_only;
    tree
}

/// From here on it is a life like any other, but for its parent.
async fn take_in_hand(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    claim: Claim,
    tree: Tree,
    main: Option<Process>,
) {
    let life = Life(claim.life);
    let instance = Rc::new(Instance::new(life, claim.token.clone()));
    instance.claim_file.set(tree.claim_file);
    instance.cgroup.replace(tree.cgroup.clone());
    instance.tree.replace(Some(tree));
    context.life.replace(Some(Rc::clone(&instance)));
    crate::act::runtime::materialize::adopt(
        shared,
        context,
        claim.fingerprint.as_deref(),
        claim.runtime.as_deref(),
    );
    let inherited = shared.inherited.borrow_mut().remove(&context.config.name);
    let handed_on = inherited.map(|mut inherited| inherited.hand_on(shared, context, &instance));
    let (reads, hears) = handed_on.unwrap_or_default();
    if !reads {
        go_on_with_output(shared, context, &claim);
    }
    shared
        .claims
        .borrow_mut()
        .adopt(&context.config.name, claim);
    if context.config.offers_notify_socket() && !hears {
        listen_again(shared, context, &instance).await;
    }
    crate::act::sockets::regain(shared, context, &instance).await;
    instance.main_gone.send_replace(main.is_none());
    instance.successor.set(main);
    let handle = main.and_then(|main| Handle::open(main).ok());
    instance.main.replace(handle.map(Arc::new));
}

pub(crate) fn go_on_with_output(shared: &SharedContext, context: &ServiceContext, claim: &Claim) {
    let config = &context.config;
    let taken = shared.output.borrow_mut().adopt(
        &config.name,
        Life(claim.life),
        &config.log,
        claim.claim_fd,
    );
    if let Err(error) = taken {
        tracing::warn!(
            service = config.name,
            "{error}; what it writes is lost until its next life"
        );
    }
}

/// Its socket is at the same place as before, if that can be made again.
pub(crate) async fn listen_again(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
) {
    let owner = crate::act::lifecycle::prepare::output_owner(context).await;
    let heard = owner
        .and_then(|owner| crate::act::lifecycle::prepare::listen(shared, context, instance, owner));
    if let Err(failure) = heard {
        tracing::warn!(service = context.config.name, "{}", failure.message);
    }
}
