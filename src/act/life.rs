//! One life's process: its start, its end, its tree.

use super::child::{Environment, Running};
use super::claim::ClaimError;
use super::environment;
use super::heir::exit_of;
use super::helper::{Ask, Helper, Reply};
use super::launch::Launch;
use super::output::LifeOutput;
use super::preflight::Look;
use super::prepare::{EXEC_DEADLINE, passing};
use super::shared::Shared;
use super::sockets;
use super::step::{Step, reached};
use super::tree::{LIFE_PID, Member, Tree};
use super::ward::{Living, Ward};
use crate::config::{Signal, Target};
use crate::decide::event::{Exit, Fact, Life, Proc, SpawnFailure};
use crate::sys::listen;
use crate::sys::process::{self, Process};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to write a claim that the disk refused.
const CLAIM_RETRY: Duration = Duration::from_secs(5);
/// Looking for what keeps a program from starting may hang with its disk.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// Follows a stop signal, so that a stopped process can take it.
const SIGCONT: Signal = Signal(libc::SIGCONT);

/// Starts the prepared life, and tells of its end when that comes.
pub(super) async fn spawn(shared: Rc<Shared>, ward: Rc<Ward>, life: Life) {
    let Some(living) = ward.living(life) else {
        return;
    };
    ward.change.life_begins((shared.stamp)((shared.now)()));
    let started = match launch(&shared, &ward, &living).await {
        Ok(launch) => start(&shared, launch).await,
        Err(failure) => Err(failure),
    };
    let running = match started {
        Ok(running) => running,
        Err(failure) => return shared.tell(ward.id, Fact::NotSpawned(life, failure)).await,
    };
    let main = running.process;
    reached(Step::Forked);
    living.oom_kills.set(process::oom_kill_count());
    living.main.replace(Some(Arc::clone(&running.handle)));
    living.tree.replace(Some(tree_of(&ward, &living, main)));
    name_main(&shared, &ward, life, main);
    reached(Step::Named);
    shared.tell(ward.id, Fact::Spawned(life, seen(main))).await;
    let exit = running.exit.await.map_or(Exit::Unknown, exit_of);
    main_ended(&shared, &ward, &living, exit).await;
}

/// Starts it; where the kernel's one word for many causes says that this cannot be, the cause is looked for.
async fn start(shared: &Shared, launch: Launch) -> Result<Running, SpawnFailure> {
    let look = Look::from(&launch);
    let started = shared.nursery.start(launch, EXEC_DEADLINE).await;
    let failure = match started {
        Err(failure) if failure.lasting => failure,
        started => return started,
    };
    let mut helper = Helper::new(shared.nursery.clone(), shared.program.clone());
    let name = look.program.clone();
    let found = helper.ask(Ask::WhyNot(look), LOOK_DEADLINE).await;
    Err(match found {
        Ok(Reply::Text(Some(cause))) => SpawnFailure {
            message: format!("cannot start {name}: {cause}"),
            ..failure
        },
        // What is seen explains nothing, or nothing is seen.
        Ok(_) | Err(_) => failure,
    })
}

/// Completes the claim. A disk that refuses does not stop the service: the claim is right in memory.
pub(super) fn name_main(shared: &Rc<Shared>, ward: &Ward, life: Life, main: Process) {
    let at = humantime::format_rfc3339_millis((shared.stamp)((shared.now)())).to_string();
    let named = shared
        .claims
        .borrow_mut()
        .name_main(&ward.config.name, life, main, at);
    keep_trying(shared, ward, named);
}

/// Says that a claim is in memory only, and sees to it that it does not stay so.
pub(super) fn keep_trying(shared: &Rc<Shared>, ward: &Ward, written: Result<(), ClaimError>) {
    if let Err(error) = written {
        tracing::warn!(service = ward.config.name, "{error}");
        tokio::task::spawn_local(save_claims(Rc::clone(shared)));
    }
}

/// Writes what the disk refused, until it takes it.
async fn save_claims(shared: Rc<Shared>) {
    let saved = || shared.claims.borrow_mut().retry();
    while !saved() {
        tokio::time::sleep(CLAIM_RETRY).await;
    }
}

