//! A new version takes the place of this one: the same process, children, locks, sockets; another program.
//!
//! 1. The file is opened once and tried: it reads the same configuration and the state folder, and says that it
//!    understands what it will be left. Whatever is wrong, this version goes on.
//! 2. Everything comes to rest, while the loop goes on: no question under way, no start, no kill. If it does not, this
//!    version goes on, and nothing was touched.
//! 3. Callers get their answers, output and journal are closed, descriptors and a text are packed, signals wait.
//! 4. execve(2). The new version starts as always, but its locks are taken and its socket listens already, and what is
//!    its child stays its child. If the system refuses, this version starts again in the same way, with the same.

mod carried;
mod departure;
mod estate;

pub use estate::{FORMAT, Inheritance};

pub(super) use departure::Departure;

use super::Invocation;
use super::daemon::{Daemon, OUTPUT_CLOSE_MAX};
use crate::act::launch::{Environment, Launch, Surroundings};
use crate::act::performer::Performer;
use crate::act::step::{Step, reached};
use crate::act::store::SCHEMA;
use crate::act::trial;
use crate::api::desk::{Kind, Refusal, UpgradePetition};
use crate::api::view::rfc3339;
use crate::api::wire;
use crate::decide::action::{self, Record, Value};
use crate::decide::clock::Moment;
use crate::decide::state::Service;
use crate::sys::handover;
use crate::sys::identity;
use crate::sys::program::Program;
use carried::Written;
use departure::thread_in_the_way;
use estate::{Estate, ServiceLeft};
use serde::{Deserialize, Serialize};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The hidden verb by which a version is asked whether it could take over.
pub const VERB: &str = "__upgrade-trial";
/// A version that has not said anything by then never will.
const TRIAL_WITHIN: Duration = Duration::from_secs(10);
/// Everything has come to rest by then, or the upgrade is off.
const REST_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks whether it has.
const REST_LOOK_EVERY: Duration = Duration::from_millis(10);
/// Whoever has connected and has no answer by then is sent away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Where a child that is tried has its own program.
const PROGRAM_FD: RawFd = 3;
/// Mode bits by which others write.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// What a version says when it is tried.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Testimony {
    /// Its version.
    pub version: String,
    /// The state folder that it would use.
    pub state_dir: String,
}

/// A version that can take over.
#[derive(Debug)]
pub(super) struct Tried {
    program: Program,
    version: String,
}

/// An upgrade under way.
pub(super) struct Course {
    petition: UpgradePetition,
    stage: Stage,
}

enum Stage {
    Trying(JoinHandle<Result<Tried, String>>),
    Settling { tried: Tried, until: Moment },
}

/// What has come of it.
pub(super) enum Progress {
    /// The new version has shown what it can.
    Tried(Result<Tried, String>),
    /// It is time to look whether everything is at rest.
    Look,
}

/// The next step of an upgrade; never while there is none.
pub(super) async fn progress(course: &mut Option<Course>) -> Progress {
    match course.as_mut().map(|course| &mut course.stage) {
        None => std::future::pending().await,
        Some(Stage::Settling { .. }) => {
            tokio::time::sleep(REST_LOOK_EVERY).await;
            Progress::Look
        }
        Some(Stage::Trying(trial)) => {
            // It panics with us or not at all.
            let tried = trial
                .await
                .unwrap_or_else(|_| Err("its trial was lost".into()));
            Progress::Tried(tried)
        }
    }
}

impl Daemon {
    /// Somebody wants the new version.
    pub(super) fn on_upgrade(&mut self, petition: UpgradePetition) {
        let refusal = if self.course.is_some() {
            "cannot upgrade: another upgrade is under way; its caller is told the outcome"
        } else if self.leaving {
            "cannot upgrade: stayd is ending"
        } else {
            let trial = try_out(&self.parts.performer, &self.parts.options);
            let stage = Stage::Trying(tokio::task::spawn_local(trial));
            self.course = Some(Course { petition, stage });
            return;
        };
        // Whoever asked may have gone; the same below.
        let _ = petition.send(Err(Refusal::new(Kind::Conflict, refusal)));
    }

