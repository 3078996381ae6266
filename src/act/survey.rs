//! What an earlier stayd has left of a service: found by its claim, proven, and taken in hand.
//!
//! A claim is our own word, and so it is not enough: the main process has to show a mark of its life as well (its claim
//! file, its token, its cgroup). Members that had left the tree when they were seen are believed by number and birth,
//! because their marks are often gone.

use super::claim::{Claim, ClaimFile, Reading};
use super::performer::Shared;
use super::step::{Step, reached};
use super::tree::{LIFE_PID, LIFE_TOKEN, Member, Tree};
use super::ward::{Living, Ward};
use crate::decide::event::{Exit, Fact, Leftover, Life, Proc, Survey};
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
/// No process: nobody's number, nobody's birth.
const NOBODY: Process = Process { pid: 0, birth: 0 };

/// Looks, takes in hand what is proven, and says what was found.
pub(super) async fn survey(shared: Rc<Shared>, ward: Rc<Ward>) {
    let found = match claim_on_disk(&shared, &ward) {
        None => Survey::Nothing(Life(0)),
        Some(claim) if !is_present(&shared, &claim) => Survey::Nothing(Life(claim.life)),
        Some(claim) => match look(&shared, &ward, &claim).await {
            Ok(sighted) => judge(&shared, &ward, *claim, sighted).await,
            Err(message) => Survey::Unclear(message),
        },
    };
    let taken = match &found {
        Survey::Ours(leftover) => ward.living(leftover.life),
        Survey::Nothing(_) | Survey::Unclear(_) => None,
    };
    shared.tell(ward.id, Fact::Surveyed(found)).await;
    // only now: the end of a life is no news before the life is
    if let Some(living) = taken {
        attend(shared, ward, living).await;
    }
}

/// Waits for the end of the main process, which is not our child.
async fn attend(shared: Rc<Shared>, ward: Rc<Ward>, living: Rc<Living>) {
    let main = living.main.borrow().as_ref().map(Arc::clone);
    if let Some(main) = main {
        super::heir::watch(shared, ward, living, main).await;
    } else if living.heir.get().is_some() {
        // It ended since it was seen.
        super::heir::begin_end(&shared, &ward, &living, Exit::Unknown);
    }
}

fn claim_on_disk(shared: &Shared, ward: &Ward) -> Option<Box<Claim>> {
    let name = &ward.config.name;
    match shared.claims.borrow().read(name) {
        Reading::Absent => None,
        Reading::Valid(claim) => Some(claim),
        Reading::Unverifiable(why) => {
            tracing::warn!(
                service = name,
                "an earlier stayd's claim is not believed: {why}; whatever it named is left alone"
            );
            None
        }
    }
}