/// Remembers members that have left the tree, in memory and in the claim, while their proof is to be had.
pub(super) fn remember(shared: &Shared, ward: &Ward, living: &Living) {
    let mut tree = living.tree.borrow_mut();
    let Some(tree) = tree.as_mut() else { return };
    if tree.remember() {
        let added =
            shared
                .claims
                .borrow_mut()
                .add_members(&ward.config.name, living.life, &tree.members);
        if let Err(error) = added {
            tracing::warn!(service = ward.config.name, "{error}");
        }
    }
}

/// The main process is reaped: what is left of its tree?
pub(super) async fn main_ended(
    shared: &Rc<Shared>,
    ward: &Rc<Ward>,
    living: &Rc<Living>,
    exit: Exit,
) {
    living.main.replace(None);
    reached(Step::Reaped);
    let survivors = super::survivors::of(ward, living, exit).await;
    shared
        .tell(ward.id, Fact::Exited(living.life, exit, survivors))
        .await;
    living.main_gone.send_replace(true);
}

async fn launch(shared: &Shared, ward: &Ward, living: &Living) -> Result<Launch, SpawnFailure> {
    let output =
        living.output.borrow_mut().take().ok_or_else(|| {
            passing("cannot start it: its output is not open; trying again".into())
        })?;
    let LifeOutput {
        stdout,
        stderr,
        claim,
        ..
    } = output;
    let held = sockets::for_a_life(ward)
        .map_err(|error| passing(format!("cannot give it its sockets: {error}; trying again")))?;
    let own = own_environment(ward, living);
    let surroundings = environment::surroundings(shared, ward, living, own).await?;
    let mut fds = vec![(1, stdout), (2, stderr), (sockets::claim_fd(ward), claim)];
    fds.extend((listen::FIRST..).zip(held));
    Ok(Launch {
        argv: ward.config.command_in(ward.runtimes.root().as_deref()),
        surroundings,
        fds,
        cgroup: living.birthplace.take(),
        mark: None,
    })
}

/// What proves this life to be ours, and how it may talk to us.
fn own_environment(ward: &Ward, living: &Living) -> Environment {
    let mut own = sockets::environment(ward);
    if let Some(root) = ward.runtimes.root() {
        own.insert("STAYD_PACKAGE_ROOT".into(), root.into());
    }
    own.insert("STAYD_LIFE".into(), living.life.0.to_string().into());
    own.insert("STAYD_TOKEN".into(), living.token.as_str().into());
    own.insert(LIFE_PID.into(), "@PID".into());
    own.insert(
        "STAYD_CLAIM_FD".into(),
        sockets::claim_fd(ward).to_string().into(),
    );
    if let Some(socket) = &*living.notify.borrow() {
        own.insert("NOTIFY_SOCKET".into(), socket.path().into());
    }
    let told = ward
        .config
        .probe
        .as_ref()
        .is_some_and(|probe| matches!(probe.target, Target::Notify));
    if let Some(rules) = ward.config.policy.watchdog.filter(|_| told) {
        own.insert(
            "WATCHDOG_USEC".into(),
            rules.period().as_micros().to_string().into(),
        );
        own.insert("WATCHDOG_PID".into(), "@PID".into());
    }
    own
}

fn tree_of(ward: &Ward, living: &Living, main: Process) -> Tree {
    let uid = process::uid(main.pid).unwrap_or_else(|_| crate::sys::identity::euid());
    let mut tree = Tree::new(main, uid);
    living.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = living.claim_file.get();
    tree.cgroup.clone_from(&living.cgroup.borrow());
    tree.group_only = ward.config.kill_group_only;
    tree
}

/// Sends the stop signal, and SIGCONT so that a stopped process can take it.
pub(super) fn terminate(shared: &Rc<Shared>, ward: &Rc<Ward>, life: Life, tree: bool) {
    let Some(living) = ward.living(life) else {
        return;
    };
    if !tree {
        let ending = shared.claims.borrow_mut().end(&ward.config.name, life);
        keep_trying(shared, ward, ending);
        let _ = signal_main(&living, ward.config.stop_signal);
        let _ = signal_main(&living, SIGCONT);
        reached(Step::Terminated);
        return;
    }
    living.ending_tree.set(true);
    if let Some(tree) = living.tree.borrow().as_ref() {
        tree.terminate(ward.config.stop_signal.0);
        tree.terminate(SIGCONT.0);
    }
    reached(Step::Terminated);
    look_for_the_end(shared, ward);
}

