//! The last steps of one version, when nothing of it runs any more but the thread that becomes the next.

use super::course::{Course, Essentials, Stage};
use super::estate::{Estate, FORMAT, Inheritance, ServiceLeft};
use super::threads::wait_until_alone;
use super::trial::Tried;
use crate::act::failpoint::{Failpoint, reached};
use crate::api::view::rfc3339;
use crate::api::wire::Upgrade;
use crate::config::Config;
use crate::run::daemon::{Daemon, OUTPUT_CLOSE_MAX};
use crate::run::signals::Signals;
use crate::run::{Invocation, logging};
use crate::sys::handover::{self, Parcel};
use crate::sys::program::Program;
use crate::sys::signal;
use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// Whoever has connected and has no answer by then is sent away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// ServiceMessage of descriptors that came with our start; what is left of them goes over as ours (sd_listen_fds(3)).
const OF_DESCRIPTORS: &str = "LISTEN_";

/// Everything that is left, and whom it is left to.
pub(in crate::run) struct Departure {
    config: Config,
    program: Program,
    estate: Estate,
    fds: Vec<OwnedFd>,
    signals: Signals,
}

impl Daemon {
    /// Answers everybody and leaves everything to the version that was tried; none where none was.
    pub(in crate::run) async fn depart(mut self) -> Option<Departure> {
        let Course { petition, stage } = self.course.take()?;
        let Stage::AtRest { tried, essentials } = stage else {
            return None;
        };
        crate::run::heard(self.parts.notifications.watchdog());
        let (upgrade, started_at) = self.announcement(&tried);
        // Whoever asked may have gone.
        let _ = petition.send(Ok(upgrade.clone()));
        self.counter.lobby.close(ANSWERS_WITHIN).await;
        let mut fds = Vec::new();
        let services = self.leave_services(&mut fds);
        let sockets = self.parts.executor.leave_sockets(&mut fds);
        self.close_files();
        self.parts.home.leave();
        let (socket, group) = self.counter.leave();
        let mut pack = |fd: OwnedFd| {
            fds.push(fd);
            fds.len() - 1
        };
        let Essentials { locks, listener } = essentials;
        let estate = Estate {
            format: FORMAT,
            upgrade,
            started_at,
            clock_began: self.parts.clock.began(),
            lock: pack(locks.lock),
            deputy: locks.deputy.map(&mut pack),
            listener: pack(listener),
            socket,
            group,
            services,
            sockets,
        };
        Some(Departure {
            config: self.parts.config,
            program: tried.program,
            estate,
            fds,
            signals: self.parts.signals,
        })
    }

    /// What is said of the upgrade, and since when this process is stayd.
    fn announcement(&self, tried: &Tried) -> (Upgrade, String) {
        let (started_at, number) = self.parts.identity.career();
        let origin = self.parts.clock.origin();
        let upgrade = Upgrade {
            number: number + 1,
            from: env!("CARGO_PKG_VERSION").into(),
            to: tried.version.clone(),
            program: tried.program.path().display().to_string(),
            at: rfc3339(origin.stamp(origin.now())),
            refused: None,
        };
        (upgrade, started_at.to_owned())
    }

    fn leave_services(&self, fds: &mut Vec<OwnedFd>) -> BTreeMap<String, ServiceLeft> {
        let machine = self.machine.borrow();
        let mut lives = self.parts.executor.leave(fds);
        let known = self.parts.config.services.iter().zip(machine.services());
        let left = known.map(|(config, service)| {
            let left = ServiceLeft {
                carried: service.handover(),
                life: lives.remove(&config.name),
            };
            (config.name.clone(), left)
        });
        left.collect()
    }

    fn close_files(&self) {
        let shared = self.parts.executor.shared();
        // What is not moved in time stays in the FIFOs, for the next version.
        let _moved = shared.output.borrow_mut().close(OUTPUT_CLOSE_MAX);
        self.parts.store.close();
    }
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
    reached(Failpoint::BeforeExec);
    let error = handover::execute(program, &argv, &env, &parcel);
    let why = format!("cannot execute {}: {error}", program.path().display());
    (why, parcel.unpack())
}

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
