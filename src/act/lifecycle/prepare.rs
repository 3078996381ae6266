//! Prepares an instance: checks the port, writes the claim, opens output and sockets, runs `before`.

use super::claim::write_intent;
use super::environment::{self, READ_TIMEOUT};
use super::service_messages;
use super::service_user::look_up_user;
use crate::act::claims::Token;
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::listeners;
use crate::act::off_loop::off_loop;
use crate::act::process_info::{ProcessInfo, ProcessInspector};
use crate::act::spawn::launch::{Environment, Launch, temporary};
use crate::act::spawn::short_command::ShortCommand;
use crate::config::PortAddresses;
use crate::decide::clock::in_words;
use crate::decide::event::{Life, PortHolder, ServiceEvent, SpawnFailure};
use crate::sys::process::{self, InheritedFile};
use crate::sys::reaper::Status;
use crate::sys::socket::{self, Listener};
use crate::sys::spawn::User;
use std::rc::Rc;
use std::time::Duration;

/// The most time for the start of a program. A longer start means that its disk may be gone.
pub(crate) const EXEC_TIMEOUT: Duration = Duration::from_secs(10);
/// The most time to search all processes for the one that holds the port.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The most time to describe the process that holds the port.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest number of processes that are counted on one port: every worker of a server may have it open.
const HOLDERS_MAX: usize = 64;
/// Ends the sentence about a `before` that failed.
const BEFORE_OUTPUT_HINT: &str = "its output is in the service's log";

/// Prepares the instance `life` and reports the outcome.
pub(crate) async fn prepare(shared: Rc<SharedContext>, service: Rc<ServiceContext>, life: Life) {
    let event = match try_prepare(&shared, &service, life).await {
        Ok(instance) if instance.preparation.is_cancelled() => {
            ServiceEvent::NotPrepared(life, SpawnFailure::cancelled())
        }
        Ok(_) => ServiceEvent::Prepared(life),
        Err(PrepareError::Port(holder)) => ServiceEvent::PortHeld(life, holder),
        Err(PrepareError::Other(failure)) => ServiceEvent::NotPrepared(life, failure),
        Err(PrepareError::Before(failure)) => ServiceEvent::BeforeFailed(life, failure),
    };
    if matches!(
        event,
        ServiceEvent::NotPrepared(..) | ServiceEvent::BeforeFailed(..)
    ) {
        super::retire::retire(&shared, &service, life);
    }
    shared.send(service.id, event).await;
}

/// Cancels the preparation of `life`, so that all its waits return.
pub(crate) fn cancel(service: &ServiceContext, life: Life) {
    if let Some(instance) = service.instance(life) {
        instance.preparation.cancel();
    }
    service.runtimes.cancel();
}

enum PrepareError {
    /// Another process holds the port.
    Port(PortHolder),
    /// `before` did not succeed.
    Before(SpawnFailure),
    Other(SpawnFailure),
}

impl From<SpawnFailure> for PrepareError {
    fn from(failure: SpawnFailure) -> Self {
        Self::Other(failure)
    }
}

async fn try_prepare(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    life: Life,
) -> Result<Rc<Instance>, PrepareError> {
    let config = &service.config;
    let token = Token::fresh().map_err(|error| {
        temporary(format!(
            "cannot make a token for {}: {error}; trying again",
            config.name
        ))
    })?;
    shared.journal.record_life(&config.name, life.0);
    let instance = service.begin(Instance::new(life, token));
    if let Some(holder) = held_port(shared, service).await {
        return Err(PrepareError::Port(holder));
    }
    let user = look_up_user(service).await?;
    let owner = user.as_ref().map(User::ids);
    // Read this before the claim is written: if it hangs, nothing has begun yet.
    environment::variables(service, &instance, READ_TIMEOUT).await?;
    service.sockets.open(&shared.helpers, user.as_ref()).await?;
    let opened = shared.output.open(&config.name, life, &config.log, owner);
    let output = opened.map_err(|error| temporary(format!("{error}; trying again")))?;
    write_intent(shared, service, &instance, &output);
    let file = output.claim_file;
    instance.tree.set_claim_file(Some(InheritedFile {
        dev: file.dev,
        ino: file.inode,
        number: service.sockets.claim_fd(),
    }));
    instance.preparation.set_output(output);
    if !config.kill_group_only {
        let cgroups = &shared.cgroups;
        cgroups.make(&config.name, life, &instance.cgroup).await;
    }
    if config.offers_notify_socket() {
        service_messages::offer_socket(shared, service, &instance, owner)?;
    }
    if let Some(argv) = &config.before {
        run_before(shared, service, &instance, argv).await?;
    }
    Ok(instance)
}