/// Sends the watchdog's first signal.
pub(super) fn signal_first(ward: &Ward, life: Life) {
    if let (Some(living), Some(signal)) = (ward.living(life), ward.config.first_signal) {
        let _ = signal_main(&living, signal);
    }
}

/// Sends the reload signal.
pub(super) fn reload(ward: &Ward) -> Result<(), String> {
    let name = &ward.config.name;
    let living = ward.life.borrow().as_ref().map(Rc::clone);
    let living =
        living.ok_or_else(|| format!("cannot reload {name}: it does not run; start it first"))?;
    signal_main(&living, ward.config.reload_signal)
        .map_err(|error| format!("cannot reload {name}: {error}"))
}

/// A process that has gone meanwhile needs no signal: that is the caller's to ignore.
fn signal_main(living: &Living, signal: Signal) -> std::io::Result<()> {
    match living.main.borrow().as_ref() {
        Some(main) => main.signal(signal.0),
        None => Err(std::io::ErrorKind::NotFound.into()),
    }
}

/// Kills the whole tree and tells how far it came.
pub(super) async fn kill_tree(shared: Rc<Shared>, ward: Rc<Ward>, life: Life) {
    let Some(living) = ward.living(life) else {
        return;
    };
    let Some(tree) = living.tree.borrow().clone() else {
        return;
    };
    let fact = match shared.nursery.undertaker().end(tree).await {
        Some(outcome) if outcome.left == 0 => {
            wait_for_main(&living).await;
            reached(Step::TreeEmpty);
            Fact::Emptied(life)
        }
        Some(outcome) => Fact::NotEmptied {
            life,
            left: outcome.left,
            stuck: outcome.stuck,
        },
        None => Fact::NotEmptied {
            life,
            left: 1,
            stuck: 0,
        },
    };
    shared.tell(ward.id, fact).await;
}

/// The exit of the main process is told before the end of its tree.
async fn wait_for_main(living: &Living) {
    let mut gone = living.main_gone.subscribe();
    // An error means that the life is retired: then nobody waits for the order of its facts.
    let _ = gone.wait_for(|gone| *gone).await;
}

/// After an orphan was reaped: has a tree that was told to end come to its end?
pub(super) fn look_for_the_end(shared: &Rc<Shared>, ward: &Rc<Ward>) {
    let Some(living) = ward.life.borrow().as_ref().map(Rc::clone) else {
        return;
    };
    if !living.ending_tree.get() || !*living.main_gone.borrow() {
        return;
    }
    let tree = living.tree.borrow().clone();
    if tree.is_none_or(|tree| !tree.members().iter().any(Member::is_alive)) {
        living.ending_tree.set(false);
        // Perhaps somebody is left who can be found in other ways; if so, all others have gone and it has had its time.
        let (shared, ward) = (Rc::clone(shared), Rc::clone(ward));
        tokio::task::spawn_local(kill_tree(shared, ward, living.life));
    }
}

/// Takes evidence on a thread of its own, runs the extra command, and tells when both are done.
pub(super) async fn take_evidence(
    shared: Rc<Shared>,
    ward: Rc<Ward>,
    life: Life,
    within: Duration,
) {
    reached(Step::BeforeEvidence);
    if let Some(living) = ward.living(life) {
        let work = super::testimony::testify(&shared, &ward, &living);
        // What is not there by then is not waited for: the kill comes first.
        let _ = tokio::time::timeout(within, work).await;
    }
    reached(Step::AfterEvidence);
    shared.tell(ward.id, Fact::EvidenceTaken(life)).await;
}

pub(super) fn seen(process: Process) -> Proc {
    Proc {
        pid: process.pid,
        birth: process.birth,
    }
}
