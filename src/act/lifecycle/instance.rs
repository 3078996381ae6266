//! One life's process: its start, its end, its tree.

use super::environment;
use super::prepare::{EXEC_DEADLINE, passing};
use super::successor::exit_of;
use crate::act::claims::ClaimError;
use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::helper::{Ask, Helper, Reply};
use crate::act::output::InstanceOutput;
use crate::act::preflight::Look;
use crate::act::sockets;
use crate::act::spawn::launch::Launch;
use crate::act::spawn::spawner::{Environment, Running};
use crate::act::tree::{LIFE_PID, Member, Tree};
use crate::config::{Signal, Target};
use crate::decide::event::{Exit, Life, ServiceEvent, SpawnFailure};
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
pub(crate) async fn spawn(shared: Rc<SharedContext>, context: Rc<ServiceContext>, life: Life) {
    let Some(instance) = context.instance(life) else {
        return;
    };
    context.change.life_begins((shared.stamp)((shared.now)()));
    let started = match launch(&shared, &context, &instance).await {
        Ok(launch) => start(&shared, launch).await,
        Err(failure) => Err(failure),
    };
    let running = match started {
        Ok(running) => running,
        Err(failure) => {
            return shared
                .tell(context.id, ServiceEvent::NotSpawned(life, failure))
                .await;
        }
    };
    let main = running.process;
    reached(Failpoint::Forked);
    instance.oom_kills.set(process::oom_kill_count());
    instance.main.replace(Some(Arc::clone(&running.handle)));
    instance
        .tree
        .replace(Some(tree_of(&context, &instance, main)));
    name_main(&shared, &context, life, main);
    reached(Failpoint::Named);
    shared
        .tell(context.id, ServiceEvent::Spawned(life, seen(main)))
        .await;
    let exit = running.exit.await.map_or(Exit::Unknown, exit_of);
    main_ended(&shared, &context, &instance, exit).await;
}