    /// The new version has shown what it can, or it is time to look again.
    pub(super) fn on_progress(&mut self, progress: Progress) {
        match (progress, &mut self.course) {
            (Progress::Tried(Ok(tried)), Some(course)) => {
                let until = self.parts.clock.origin().now().after(REST_WITHIN);
                course.stage = Stage::Settling { tried, until };
            }
            (Progress::Tried(Err(why)), Some(_)) => self.call_off(&why),
            (Progress::Tried(_), None) | (Progress::Look, _) => {}
        }
    }

    /// Whether a new version can take over now: nothing is under way that would be cut.
    pub(super) fn is_at_rest(&mut self, now: Moment) -> bool {
        let Some(Course {
            stage: Stage::Settling { until, .. },
            ..
        }) = &self.course
        else {
            return false;
        };
        let until = *until;
        let Some(why) = self.unrest() else {
            return true;
        };
        if self.leaving {
            self.call_off("stayd is ending");
        } else if now >= until {
            self.call_off(&format!(
                "{why}, and nothing has changed that for {} s; try again when it is over",
                REST_WITHIN.as_secs()
            ));
        }
        false
    }

    fn unrest(&self) -> Option<String> {
        let machine = self.machine.borrow();
        let busy = machine
            .services()
            .iter()
            .position(|service| !is_resting(service));
        let named = busy.and_then(|at| {
            Some((
                machine.services().get(at)?,
                self.parts.config.services.get(at)?,
            ))
        });
        if let Some((service, known)) = named {
            return Some(format!("{} is {}", known.name, service.phase().name()));
        }
        if self.leaving {
            return Some("stayd is ending".into());
        }
        if self.counter.lobby.waiting() > 0 {
            return Some("somebody waits for the outcome of a wish".into());
        }
        if !self.parts.facts.is_empty() || !self.parts.ended.is_empty() {
            return Some("there is news to be heard".into());
        }
        self.parts
            .performer
            .settle()
            .or_else(|| thread_in_the_way(false))
    }

    /// This version goes on.
    fn call_off(&mut self, why: &str) {
        let Some(course) = self.course.take() else {
            return;
        };
        self.parts.performer.carry_on();
        let version = env!("CARGO_PKG_VERSION");
        let message = format!("cannot upgrade: {why}; version {version} goes on");
        tracing::warn!("{message}");
        self.parts.store.record(None, &record(&message, false));
        let _ = course
            .petition
            .send(Err(Refusal::new(Kind::Conflict, message)));
    }

    /// Answers everybody and leaves everything to the version that was tried.
    pub(super) async fn depart(mut self) -> Result<Departure, String> {
        let Some(Course {
            petition,
            stage: Stage::Settling { tried, .. },
        }) = self.course.take()
        else {
            return Err("nobody was to take over".into());
        };
        reached(Step::AtRest);
        super::heard(self.parts.upward.watchdog());
        let (started_at, number) = self.parts.identity.career();
        let origin = self.parts.clock.origin();
        let upgrade = wire::Upgrade {
            number: number + 1,
            from: env!("CARGO_PKG_VERSION").into(),
            to: tried.version,
            program: tried.program.path().display().to_string(),
            at: rfc3339(origin.stamp(origin.now())),
            refused: None,
        };
        let started_at = started_at.to_owned();
        let _ = petition.send(Ok(upgrade.clone()));
        self.counter.lobby.close(ANSWERS_WITHIN).await;
        let mut fds = Vec::new();
        let services = self.leave_services(&mut fds);
        let sockets = self.parts.performer.leave_sockets(&mut fds);
        self.close_files();
        let cannot = |error: std::io::Error| format!("cannot leave the descriptors: {error}");
        let socket = self.counter.leave().map_err(cannot)?;
        let locks = self.parts.home.leave().map_err(cannot)?;
        let mut pack = |fd: OwnedFd| {
            fds.push(fd);
            fds.len() - 1
        };
        let estate = Estate {
            format: FORMAT,
            upgrade,
            started_at,
            clock_began: self.parts.clock.began(),
            lock: pack(locks.lock),
            deputy: locks.deputy.map(&mut pack),
            listener: pack(socket.listener),
            socket: socket.path,
            group: socket.group,
            services,
            sockets,
        };
        Ok(Departure {
            config: self.parts.config,
            program: tried.program,
            estate,
            fds,
            signals: self.parts.signals,
        })
    }

