//! The loop: joins `decide` and `act`, and is the only reader of the clock.
//!
//! Facts arrive as signals, as ended processes, as reports of what was ordered, as wishes from the control socket, and
//! as time. Each is one step of the machine; its orders are performed and their outcomes come back as facts.

mod alarm;
mod clock;
mod daemon;
mod desk;
mod files;
mod home;
mod journal;
pub mod logging;
mod setup;
mod signals;
mod stall;
pub mod upgrade;
mod upkeep;
mod voice;

use crate::act::tree::killer;
use crate::config::Config;
use crate::sys::fnv::Fnv;
use crate::sys::signal;
use stall::StallWatch;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use upgrade::{Departure, Inheritance};

/// Checks that are under way when everything is stopped are ended within this time.
const WAKE_MAX: Duration = Duration::from_secs(2);

/// A thread that has looked at something slow is not kept for the next time: it would wake an idle stayd to end.
const IDLE_THREAD_MAX: Duration = Duration::from_secs(1);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// STATE
    pub state_dir: PathBuf,
    /// For sockets.
    pub runtime_dir: PathBuf,
    /// In one of the two; where the path is too long for the first, in the second.
    pub control_socket: PathBuf,
    /// How we were called, for the version after us.
    pub invocation: Invocation,
}

/// How this program was called.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Where the next version is found.
    pub program: PathBuf,
    /// argv.
    pub words: Vec<OsString>,
    /// The working directory.
    pub cwd: PathBuf,
}

/// An ending that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was stopped, in order.
    Done,
    /// Something that is our bug.
    Bug,
    /// The system refused something without which there is no supervising.
    Refused,
    /// Another stayd holds this instance.
    Held,
    /// Permission.
    Forbidden,
}

/// What a loop ends with.
enum Outcome {
    Ended(Ending),
    /// Another version takes its place.
    HandsOver(Box<Departure>),
}

/// Runs until everything is stopped; stays in the foreground. With what the version before has left, if it did.
///
/// Under systemd, launchd or as PID 1 a lock that somebody holds and a state folder that refuses are waited for, with a
/// STATUS that says so: an exit would be restarted for ever. Elsewhere they are an [`Ending`], said on stderr.
#[must_use]
pub fn run(config: Config, options: &Options, inherited: Option<Inheritance>) -> Ending {
    last_words();
    let started = StallWatch::start().and_then(|watch| Ok((runtime(&watch)?, watch)));
    let (runtime, watch) = match started {
        Ok(started) => started,
        Err(error) => {
            tracing::error!("cannot start the loop: {error}");
            return Ending::Refused;
        }
    };
    let (mut config, mut inherited) = (config, inherited);
    let ending = loop {
        let departure = match run_once(config, options, inherited, &runtime, &watch) {
            Outcome::Ended(ending) => break ending,
            Outcome::HandsOver(departure) => departure,
        };
        // It comes back only when nobody could take our place.
        (config, inherited) = match departure.execute(&options.invocation) {
            Ok((config, left)) => (config, Some(left)),
            Err(why) => {
                tracing::error!("{why}; the services go on and the next stayd takes over");
                break Ending::Refused;
            }
        };
    };
    // A thread that hangs in the system must not keep us: the next stayd adopts.
    runtime.shutdown_background();
    ending
}

fn run_once(
    config: Config,
    options: &Options,
    inherited: Option<Inheritance>,
    runtime: &tokio::runtime::Runtime,
    watch: &Arc<StallWatch>,
) -> Outcome {
    let (tree_killer, ended, wake) = killer::open();
    let local = tokio::task::LocalSet::new();
    let dead = (tree_killer, ended);
    let running = setup::run(config, options, dead, Arc::clone(watch), inherited);
    let outcome = local.block_on(runtime, running);
    watch.rests();
    // Whatever was under way is given up, and what it had started is ended.
    drop(local);
    if !wake.wait(WAKE_MAX) {
        tracing::warn!("what was started last has not ended yet; it is left behind");
    }
    outcome
}

/// One thread, watched while it does something.
fn runtime(watch: &Arc<StallWatch>) -> std::io::Result<tokio::runtime::Runtime> {
    let (waking, resting) = (Arc::clone(watch), Arc::clone(watch));
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_keep_alive(IDLE_THREAD_MAX)
        // Signals are for the loop's thread: a thread that waits for work outlives it when another version takes over.
        .on_thread_start(signal::block_all)
        .on_thread_unpark(move || waking.wakes())
        .on_thread_park(move || resting.rests())
        .build()
}

/// A supervisor that does not hear us is no reason to stop: the services matter more.
fn heard(sent: std::io::Result<()>) {
    if let Err(error) = sent {
        tracing::debug!("cannot talk to the supervisor: {error}");
    }
}

/// A panic is our bug: it names its place and ends the process at once. Nothing half-decided is acted on.
#[expect(
    clippy::disallowed_methods,
    reason = "a panic ends the process at once, whatever threads still run"
)]
fn last_words() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(
            "bug in stayd, ending at once; the services go on and the next stayd takes over: {panic}"
        );
        logging::flush();
        std::process::abort();
    }));
}

/// The same at every start, different for each name.
fn salt(name: &str) -> u64 {
    Fnv::of(name.as_bytes())
}
