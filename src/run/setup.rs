//! Builds the daemon from a configuration: state folder and lock, journal, executor, control socket. Then runs it.

use super::clock::Clock;
use super::daemon::{Daemon, InheritedLoopState, LoopEnd};
use super::parts::Parts;
use super::signals::Signals;
use super::stall::StallDetector;
use super::state_lock::{StartError, StateLock, system_error};
use super::status::StatusSource;
use super::upgrade::{self, InheritedState};
use super::{ExitReason, LoopOutcome, Options, log_send_error};
use crate::act::SharedContext;
use crate::act::claims::Claims;
use crate::act::dirs::state_dir::StateDir;
use crate::act::executor::Executor;
use crate::act::failpoint::{Failpoint, reached};
use crate::act::foreign::orphans::UnattributedOrphans;
use crate::act::foreign::reported::ReportedProcesses;
use crate::act::helper::Helpers;
use crate::act::journal::Journal;
use crate::act::notify::parent::{ParentSupervisor, StartContext};
use crate::act::notify::supervisor::SupervisorNotifications;
use crate::act::output::{Output, OutputNotice, StdoutReader};
use crate::act::runtime::status_board::StatusBoard;
use crate::act::sockets::ReceivedSockets;
use crate::act::spawn::environment::InheritableEnvironment;
use crate::act::spawn::spawner::Spawner;
use crate::act::tree::cgroups::Cgroups;
use crate::act::tree::killer::TreeKiller;
use crate::api::wire::Upgrade;
use crate::config::Config;
use crate::sys::reaper::{self, Reaped};
use crate::sys::{identity, limits, memory, reserve};
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Outcomes of actions that may wait for the loop.
const INBOX_MAX: usize = 1024;
/// The time between two attempts to lock the state folder.
const RETRY: Duration = Duration::from_secs(1);
/// The time between two attempts to lock the folder of a stayd that has ended. After a SIGKILL its lock was seen held for up to
/// 20 ms. A child that it was about to start can share it, until its execve(2).
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// The most such attempts.
const LOOKS_MAX: u32 = 200;
/// Work that happens only at the start has ended by then.
const STARTED_AFTER: Duration = Duration::from_secs(3);

/// The process around the loop: how it was started, its signals and notifications.
struct ProcessContext {
    start_context: StartContext,
    supervisor: ParentSupervisor,
    signals: Signals,
    notifications: SupervisorNotifications,
    stall: Arc<StallDetector>,
}

/// The tree killer, and the queue of the processes that it reaps.
pub(super) struct KillerQueue {
    pub(super) tree_killer: TreeKiller,
    pub(super) reaped: mpsc::Receiver<Reaped>,
}

/// Builds the daemon and runs its loop.
pub(super) async fn run(
    config: Config,
    options: &Options,
    killer: KillerQueue,
    stall: Arc<StallDetector>,
    mut inherited: Option<InheritedState>,
) -> LoopOutcome {
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!("cannot install signal handlers: {error}");
            return LoopOutcome::Exit(ExitReason::SystemError);
        }
    };
    if inherited.is_some() {
        reached(Failpoint::NewVersionStarted);
    }
    let given = inherited.as_ref().and_then(|state| state.open_files);
    if let Err(error) = limits::raise_open_files(given) {
        tracing::warn!(
            "cannot raise stayd's own limit of open files: {error}; stayd continues with the one it was given"
        );
    }
    if let Err(error) = reserve::fill() {
        tracing::warn!(
            "cannot reserve file descriptors for kills: {error}; without a free one stayd can neither judge nor kill"
        );
    }
    let start_context = StartContext::gather(std::env::vars_os());
    let supervisor = start_context.supervisor();
    let mut notifications = SupervisorNotifications::new(&start_context);
    let locks = inherited.as_mut().and_then(|state| state.locks.take());
    let lock = match locks.map(|locks| StateLock::resume(options, locks)) {
        Some(Ok(lock)) => Ok(lock),
        Some(Err(_)) | None => {
            wait_for_lock(options, supervisor, &signals, &mut notifications).await
        }
    };
    let lock = match lock {
        Ok(lock) => lock,
        Err(reason) => return LoopOutcome::Exit(reason),
    };
    let process = ProcessContext {
        start_context,
        supervisor,
        signals,
        notifications,
        stall,
    };
    match assemble(config, options, process, killer, lock, inherited).await {
        Ok(daemon) => run_loop(daemon).await,
        Err(error) => {
            tracing::error!("{}", error.message);
            LoopOutcome::Exit(error.reason)
        }
    }
}

