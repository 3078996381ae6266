//! Starts the prepared instance and reports its start and its end.

use super::claim::set_main_process;
use super::environment;
use super::prepare::EXEC_TIMEOUT;
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::output::InstanceOutput;
use crate::act::preflight::{ExplainStartFailure, ProgramLookup};
use crate::act::process_exit::exit_of;
use crate::act::spawn::launch::{Environment, Launch, temporary};
use crate::act::spawn::spawner::RunningChild;
use crate::act::tree::{INSTANCE_PID, Tree};
use crate::config::Target;
use crate::decide::event::{Exit, Life, ServiceEvent, SpawnFailure};
use crate::decide::policy::Watchdog;
use crate::sys::listen_fds;
use crate::sys::process::{self, Process};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The most time to find out why a program does not start, because its disk may hang.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the prepared instance, and reports the end of its main process when that comes.
pub(crate) async fn spawn(shared: Rc<SharedContext>, service: Rc<ServiceContext>, life: Life) {
    let Some(instance) = service.instance(life) else {
        return;
    };
    service.program_watch.instance_starts(shared.stamp_now());
    let started = match launch(&shared, &service, &instance).await {
        Ok(launch) => start(&shared, launch).await,
        Err(failure) => Err(failure),
    };
    let running = match started {
        Ok(running) => running,
        Err(failure) => {
            let event = ServiceEvent::NotSpawned(life, failure);
            return shared.send(service.id, event).await;
        }
    };
    let main = running.process;
    reached(Failpoint::Forked);
    instance.main.set_spawned(Arc::clone(&running.handle));
    instance.tree.set(tree_of(&service, &instance, main));
    set_main_process(&shared, &service, life, main);
    reached(Failpoint::MainProcessRecorded);
    // The FIFO gets its second name.
    let _found = shared.output.restore_fifo_names(service.name(), life);
    let event = ServiceEvent::Spawned(life, main);
    shared.send(service.id, event).await;
    let exit = running.exit.await.map_or(Exit::Unknown, exit_of);
    main_ended(&shared, &service, &instance, exit).await;
}

/// Reports that the main process is reaped, and what is left of its tree.
pub(crate) async fn main_ended(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    exit: Exit,
) {
    instance.main.forget();
    reached(Failpoint::Reaped);
    let survivors = super::survivors::of(service, instance, exit).await;
    let event = ServiceEvent::Exited(instance.life, exit, survivors);
    shared.send(service.id, event).await;
    instance.main.set_ended();
}

/// Starts the program. execve(2) returns one errno for many causes, so if the error is lasting, a helper searches for the
/// cause.
async fn start(shared: &SharedContext, launch: Launch) -> Result<RunningChild, SpawnFailure> {
    let lookup = ProgramLookup::from(&launch);
    let started = shared.spawner.start(launch, EXEC_TIMEOUT).await;
    let failure = match started {
        Err(failure) if failure.lasting => failure,
        started => return started,
    };
    let name = lookup.program.clone();
    let mut helper = shared.helpers.helper();
    let request = ExplainStartFailure(lookup);
    let cause = helper.ask(request, EXPLAIN_TIMEOUT).await;
    Err(match cause {
        Ok(Some(cause)) => SpawnFailure {
            message: format!("cannot start {name}: {cause}"),
            ..failure
        },
        Ok(None) | Err(_) => failure,
    })
}

async fn launch(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
) -> Result<Launch, SpawnFailure> {
    let output = instance
        .preparation
        .take_output()
        .ok_or_else(|| temporary("cannot start it: its output is not open; trying again".into()))?;
    let InstanceOutput {
        stdout,
        stderr,
        claim,
        ..
    } = output;
    let held = service
        .sockets
        .copies()
        .map_err(|error| temporary(format!("cannot give it its sockets: {error}; trying again")))?;
    let own = own_environment(service, instance);
    let mut exec_context = environment::of_the_instance(shared, service, instance, own).await?;
    exec_context.pid_variables = pid_variables(service);
    let mut fds = vec![
        (1, stdout),
        (2, stderr),
        (service.sockets.claim_fd(), claim),
    ];
    fds.extend((listen_fds::FIRST_INHERITED..).zip(held));
    Ok(Launch {
        argv: service
            .config
            .command_in(service.runtimes.root().as_deref()),
        exec_context,
        fds,
        cgroup: instance.cgroup.take_directory(),
        command_token: None,
    })
}

/// The variables that prove ownership of the instance, and those by which it can send messages to stayd.
fn own_environment(service: &ServiceContext, instance: &Instance) -> Environment {
    let mut own = service.sockets.environment();
    if let Some(root) = service.runtimes.root() {
        own.insert("STAYD_PACKAGE_ROOT".into(), root.into());
    }
    own.insert("STAYD_LIFE".into(), instance.life.0.to_string().into());
    own.insert("STAYD_TOKEN".into(), instance.token.as_str().into());
    let claim_fd = service.sockets.claim_fd();
    own.insert("STAYD_CLAIM_FD".into(), claim_fd.to_string().into());
    if let Some(path) = instance.messages.path() {
        own.insert("NOTIFY_SOCKET".into(), path.into());
    }
    if let Some(rules) = own_watchdog(service) {
        let period = rules.period().as_micros();
        own.insert("WATCHDOG_USEC".into(), period.to_string().into());
    }
    own
}

/// The variables of [`own_environment`] whose value is the pid of the instance's first process.
fn pid_variables(service: &ServiceContext) -> Vec<&'static str> {
    let has_sockets = service.sockets.are_declared();
    let all = [
        (true, INSTANCE_PID),
        (has_sockets, "LISTEN_PID"),
        (own_watchdog(service).is_some(), "WATCHDOG_PID"),
    ];
    let given = all.into_iter().filter(|(is_given, _)| *is_given);
    given.map(|(_, name)| name).collect()
}

/// The rules of the watchdog, if the service itself reports to it (`notify` probe).
fn own_watchdog(service: &ServiceContext) -> Option<Watchdog> {
    let probe = service.config.probe.as_ref()?;
    let notifies = matches!(probe.target, Target::Notify);
    service.config.policy.watchdog.filter(|_| notifies)
}

fn tree_of(service: &ServiceContext, instance: &Instance, main: Process) -> Tree {
    let uid = process::uid(main.pid).unwrap_or_else(|_| crate::sys::identity::euid());
    let mut tree = Tree::new(main, uid);
    instance.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = instance.tree.claim_file();
    tree.cgroup = instance.cgroup.path();
    tree.group_only = service.config.kill_group_only;
    tree
}
