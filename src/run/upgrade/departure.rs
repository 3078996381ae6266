//! The last steps of one version, when nothing of it runs any more but the thread that becomes the next.

use super::estate::{Estate, Inheritance};
use crate::act::step::{Step, reached};
use crate::config::Config;
use crate::run::Invocation;
use crate::run::logging;
use crate::run::signals::Signals;
use crate::sys::handover::{self, Parcel};
use crate::sys::process::{self, State, Thread};
use crate::sys::program::Program;
use crate::sys::{clock, identity, signal};
use std::ffi::{CString, NulError, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// Threads that were told to end have done so by then.
const THREADS_WITHIN: Duration = Duration::from_secs(2);
const THREADS_LOOK_EVERY: Duration = Duration::from_millis(2);
/// More threads than these are not looked at.
const THREADS_MAX: usize = 256;
/// Threads that only wait, for work or for a timer of ours: execve(2) ends them at once. The runtime's own begin so.
const IDLE: [&str; 3] = ["stall", "voice", "tokio-"];
/// Threads that are told to end when everything is left.
const ENDING: [&str; 5] = ["journal", "output", "relief", "screen", "spawn"];

/// Everything that is left, and whom it is left to.
pub(in crate::run) struct Departure {
    pub(super) config: Config,
    pub(super) program: Program,
    pub(super) estate: Estate,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) signals: Signals,
}

impl Departure {
    /// Becomes the next version. Comes back only when that cannot be: with everything that was left, to go on with.
    ///
    /// # Errors
    /// In a sentence: what was left is lost. The next stayd adopts the services.
    pub(in crate::run) fn execute(
        self,
        invocation: &Invocation,
    ) -> Result<(Config, Inheritance), String> {
        signal::hold_all();
        let Self {
            config,
            program,
            mut estate,
            fds,
            signals,
        } = self;
        let lonely = wait_until_alone();
        signals.leave();
        let text = text_of(&estate)?;
        let (why, fds) = match lonely {
            Ok(()) => become_another(&program, invocation, &text, fds),
            Err(why) => (why, fds),
        };
        estate.upgrade.refused = Some(why);
        Ok((config, Inheritance::open(fds, &text_of(&estate)?)?))
    }
}

fn text_of(estate: &Estate) -> Result<Vec<u8>, String> {
    serde_json::to_vec(estate).map_err(|error| format!("cannot write down what is left: {error}"))
}

/// Returns why not, and the descriptors.
fn become_another(
    program: &Program,
    invocation: &Invocation,
    text: &[u8],
    fds: Vec<OwnedFd>,
) -> (String, Vec<OwnedFd>) {
    let words = invocation.words.iter().cloned();
    let (argv, env) = match (c_strings(words), c_strings(environment())) {
        (Ok(argv), Ok(env)) => (argv, env),
        (Err(error), _) | (_, Err(error)) => return (error.to_string(), fds),
    };
    let parcel = match Parcel::pack(fds, text) {
        Ok(parcel) => parcel,
        Err((error, fds)) => return (format!("cannot leave anything to it: {error}"), fds),
    };
    logging::flush();
    reached(Step::BeforeExec);
    let error = handover::execute(program, &argv, &env, &parcel);
    let why = format!("cannot execute {}: {error}", program.path().display());
    (why, parcel.unpack())
}

/// Told of descriptors that came with our start; what is left of them goes over as ours (sd_listen_fds(3)).
const OF_DESCRIPTORS: &str = "LISTEN_";

/// As it was at our start: nothing of it is ever changed. But that descriptors come with it is true once.
fn environment() -> impl Iterator<Item = OsString> {
    std::env::vars_os()
        .filter(|(name, _)| {
            name != handover::VARIABLE && !name.as_bytes().starts_with(OF_DESCRIPTORS.as_bytes())
        })
        .map(|(mut entry, value)| {
            entry.push("=");
            entry.push(value);
            entry
        })
}

fn c_strings(words: impl Iterator<Item = OsString>) -> Result<Vec<CString>, NulError> {
    words.map(|word| CString::new(word.into_vec())).collect()
}

/// A thread that would be cut off, or would hold execve(2) because it is stuck in the kernel; none when there is none.
/// Those that are told to end count only when they are stuck, unless they have been `told`.
pub(in crate::run) fn thread_in_the_way(told: bool) -> Option<String> {
    let threads = process::threads(identity::pid(), THREADS_MAX).unwrap_or_default();
    threads
        .into_iter()
        .find_map(|thread| what_keeps(&thread, told))
}

fn what_keeps(thread: &Thread, told: bool) -> Option<String> {
    let Thread {
        tid, comm, state, ..
    } = thread;
    let named = |names: &[&str]| names.iter().any(|name| comm.starts_with(name));
    if *state == State::Uninterruptible {
        return Some(format!("the thread {comm} is stuck in the system"));
    }
    let may_be = *tid == identity::pid() || named(&IDLE) || (!told && named(&ENDING));
    (!may_be).then(|| format!("the thread {comm} is at work"))
}

fn wait_until_alone() -> Result<(), String> {
    let until = clock::sample().awake + THREADS_WITHIN;
    while let Some(why) = thread_in_the_way(true) {
        if clock::sample().awake >= until {
            return Err(why);
        }
        clock::pause(THREADS_LOOK_EVERY);
    }
    Ok(())
}