async fn run_loop(mut daemon: Daemon) -> LoopOutcome {
    tokio::task::spawn_local(release_start_memory());
    match daemon.run().await {
        LoopEnd::Exit(reason) => LoopOutcome::Exit(reason),
        LoopEnd::ReadyToUpgrade => {
            let upgrade = daemon.prepare_upgrade().await;
            upgrade.map_or(LoopOutcome::Exit(ExitReason::Bug), |upgrade| {
                LoopOutcome::Upgrade(Box::new(upgrade))
            })
        }
    }
}

/// Returns the pages that only the start needed. If the program is on a disk that may be pulled, it keeps all pages: the
/// code that handles a wedge must be in memory then.
async fn release_start_memory() {
    if memory::is_program_on_root_disk() {
        tokio::time::sleep(STARTED_AFTER).await;
        memory::release_startup_memory();
    }
}

/// Takes the lock of the state folder. Under an OS supervisor it tries until it succeeds or a
/// signal requests a shutdown.
async fn wait_for_lock(
    options: &Options,
    supervisor: ParentSupervisor,
    signals: &Signals,
    notifications: &mut SupervisorNotifications,
) -> Result<StateLock, ExitReason> {
    let mut reported = String::new();
    let mut looks = 0;
    loop {
        let error = match StateLock::take(options) {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        if error.holder_has_ended && looks < LOOKS_MAX {
            looks += 1;
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            continue;
        }
        if !supervisor.starts_again() {
            tracing::error!("{}", error.message);
            return Err(error.reason);
        }
        if reported != error.message {
            tracing::error!("{}; stayd waits", error.message);
            log_send_error(notifications.ready(&format!("waiting: {}", error.message)));
            reported = error.message;
        }
        let pause = notifications
            .ping_every()
            .map_or(RETRY, |every| every.min(RETRY));
        tokio::select! {
            received = signals.receive() => {
                if received.is_ok_and(|received| received.stop) {
                    return Err(ExitReason::Stopped);
                }
            }
            () = tokio::time::sleep(pause) => log_send_error(notifications.watchdog()),
        }
    }
}

async fn assemble(
    config: Config,
    options: &Options,
    process: ProcessContext,
    killer: KillerQueue,
    lock: StateLock,
    mut inherited: Option<InheritedState>,
) -> Result<Daemon, StartError> {
    let boot_id = identity::boot_id().map_err(|error| system_error("read the boot id", &error))?;
    reaper::check().map_err(|error| system_error("wait for child processes", &error))?;
    become_subreaper();
    let program =
        identity::own_program().map_err(|error| system_error("find its own program", &error))?;
    let clock = inherited
        .as_ref()
        .map_or_else(Clock::start, |state| Clock::resume(state.clock_began));
    let clock_handle = clock.handle();
    let (journal, past) = Journal::open(lock.state(), &boot_id);
    let (inbox, events) = mpsc::channel(INBOX_MAX);
    let unit_delegates = process.start_context.unit_delegates();
    let cgroups = Cgroups::find(&config.name, unit_delegates).await;
    let spawner = Spawner::with(killer.tree_killer);
    let helpers = Helpers::new(spawner.clone(), &program);
    let status_board = Rc::new(StatusBoard::new(&helpers));
    let instances = inherited
        .as_mut()
        .map(|state| state.take_instances(&spawner));
    let received = ReceivedSockets::open(&process.start_context, &config.services);
    for held in inherited.iter_mut().flat_map(|state| state.held.drain(..)) {
        received.inherit(held, &config.services);
    }
    let shared = SharedContext {
        spawner,
        helpers,
        output: output(lock.state(), &process),
        journal: journal.clone(),
        claims: Claims::new(lock.state()),
        reported: ReportedProcesses::default(),
        orphans: UnattributedOrphans::default(),
        cgroups,
        received: Rc::new(received),
        inbox,
        boot: (boot_id, identity::pid_namespace()),
        environment: InheritableEnvironment::of(std::env::vars_os()),
        status_board: Rc::clone(&status_board),
        state: lock.state().root().to_owned(),
        runtime_dir: options.runtime_dir.clone(),
        state_key: state_key(lock.state()),
        now: Box::new(move || clock_handle.now()),
        stamp: Box::new(move |instant| clock_handle.wall_time(instant)),
    };
    let reported = shared.reported.clone();
    let executor = Executor::new(
        shared,
        config.services.clone(),
        instances.unwrap_or_default(),
    );
    let mut status = StatusSource::new(
        &config,
        process.supervisor,
        lock.state(),
        &options.control_socket,
        clock_handle,
        reported,
        status_board,
    );
    let inherited = inherited.and_then(|state| {
        status.continue_from(&state.started_at, &state.upgrade);
        record_upgrade(&journal, &state);
        Some(InheritedLoopState {
            socket: state.socket?,
            services: state.services,
        })
    });
    if inherited.is_some() {
        reached(Failpoint::ControlTakenOver);
    }
    let parts = Parts {
        config,
        status,
        signals: process.signals,
        notifications: process.notifications,
        stall: process.stall,
        clock,
        executor,
        journal,
        past,
        lock,
        options: options.clone(),
        events,
        reaped: killer.reaped,
    };
    Daemon::new(parts, process.supervisor, inherited)
        .await
        .map_err(|error| system_error("open the control socket", &error))
}

/// Makes orphaned descendants children of stayd, where the system can (Linux).
fn become_subreaper() {
    match reaper::become_subreaper() {
        Ok(true) => {}
        Ok(false) => {
            tracing::debug!(
                "this system has no child subreaper; stayd finds orphans by their ownership evidence"
            );
        }
        Err(error) => {
            tracing::warn!(
                "cannot become child subreaper: {error}; stayd finds orphans by their ownership evidence"
            );
        }
    }
}

/// Records the outcome of the in-place upgrade in the journal and the log.
fn record_upgrade(journal: &Journal, state: &InheritedState) {
    let Upgrade {
        from, to, refused, ..
    } = &state.upgrade;
    let count = state.services.len();
    match refused {
        None => {
            let sentence = format!(
                "version {to} has replaced version {from} in the same process; its services ({count}) keep running"
            );
            tracing::info!("{sentence}");
            journal.record(None, &upgrade::record(&sentence, true));
        }
        Some(why) => {
            let sentence =
                format!("cannot upgrade to version {to}: {why}; version {from} keeps running");
            tracing::error!("{sentence}");
            journal.record(None, &upgrade::record(&sentence, false));
        }
    }
}

/// Identifies the state folder: the same key as long as the folder exists.
fn state_key(state: &StateDir) -> String {
    std::fs::metadata(state.root())
        .map(|metadata| format!("{:x}-{:x}", metadata.dev(), metadata.ino()))
        .unwrap_or_default()
}

/// The captured output of all services.
fn output(state: &StateDir, process: &ProcessContext) -> Output {
    let reader = StdoutReader::detect(
        process.supervisor == ParentSupervisor::Container,
        process
            .start_context
            .variables
            .get("JOURNAL_STREAM")
            .map(String::as_str),
    );
    Output::new(state.clone(), reader, Arc::new(log_output_problem))
}

fn log_output_problem(notice: OutputNotice) {
    match notice {
        OutputNotice::WriteFailed {
            key: (service, _),
            cause,
        } => {
            tracing::error!(
                service,
                "cannot write its output: {cause}; stayd counts and discards the output until writing succeeds"
            );
        }
        OutputNotice::BytesLost {
            key: (service, _),
            bytes,
            cause,
        } => {
            tracing::warn!(service, "{bytes} bytes of its output are lost: {cause}");
        }
        OutputNotice::HeldOpen {
            key: (service, life),
            holder,
        } => {
            let holder = holder.map_or_else(|| "a process".to_owned(), |pid| format!("pid {pid}"));
            tracing::warn!(
                service,
                "{holder} outside instance {} still holds its output open; stayd closes it",
                life.0
            );
        }
    }
}