/// Another boot's processes are gone, and another namespace's numbers mean nothing here.
fn is_present(shared: &Shared, claim: &Claim) -> bool {
    (&claim.boot_id, claim.pid_ns) == (&shared.boot.0, shared.boot.1)
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

async fn look(shared: &Shared, ward: &Ward, claim: &Claim) -> Result<Sighted, String> {
    let tree = suspected(shared, ward, claim);
    let main = claim.main();
    let (answer, seen) = oneshot::channel();
    let looking = std::thread::Builder::new()
        .name("survey".into())
        .stack_size(LOOK_STACK_BYTES)
        .spawn(move || {
            let mut members = tree.members_by_every_proof();
            members.retain(Member::is_alive);
            let is_first = |member: &&Member| is_first_of_a_life(member, &tree.token);
            let first = members.iter().find(is_first).map(|member| member.process);
            let sighted = Sighted {
                members,
                main_lives: main.is_some_and(lives),
                first,
                tree,
            };
            // Nobody waits any more after the deadline.
            let _ = answer.send(sighted);
        });
    looking.map_err(|error| {
        format!("cannot look for what an earlier stayd has left: {error}; trying again")
    })?;
    match tokio::time::timeout(LOOK_DEADLINE, seen).await {
        Ok(Ok(sighted)) => Ok(sighted),
        Ok(Err(_)) | Err(_) => Err(format!(
            "cannot see whether life {} of an earlier stayd still runs: a process did not show its environment within \
             {} s; a second copy is not started, trying again",
            claim.life,
            LOOK_DEADLINE.as_secs()
        )),
    }
}

fn lives(process: Process) -> bool {
    process::stat(process.pid).is_ok_and(|stat| stat.process == process && stat.is_alive())
}

/// The tree with nothing believed but marks: not the main process, and not its session's number.
fn suspected(shared: &Shared, ward: &Ward, claim: &Claim) -> Tree {
    let born = claim.first.map_or(0, |first| first.birth);
    let mut tree = Tree::of_an_earlier_stayd(NOBODY, 0, born);
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    claim.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = Some((claim.claim_fd.dev, claim.claim_fd.inode));
    tree.cgroup = cgroup_of(shared, ward, Life(claim.life));
    tree.members = claim.members.iter().copied().map(Into::into).collect();
    tree.group_only = false;
    tree
}

fn cgroup_of(shared: &Shared, ward: &Ward, life: Life) -> Option<std::path::PathBuf> {
    let cgroups = shared.cgroups.borrow();
    cgroups.as_ref()?.of(&ward.config.name, life)
}

async fn judge(shared: &Rc<Shared>, ward: &Rc<Ward>, claim: Claim, seen: Sighted) -> Survey {
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
        return Survey::Unclear(unproven(&claim));
    }
    if members.is_empty() {
        return Survey::Nothing(Life(claim.life));
    }
    let left = Leftover {
        life: Life(claim.life),
        main: main.map(|main| Proc {
            pid: main.pid,
            birth: main.birth,
        }),
        same_command: claim
            .command_key
            .as_ref()
            .is_none_or(|key| *key == ward.config.command_key()),
    };
    let tree = believed(ward, &claim, tree, main, &members);
    reached(Step::Proven);
    take_in_hand(shared, ward, claim, tree, main).await;
    reached(Step::TakenInHand);
    Survey::Ours(left)
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

/// The tree as it is supervised from now on.
fn believed(
    ward: &Ward,
    claim: &Claim,
    mut tree: Tree,
    main: Option<Process>,
    members: &[Member],
) -> Tree {
    let first = claim.first.map(Process::from).or(main);
    tree.main = main.or(claim.main()).unwrap_or(NOBODY);
    tree.session = first.map_or(0, |first| first.pid);
    tree.born = first.map_or(0, |first| first.birth);
    let outside = members
        .iter()
        .filter(|member| member.stat.sid != tree.session && member.process != tree.main);
    tree.members = outside.map(|member| member.process).collect();
    tree.group_only = ward.config.kill_group_only;
    tree
}

/// From here on it is a life like any other, but for its parent.
async fn take_in_hand(
    shared: &Rc<Shared>,
    ward: &Rc<Ward>,
    claim: Claim,
    tree: Tree,
    main: Option<Process>,
) {
    let life = Life(claim.life);
    let living = Rc::new(Living::new(life, claim.token.clone()));
    let ClaimFile { dev, inode, .. } = claim.claim_fd;
    living.claim_file.set(Some((dev, inode)));
    living.cgroup.replace(tree.cgroup.clone());
    living.tree.replace(Some(tree));
    ward.life.replace(Some(Rc::clone(&living)));
    go_on_with_output(shared, ward, &claim);
    shared.claims.borrow_mut().adopt(&ward.config.name, claim);
    if ward.config.offers_notify_socket() {
        listen_again(shared, ward, &living).await;
    }
    living.main_gone.send_replace(main.is_none());
    living.heir.set(main);
    let handle = main.and_then(|main| Handle::open(main).ok());
    living.main.replace(handle.map(Arc::new));
}

fn go_on_with_output(shared: &Shared, ward: &Ward, claim: &Claim) {
    let config = &ward.config;
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
async fn listen_again(shared: &Rc<Shared>, ward: &Rc<Ward>, living: &Rc<Living>) {
    let owner = super::prepare::output_owner(ward).await;
    let heard = owner.and_then(|owner| super::prepare::listen(shared, ward, living, owner));
    if let Err(failure) = heard {
        tracing::warn!(service = ward.config.name, "{}", failure.message);
    }
}
