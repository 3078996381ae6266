//! Hands everything over to the new version and executes it, when only the main thread still runs.

use super::attempt::{EssentialDescriptors, Stage, UpgradeAttempt};
use super::manifest::{FORMAT, InheritedState, Manifest, ServiceHandover};
use super::self_check::CheckedProgram;
use super::threads::wait_for_threads;
use crate::act::failpoint::{Failpoint, reached};
use crate::api::view::rfc3339;
use crate::api::wire::Upgrade;
use crate::config::Config;
use crate::run::daemon::{Daemon, OUTPUT_CLOSE_MAX};
use crate::run::signals::Signals;
use crate::run::{Invocation, log_send_error, logging};
use crate::sys::handover::{self, Handover};
use crate::sys::limits::OpenFilesLimit;
use crate::sys::program::Program;
use crate::sys::signal;
use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// Time for open connections to get their answers. After that they are closed.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Names of the variables for descriptors that came with the start (sd_listen_fds(3)). The new version does not get the
/// variables: the manifest names these descriptors.
const LISTEN_VARIABLES: &str = "LISTEN_";

/// Everything that the new version gets, and its program.
pub(in crate::run) struct PreparedUpgrade {
    config: Config,
    program: Program,
    manifest: Manifest,
    fds: Vec<OwnedFd>,
    signals: Signals,
}

impl Daemon {
    /// Answers all clients, closes files and collects what the new version gets; `None` if no upgrade is ready.
    pub(in crate::run) async fn prepare_upgrade(mut self) -> Option<PreparedUpgrade> {
        let UpgradeAttempt { reply, stage } = self.upgrade.take()?;
        let Stage::Ready {
            program,
            descriptors,
        } = stage
        else {
            return None;
        };
        log_send_error(self.parts.notifications.watchdog());
        let (upgrade, started_at) = self.describe_upgrade(&program);
        // The client may have hung up.
        let _ = reply.send(Ok(upgrade.clone()));
        self.control.connections.drain(ANSWERS_WITHIN).await;
        let mut fds = Vec::new();
        let services = self.service_handovers(&mut fds);
        let sockets = self.parts.executor.hand_over_sockets(&mut fds);
        self.close_files();
        self.parts.lock.hand_over();
        let (socket, group) = self.control.hand_over();
        let mut add = |fd: OwnedFd| {
            fds.push(fd);
            fds.len() - 1
        };
        let EssentialDescriptors { locks, listener } = descriptors;
        let manifest = Manifest {
            format: FORMAT,
            upgrade,
            started_at,
            clock_began: self.parts.clock.began(),
            lock: add(locks.lock),
            second_lock: locks.second.map(&mut add),
            listener: add(listener),
            socket,
            group,
            open_files: OpenFilesLimit::given().map(|limit| (limit.soft, limit.hard)),
            services,
            sockets,
        };
        Some(PreparedUpgrade {
            config: self.parts.config,
            program: program.program,
            manifest,
            fds,
            signals: self.parts.signals,
        })
    }

    /// The upgrade for `status`, and when this process became stayd.
    fn describe_upgrade(&self, program: &CheckedProgram) -> (Upgrade, String) {
        let (started_at, number) = self.parts.status.start_and_upgrades();
        let clock = self.parts.clock.handle();
        let upgrade = Upgrade {
            number: number + 1,
            from: env!("CARGO_PKG_VERSION").into(),
            to: program.version.clone(),
            program: program.program.path().display().to_string(),
            at: rfc3339(clock.wall_time(clock.now())),
            refused: None,
        };
        (upgrade, started_at.to_owned())
    }

    fn service_handovers(&self, fds: &mut Vec<OwnedFd>) -> BTreeMap<String, ServiceHandover> {
        let machine = self.machine.borrow();
        let mut instances = self.parts.executor.hand_over_instances(fds);
        let services = self.parts.config.services.iter().zip(machine.services());
        let handovers = services.map(|(config, service)| {
            let handover = ServiceHandover {
                state: service.handover(),
                instance: instances.remove(&config.name),
            };
            (config.name.clone(), handover)
        });
        handovers.collect()
    }

    fn close_files(&self) {
        let shared = self.parts.executor.shared();
        // Output that is not written in time stays in the FIFOs, for the new version.
        let _all_written = shared.output.close(OUTPUT_CLOSE_MAX);
        self.parts.journal.close();
    }
}

impl PreparedUpgrade {
    /// Executes the new version. It returns only if that is not possible: then this version continues with what it would
    /// have handed over.
    ///
    /// # Errors
    /// The manifest cannot be written or read, so this version cannot continue. The next stayd adopts the services.
    pub(in crate::run) fn execute(
        self,
        invocation: &Invocation,
    ) -> Result<(Config, InheritedState), String> {
        signal::block_all();
        let Self {
            config,
            program,
            mut manifest,
            fds,
            signals,
        } = self;
        let alone = wait_for_threads();
        signals.hand_over();
        let text = to_json(&manifest)?;
        let (why, fds) = match alone {
            Ok(()) => execute(&program, invocation, &text, fds),
            Err(why) => (why, fds),
        };
        manifest.upgrade.refused = Some(why);
        Ok((config, InheritedState::open(fds, &to_json(&manifest)?)?))
    }
}

fn to_json(manifest: &Manifest) -> Result<Vec<u8>, String> {
    serde_json::to_vec(manifest).map_err(|error| format!("cannot write the manifest: {error}"))
}

/// Calls execve(2). If it returns, the result is the reason and the descriptors.
fn execute(
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
    let handover_file = match Handover::prepare(fds, text) {
        Ok(handover_file) => handover_file,
        Err((error, fds)) => return (format!("cannot prepare the handover: {error}"), fds),
    };
    logging::flush();
    reached(Failpoint::BeforeExec);
    let error = handover::execute(program, &argv, &env, &handover_file);
    let why = format!("cannot execute {}: {error}", program.path().display());
    (why, handover_file.into_descriptors())
}

/// The environment of this process, which stayd never changes, without the variables about descriptors, which are valid
/// only once.
fn environment() -> impl Iterator<Item = OsString> {
    std::env::vars_os()
        .filter(|(name, _)| {
            name != handover::VARIABLE && !name.as_bytes().starts_with(LISTEN_VARIABLES.as_bytes())
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