/// Starts it; where the kernel's one word for many causes says that this cannot be, the cause is looked for.
async fn start(shared: &SharedContext, launch: Launch) -> Result<Running, SpawnFailure> {
    let look = Look::from(&launch);
    let started = shared.spawner.start(launch, EXEC_DEADLINE).await;
    let failure = match started {
        Err(failure) if failure.lasting => failure,
        started => return started,
    };
    let mut helper = Helper::new(shared.spawner.clone(), shared.program.clone());
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
pub(crate) fn name_main(
    shared: &Rc<SharedContext>,
    context: &ServiceContext,
    life: Life,
    main: Process,
) {
    let at = humantime::format_rfc3339_millis((shared.stamp)((shared.now)())).to_string();
    let named = shared
        .claims
        .borrow_mut()
        .name_main(&context.config.name, life, main, at);
    keep_trying(shared, context, named);
}

/// Says that a claim is in memory only, and sees to it that it does not stay so.
pub(crate) fn keep_trying(
    shared: &Rc<SharedContext>,
    context: &ServiceContext,
    written: Result<(), ClaimError>,
) {
    if let Err(error) = written {
        tracing::warn!(service = context.config.name, "{error}");
        tokio::task::spawn_local(save_claims(Rc::clone(shared)));
    }
}

/// Writes what the disk refused, until it takes it.
async fn save_claims(shared: Rc<SharedContext>) {
    let saved = || shared.claims.borrow_mut().retry();
    while !saved() {
        tokio::time::sleep(CLAIM_RETRY).await;
    }
}

/// Remembers members that have left the tree, in memory and in the claim, while their proof is to be had.
pub(crate) fn remember(shared: &SharedContext, context: &ServiceContext, instance: &Instance) {
    let mut tree = instance.tree.borrow_mut();
    let Some(tree) = tree.as_mut() else { return };
    if tree.remember() {
        let added = shared.claims.borrow_mut().add_members(
            &context.config.name,
            instance.life,
            &tree.members,
        );
        if let Err(error) = added {
            tracing::warn!(service = context.config.name, "{error}");
        }
    }
}

/// The main process is reaped: what is left of its tree?
pub(crate) async fn main_ended(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    exit: Exit,
) {
    instance.main.replace(None);
    reached(Failpoint::Reaped);
    let survivors = super::survivors::of(context, instance, exit).await;
    shared
        .tell(
            context.id,
            ServiceEvent::Exited(instance.life, exit, survivors),
        )
        .await;
    instance.main_gone.send_replace(true);
}

async fn launch(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
) -> Result<Launch, SpawnFailure> {
    let output =
        instance.output.borrow_mut().take().ok_or_else(|| {
            passing("cannot start it: its output is not open; trying again".into())
        })?;
    let InstanceOutput {
        stdout,
        stderr,
        claim,
        ..
    } = output;
    let held = sockets::for_a_life(context)
        .map_err(|error| passing(format!("cannot give it its sockets: {error}; trying again")))?;
    let own = own_environment(context, instance);
    let surroundings = environment::surroundings(shared, context, instance, own).await?;
    let mut fds = vec![
        (1, stdout),
        (2, stderr),
        (sockets::claim_fd(context), claim),
    ];
    fds.extend((listen::FIRST..).zip(held));
    Ok(Launch {
        argv: context
            .config
            .command_in(context.runtimes.root().as_deref()),
        surroundings,
        fds,
        cgroup: instance.birthplace.take(),
        mark: None,
    })
}

/// What proves this life to be ours, and how it may talk to us.
fn own_environment(context: &ServiceContext, instance: &Instance) -> Environment {
    let mut own = sockets::environment(context);
    if let Some(root) = context.runtimes.root() {
        own.insert("STAYD_PACKAGE_ROOT".into(), root.into());
    }
    own.insert("STAYD_LIFE".into(), instance.life.0.to_string().into());
    own.insert("STAYD_TOKEN".into(), instance.token.as_str().into());
    own.insert(LIFE_PID.into(), "@PID".into());
    own.insert(
        "STAYD_CLAIM_FD".into(),
        sockets::claim_fd(context).to_string().into(),
    );
    if let Some(socket) = &*instance.notify.borrow() {
        own.insert("NOTIFY_SOCKET".into(), socket.path().into());
    }
    let told = context
        .config
        .probe
        .as_ref()
        .is_some_and(|probe| matches!(probe.target, Target::Notify));
    if let Some(rules) = context.config.policy.watchdog.filter(|_| told) {
        own.insert(
            "WATCHDOG_USEC".into(),
            rules.period().as_micros().to_string().into(),
        );
        own.insert("WATCHDOG_PID".into(), "@PID".into());
    }
    own
}

fn tree_of(context: &ServiceContext, instance: &Instance, main: Process) -> Tree {
    let uid = process::uid(main.pid).unwrap_or_else(|_| crate::sys::identity::euid());
    let mut tree = Tree::new(main, uid);
    instance.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = instance.claim_file.get();
    tree.cgroup.clone_from(&instance.cgroup.borrow());
    tree.group_only = context.config.kill_group_only;
    tree
}

/// Sends the stop signal, and SIGCONT so that a stopped process can take it.
pub(crate) fn terminate(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    life: Life,
    tree: bool,
) {
    let Some(instance) = context.instance(life) else {
        return;
    };
    if !tree {
        let ending = shared.claims.borrow_mut().end(&context.config.name, life);
        keep_trying(shared, context, ending);
        let _ = signal_main(&instance, context.config.stop_signal);
        let _ = signal_main(&instance, SIGCONT);
        reached(Failpoint::Terminated);
        return;
    }
    instance.ending_tree.set(true);
    if let Some(tree) = instance.tree.borrow().as_ref() {
        tree.terminate(context.config.stop_signal.0);
        tree.terminate(SIGCONT.0);
    }
    reached(Failpoint::Terminated);
    look_for_the_end(shared, context);
}

/// Sends the watchdog's first signal.
pub(crate) fn signal_first(context: &ServiceContext, life: Life) {
    if let (Some(instance), Some(signal)) = (context.instance(life), context.config.first_signal) {
        let _ = signal_main(&instance, signal);
    }
}

/// Sends the reload signal.
pub(crate) fn reload(context: &ServiceContext) -> Result<(), String> {
    let name = &context.config.name;
    let instance = context.life.borrow().as_ref().map(Rc::clone);
    let instance =
        instance.ok_or_else(|| format!("cannot reload {name}: it does not run; start it first"))?;
    signal_main(&instance, context.config.reload_signal)
        .map_err(|error| format!("cannot reload {name}: {error}"))
}

/// A process that has gone meanwhile needs no signal: that is the caller's to ignore.
fn signal_main(instance: &Instance, signal: Signal) -> std::io::Result<()> {
    match instance.main.borrow().as_ref() {
        Some(main) => main.signal(signal.0),
        None => Err(std::io::ErrorKind::NotFound.into()),
    }
}

/// Kills the whole tree and tells how far it came.
pub(crate) async fn kill_tree(shared: Rc<SharedContext>, context: Rc<ServiceContext>, life: Life) {
    let Some(instance) = context.instance(life) else {
        return;
    };
    let Some(tree) = instance.tree.borrow().clone() else {
        return;
    };
    let fact = match shared.spawner.tree_killer().end(tree).await {
        Some(outcome) if outcome.left == 0 => {
            wait_for_main(&instance).await;
            reached(Failpoint::TreeEmpty);
            ServiceEvent::TreeEmptied(life)
        }
        Some(outcome) => ServiceEvent::KillTimedOut {
            life,
            left: outcome.left,
            stuck: outcome.stuck,
        },
        None => ServiceEvent::KillTimedOut {
            life,
            left: 1,
            stuck: 0,
        },
    };
    shared.tell(context.id, fact).await;
}

/// The exit of the main process is told before the end of its tree.
async fn wait_for_main(instance: &Instance) {
    let mut gone = instance.main_gone.subscribe();
    // An error means that the life is retired: then nobody waits for the order of its facts.
    let _ = gone.wait_for(|gone| *gone).await;
}

/// After an orphan was reaped: has a tree that was told to end come to its end?
pub(crate) fn look_for_the_end(shared: &Rc<SharedContext>, context: &Rc<ServiceContext>) {
    let Some(instance) = context.life.borrow().as_ref().map(Rc::clone) else {
        return;
    };
    if !instance.ending_tree.get() || !*instance.main_gone.borrow() {
        return;
    }
    let tree = instance.tree.borrow().clone();
    if tree.is_none_or(|tree| !tree.members().iter().any(Member::is_alive)) {
        instance.ending_tree.set(false);
        // Perhaps somebody is left who can be found in other ways; if so, all others have gone and it has had its time.
        let (shared, context) = (Rc::clone(shared), Rc::clone(context));
        tokio::task::spawn_local(kill_tree(shared, context, instance.life));
    }
}

/// Takes evidence on a thread of its own, runs the extra command, and tells when both are done.
pub(crate) async fn take_evidence(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    life: Life,
    within: Duration,
) {
    reached(Failpoint::BeforeEvidence);
    if let Some(instance) = context.instance(life) {
        let work = crate::act::evidence::collect::testify(&shared, &context, &instance);
        // What is not there by then is not waited for: the kill comes first.
        let _ = tokio::time::timeout(within, work).await;
    }
    reached(Failpoint::AfterEvidence);
    shared
        .tell(context.id, ServiceEvent::EvidenceCollected(life))
        .await;
}

pub(crate) fn seen(process: Process) -> Process {
    Process {
        pid: process.pid,
        start_time: process.start_time,
    }
}