    fn leave_services(
        &self,
        fds: &mut Vec<OwnedFd>,
    ) -> std::collections::BTreeMap<String, ServiceLeft> {
        let machine = self.machine.borrow();
        let mut lives = self.parts.performer.leave(fds);
        let known = self.parts.config.services.iter().zip(machine.services());
        let left = |(config, service): (&crate::config::Service, &Service)| {
            let left = ServiceLeft {
                carried: service.carried().map(Written::from),
                life: lives.remove(&config.name),
            };
            (config.name.clone(), left)
        };
        known.map(left).collect()
    }

    fn close_files(&self) {
        let shared = self.parts.performer.shared();
        // What is not moved in time stays in the FIFOs, for the next version.
        let _moved = shared.output.borrow_mut().close(OUTPUT_CLOSE_MAX);
        self.parts.store.close();
    }
}

fn is_resting(service: &Service) -> bool {
    service.carried().is_some()
}

/// What the journal is told of an upgrade.
pub(super) fn record(sentence: &str, is_done: bool) -> Record {
    Record {
        kind: action::Kind::Upgraded,
        life: None,
        sentence: sentence.into(),
        facts: vec![("done", Value::Flag(is_done))],
    }
}

/// Opens the file that is there now and has it tell whether it could take over.
fn try_out(
    performer: &Performer,
    options: &super::Options,
) -> impl Future<Output = Result<Tried, String>> + use<> {
    let nursery = performer.shared().nursery.clone();
    let invocation = options.invocation.clone();
    let state_dir = options.state_dir.display().to_string();
    async move {
        let path = invocation.program.clone();
        let named = |why: String| format!("{} is not fit to take over: {why}", path.display());
        let program = Program::open(&path).map_err(|error| named(error.to_string()))?;
        check(&program).map_err(named)?;
        let launch = trial_of(&program, &invocation).map_err(named)?;
        let said = trial::run(&nursery, launch, TRIAL_WITHIN)
            .await
            .map_err(named)?;
        let testimony: Testimony = serde_json::from_str(&said)
            .map_err(|_| named("it does not say what a stayd would say".into()))?;
        if testimony.state_dir != state_dir {
            let why = format!(
                "it would keep its state in {}, and this one keeps it in {state_dir}",
                testimony.state_dir
            );
            return Err(named(why));
        }
        Ok(Tried {
            program,
            version: testimony.version,
        })
    }
}

/// Whoever may write it decides what runs with our rights. A script would pass its trial, and not what comes after.
fn check(program: &Program) -> Result<(), String> {
    if program.is_script().is_ok_and(|is_script| is_script) {
        return Err("it is a script; put the program itself there".into());
    }
    let about = program.metadata().map_err(|error| error.to_string())?;
    let own = identity::euid();
    let forbidden = if own == 0 {
        GROUP_WRITES | OTHERS_WRITE
    } else {
        OTHERS_WRITE
    };
    if about.uid() != 0 && about.uid() != own {
        return Err(format!("it belongs to user {}", about.uid()));
    }
    if about.mode() & forbidden != 0 {
        return Err("others than its owner can write it; chmod go-w it".into());
    }
    Ok(())
}

/// Our own words behind the hidden verb, in our own surroundings.
fn trial_of(program: &Program, invocation: &Invocation) -> Result<Launch, String> {
    let (path, fd) = program
        .for_a_child(PROGRAM_FD)
        .map_err(|error| error.to_string())?;
    let words = [
        path.display().to_string(),
        VERB.into(),
        FORMAT.to_string(),
        SCHEMA.to_string(),
        "--".into(),
    ];
    let ours = invocation.words.iter().skip(1);
    let ours = ours.map(|word| word.to_string_lossy().into_owned());
    let env: Environment = std::env::vars_os()
        .filter(|(name, _)| name != handover::VARIABLE)
        .collect();
    Ok(Launch {
        argv: words.into_iter().chain(ours).collect(),
        surroundings: Surroundings {
            env,
            cwd: Path::to_owned(&invocation.cwd),
            user: None,
        },
        fds: vec![(PROGRAM_FD, fd)],
        cgroup: None,
        mark: None,
    })
}
