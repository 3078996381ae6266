//! Collects what `status` shows of programs and runtimes: which were changed while their services run, and the progress of
//! copies. No decision depends on it.

use super::staleness::{CERTAINLY_LATER, ReplacedProgram};
use crate::act::helper::{HelperClient, Helpers, NoReply, Progress};
use crate::act::preflight::ProgramLookup;
use crate::config;
use crate::decide::clock::{Duration, Instant};
use crate::sys::process::{self, Process};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// The shortest time between two checks of a program's file or of a runtime's source. It is short, because a user who replaces
/// a file soon asks for the status.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The most time for a check, because the disk may hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A service without a runtime, whose program file can be checked.
#[derive(Clone, Debug)]
pub struct ProgramCheck {
    /// The service's name.
    pub service: String,
    /// Its main process.
    pub main: Process,
    /// What a new instance would be started from.
    pub lookup: ProgramLookup,
}

/// What a new instance of `service` would be started from. None where a runtime or an env_file decides that. `path` is the
/// PATH that the instance inherits.
#[must_use]
pub fn program_of(service: &config::Service, path: Option<String>) -> Option<ProgramLookup> {
    let program = service.command.first()?.clone();
    let is_searched = !program.contains('/');
    if service.runtime.is_some() || (is_searched && service.env_file.is_some()) {
        return None;
    }
    Some(ProgramLookup {
        program,
        cwd: service.cwd.clone(),
        path: service.env.get("PATH").cloned().or(path),
        user: None,
    })
}

/// The result of a program check.
#[derive(Debug)]
struct CheckedProgram {
    main: Process,
    at: Instant,
    /// The path of the program file, if it is another file by now.
    replaced: Option<String>,
}

/// Asks the task of one service to compare its runtime with the source.
#[derive(Debug, Default)]
pub(crate) struct SourceCheck {
    requested: Notify,
    requested_at: Cell<Option<Instant>>,
    /// Counts the checks that are done.
    done: watch::Sender<u64>,
}

impl SourceCheck {
    /// Returns when a check is requested.
    pub(crate) async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Marks the check as done, with any result.
    pub(crate) fn is_done(&self) {
        self.done.send_modify(|checks| *checks += 1);
    }

    /// Requests a check. The returned receiver changes when it is done.
    fn request(&self, now: Instant) -> watch::Receiver<u64> {
        self.requested_at.set(Some(now));
        let done = self.done.subscribe();
        self.requested.notify_one();
        done
    }
}

/// What `status` shows of programs and runtimes.
#[derive(Debug)]
pub struct StatusBoard {
    helper: HelperClient,
    /// Services whose runtime is not what their source holds.
    stale: RefCell<BTreeSet<String>>,
    source_checks: RefCell<BTreeMap<String, Rc<SourceCheck>>>,
    /// The progress of copies under way.
    copies: RefCell<BTreeMap<String, Rc<Cell<Progress>>>>,
    programs: RefCell<BTreeMap<String, CheckedProgram>>,
    is_checking: Cell<bool>,
}

impl StatusBoard {
    /// An empty board.
    #[must_use]
    pub fn new(helpers: &Helpers) -> Self {
        Self {
            helper: HelperClient::new(helpers),
            stale: RefCell::default(),
            source_checks: RefCell::default(),
            copies: RefCell::default(),
            programs: RefCell::default(),
            is_checking: Cell::default(),
        }
    }

    /// Whether the runtime that `service` runs from is not what its source holds.
    #[must_use]
    pub fn is_stale(&self, service: &str) -> bool {
        self.stale.borrow().contains(service)
    }

    /// Notes whether the runtime that `service` runs from is not what its source holds.
    pub(crate) fn note_stale(&self, service: &str, stale: bool) {
        let mut all = self.stale.borrow_mut();
        if stale {
            all.insert(service.to_owned());
        } else {
            all.remove(service);
        }
    }

    /// The check of the source of `service`, which the service's task carries out when it is requested.
    pub(crate) fn source_check(&self, service: &str) -> Rc<SourceCheck> {
        let mut checks = self.source_checks.borrow_mut();
        Rc::clone(checks.entry(service.to_owned()).or_default())
    }

    /// Requests a check of each source that was not checked recently, and returns when all are done. Never returns if one
    /// hangs.
    pub async fn check_sources(&self, now: Instant) {
        let is_due = |check: &&Rc<SourceCheck>| {
            let last = check.requested_at.get();
            last.is_none_or(|last| now.since(last) >= CHECK_INTERVAL)
        };
        let request = |check: &Rc<SourceCheck>| check.request(now);
        let checks: Vec<_> = self
            .source_checks
            .borrow()
            .values()
            .filter(is_due)
            .map(request)
            .collect();
        for mut done in checks {
            // The sender is in the map of this board, so this cannot fail.
            let _ = done.changed().await;
        }
    }

    /// The progress of the copy for `service`, while one is under way.
    #[must_use]
    pub fn copy_progress(&self, service: &str) -> Option<Progress> {
        let copies = self.copies.borrow();
        copies.get(service).map(|progress| progress.get())
    }

    /// Notes that a copy for `service` is under way and writes its progress there; none: no longer.
    pub(crate) fn note_copy(&self, service: &str, progress: Option<Rc<Cell<Progress>>>) {
        let mut copies = self.copies.borrow_mut();
        match progress {
            Some(progress) => copies.insert(service.to_owned(), progress),
            None => copies.remove(service),
        };
    }

    /// The path of the program that has replaced the one from which `main` of `service` was started.
    #[must_use]
    pub fn replaced(&self, service: &str, main: Process) -> Option<String> {
        let programs = self.programs.borrow();
        let checked = programs
            .get(service)
            .filter(|checked| checked.main == main)?;
        checked.replaced.clone()
    }

    /// Begins to check the programs that were not checked recently; none if there is nothing to do.
    pub fn check_programs(
        self: &Rc<Self>,
        now: Instant,
        mut checks: Vec<ProgramCheck>,
    ) -> Option<JoinHandle<()>> {
        checks.retain(|check| self.is_due(check, now));
        if checks.is_empty() || self.is_checking.replace(true) {
            return None;
        }
        let this = Rc::clone(self);
        Some(tokio::task::spawn_local(async move {
            this.check_each(now, checks).await;
            this.is_checking.set(false);
        }))
    }

    fn is_due(&self, check: &ProgramCheck, now: Instant) -> bool {
        // The clocks of files and processes are too coarse for a process that has just started.
        if process::age(check.main) < CERTAINLY_LATER {
            return false;
        }
        let programs = self.programs.borrow();
        let last = programs.get(&check.service);
        last.is_none_or(|last| last.main != check.main || now.since(last.at) >= CHECK_INTERVAL)
    }

    async fn check_each(&self, now: Instant, checks: Vec<ProgramCheck>) {
        let Ok(mut helper) = self.helper.lease(ANSWER_TIMEOUT).await else {
            return;
        };
        for ProgramCheck {
            service,
            main,
            lookup,
        } in checks
        {
            let request = ReplacedProgram::new(main, lookup);
            let reply = helper.ask(request, ANSWER_TIMEOUT).await;
            let hangs = matches!(reply, Err(NoReply::Silent(_) | NoReply::NotAsked(_)));
            let checked = CheckedProgram {
                main,
                at: now,
                // If the file cannot be read, nothing is shown.
                replaced: reply.ok().flatten(),
            };
            self.programs.borrow_mut().insert(service, checked);
            if hangs {
                return;
            }
        }
    }
}
