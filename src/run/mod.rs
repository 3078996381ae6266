//! Runs the daemon: the event loop that joins `decide` and `act`, signals, the control socket, and in-place upgrades.
//!
//! The loop is the only reader of the clock. Its events are signals, exits of processes, outcomes of actions, commands
//! from the control socket, and deadlines. Each event is one step of the state machine; the loop executes the actions of
//! the step, and their outcomes come back as events.

mod clock;
mod commands;
mod config_reader;
mod control;
mod daemon;
mod deadline;
mod deleted_files;
pub(crate) mod journal;
pub mod logging;
mod parts;
mod reload;
mod setup;
mod signals;
mod stall;
mod state_lock;
mod status;
mod stderr_writer;
pub mod upgrade;

use crate::act::tree::killer;
use crate::config::Config;
use crate::sys::fnv::Fnv;
use crate::sys::signal;
use setup::KillerQueue;
use stall::StallDetector;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use upgrade::{InheritedState, PreparedUpgrade};

/// After the loop has ended, threads that still start or kill children get this long.
const CHILDREN_ENDED_WITHIN: Duration = Duration::from_secs(2);

/// An idle thread of the blocking pool ends after this time. A longer time would wake an idle stayd later.
const IDLE_THREAD_MAX: Duration = Duration::from_secs(1);

/// Paths and invocation of this stayd.
#[derive(Clone, Debug)]
pub struct Options {
    /// STATE
    pub state_dir: PathBuf,
    /// The folder for sockets and the second lock.
    pub runtime_dir: PathBuf,
    /// In the state folder, or in the runtime folder if the path would be too long.
    pub control_socket: PathBuf,
    /// How this process was started, for the next version.
    pub invocation: Invocation,
}

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The path at which the next version is found.
    pub program: PathBuf,
    /// argv.
    pub words: Vec<OsString>,
    /// The working directory.
    pub cwd: PathBuf,
}

/// Why the daemon ended; each reason has an exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// An ordered shutdown has stopped every service.
    Stopped,
    /// A bug in stayd.
    Bug,
    /// The system refused something that the daemon cannot do without.
    SystemError,
    /// Another stayd holds this instance.
    AlreadyRunning,
    /// A permission is missing.
    PermissionDenied,
}

/// How one run of the loop ended.
enum LoopOutcome {
    Exit(ExitReason),
    /// Another version takes over.
    Upgrade(Box<PreparedUpgrade>),
}

/// Runs in the foreground until every service is stopped. `inherited` is what the previous version handed over.
///
/// Under systemd, launchd or as PID 1 it waits for a lock that another stayd holds and for a state folder that cannot be
/// used, with a STATUS that says so: the parent supervisor would restart an exited stayd for ever. Elsewhere these are an
/// [`ExitReason`], with a message on stderr.
#[must_use]
pub fn run(config: Config, options: &Options, inherited: Option<InheritedState>) -> ExitReason {
    abort_on_panic();
    let started = StallDetector::start().and_then(|detector| Ok((runtime(&detector)?, detector)));
    let (runtime, detector) = match started {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(
                "cannot start the event loop: {error}; if a seccomp profile applies, it must allow timerfd_create(2), and \
                 allow clone3(2) or answer it with ENOSYS"
            );
            return ExitReason::SystemError;
        }
    };
    let (mut config, mut inherited) = (config, inherited);
    let reason = loop {
        let upgrade = match run_once(config, options, inherited, &runtime, &detector) {
            LoopOutcome::Exit(reason) => break reason,
            LoopOutcome::Upgrade(upgrade) => upgrade,
        };
        // It returns only if the new version could not be executed. Then this version takes over from itself.
        (config, inherited) = match upgrade.execute(&options.invocation) {
            Ok((config, inherited)) => (config, Some(inherited)),
            Err(why) => {
                tracing::error!(
                    "{why}; the services keep running, and the next stayd takes them over"
                );
                break ExitReason::SystemError;
            }
        };
    };
    // Do not wait for threads of the blocking pool: one may hang in the kernel. The next stayd adopts the services.
    runtime.shutdown_background();
    reason
}

fn run_once(
    config: Config,
    options: &Options,
    inherited: Option<InheritedState>,
    runtime: &tokio::runtime::Runtime,
    detector: &Arc<StallDetector>,
) -> LoopOutcome {
    let (tree_killer, reaped, children_ended) = killer::open();
    let local = tokio::task::LocalSet::new();
    let killer = KillerQueue {
        tree_killer,
        reaped,
    };
    let running = setup::run(config, options, killer, Arc::clone(detector), inherited);
    let outcome = local.block_on(runtime, running);
    detector.idle();
    // This cancels every task of the loop; the tasks kill the children that they started.
    drop(local);
    if !children_ended.wait(CHILDREN_ENDED_WITHIN) {
        tracing::warn!(
            "children that stayd started last have not ended within {CHILDREN_ENDED_WITHIN:?}; stayd leaves them behind"
        );
    }
    outcome
}

/// A runtime on this thread; the stall detector watches it while it works.
fn runtime(detector: &Arc<StallDetector>) -> std::io::Result<tokio::runtime::Runtime> {
    let (busy, idle) = (Arc::clone(detector), Arc::clone(detector));
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_keep_alive(IDLE_THREAD_MAX)
        // Only the loop's thread takes signals. A pool thread without work survives until execve(2) in an upgrade.
        .on_thread_start(signal::block_all)
        .on_thread_unpark(move || busy.busy())
        .on_thread_park(move || idle.idle())
        .build()
}

/// Logs a failed notification to the parent supervisor. stayd does not stop for it: the services matter more.
fn log_send_error(sent: std::io::Result<()>) {
    if let Err(error) = sent {
        tracing::debug!("cannot notify the parent supervisor: {error}");
    }
}

/// A panic is a bug in stayd: it is logged with its place, and the process aborts before it acts on inconsistent state.
#[expect(
    clippy::disallowed_methods,
    reason = "a panic ends the process at once, whatever threads still run"
)]
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(
            "bug in stayd: {panic}; stayd ends at once, the services keep running, and the next stayd takes them over"
        );
        logging::flush();
        std::process::abort();
    }));
}

/// A hash of `name` that is the same at every start.
fn stable_hash(name: &str) -> u64 {
    Fnv::of(name.as_bytes())
}