/// The process that listens on the service's port and is in its way, if one does; if several share it, the oldest.
async fn held_port(shared: &SharedContext, service: &ServiceContext) -> Option<PortHolder> {
    let port = service.config.port?;
    let mut listeners = listeners::on_port(port).await.ok()?;
    listeners.retain(|listener| !service.sockets.holds(listener));
    let addresses = PortAddresses::of(&service.config);
    let in_the_way = addresses.in_the_way(&listeners, service.config.policy.stranger);
    let Some(listener) = in_the_way.first() else {
        for Listener { addr, .. } in listeners {
            tracing::warn!(
                service = service.name(),
                "another process listens on {addr}; the service can start beside it unless it listens there, or at all \
                 addresses (`stayd explain :{port}` shows more)"
            );
        }
        return None;
    };
    let listener = *listener;
    let searching = move || socket::find_holders(&listener, HOLDERS_MAX);
    let holders = match off_loop("port", SEARCH_TIMEOUT, searching).await {
        Ok(found) => found.unwrap_or_default(),
        Err(error) => {
            let description = format!(
                "port {port} is held by a process of user {} that stayd cannot find: {error}",
                listener.uid
            );
            return Some(PortHolder {
                port,
                main: None,
                description,
            });
        }
    };
    let Some(info) = info_on_oldest(shared, &holders).await else {
        let description = format!(
            "port {port} is held by a process of user {} that is hidden from stayd",
            listener.uid
        );
        return Some(PortHolder {
            port,
            main: None,
            description,
        });
    };
    let others = match holders.len() - 1 {
        0 => String::new(),
        count => format!(" and {count} more that share it"),
    };
    let description = format!("port {port} is held by {}{others}", info.in_words());
    let main = Some(info.stat.process);
    Some(PortHolder {
        port,
        main,
        description,
    })
}

/// Describes the oldest of `holders`; none when all have ended.
async fn info_on_oldest(shared: &SharedContext, holders: &[i32]) -> Option<ProcessInfo> {
    let stats = holders.iter().filter_map(|&pid| process::stat(pid).ok());
    let processes = stats.map(|stat| stat.process);
    let oldest = processes.min_by_key(|process| (process.start_time, process.pid))?;
    let mut inspector = ProcessInspector::new(&shared.helpers, DESCRIBE_TIMEOUT);
    inspector.describe(oldest.pid).await
}

async fn run_before(
    shared: &Rc<SharedContext>,
    service: &ServiceContext,
    instance: &Instance,
    argv: &[String],
) -> Result<(), PrepareError> {
    let name = argv.first().cloned().unwrap_or_default();
    let own = Environment::new();
    let exec_context = environment::of_the_instance(shared, service, instance, own).await?;
    let output = instance.preparation.copy_output();
    let (stdout, stderr) = output
        .ok_or_else(|| temporary("cannot run `before`: no output".into()))?
        .map_err(|error| temporary(format!("cannot run `before`: {error}; trying again")))?;
    let launch = Launch {
        argv: service.expand_runtime(argv),
        exec_context,
        fds: vec![(1, stdout), (2, stderr)],
        cgroup: None,
        command_token: None,
    };
    let started = ShortCommand::start(&shared.spawner, launch, EXEC_TIMEOUT).await;
    let mut before = started.map_err(|failure| match failure.lasting {
        true => PrepareError::Before(failure),
        false => PrepareError::Other(failure),
    })?;
    let budget = service.config.policy.startup;
    let ended = tokio::select! {
        status = before.exit() => Ok(status),
        () = instance.preparation.cancelled() => Err(SpawnFailure::cancelled()),
        () = tokio::time::sleep(budget) => Err(temporary(format!(
            "`before` ({name}) did not end within {} (startup) and was killed; {BEFORE_OUTPUT_HINT}",
            in_words(budget)
        ))),
    };
    // Kill the processes that `before` has left, because they belong to no instance.
    before.end().await;
    match ended.map_err(PrepareError::Before)? {
        Some(Status::Code(0)) => Ok(()),
        Some(Status::Code(code)) => Err(PrepareError::Before(temporary(format!(
            "`before` ({name}) exited with status {code}; {BEFORE_OUTPUT_HINT}"
        )))),
        Some(Status::Signal(signal)) => Err(PrepareError::Before(temporary(format!(
            "`before` ({name}) was ended by signal {signal}"
        )))),
        None => Err(temporary(format!("the exit status of `before` ({name}) was lost")).into()),
    }
}
