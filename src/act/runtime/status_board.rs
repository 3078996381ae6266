//! What is seen of the files that services run from: shown by `status`, and nothing is decided by it.

use super::staleness::SURELY_LATER;
use crate::act::helper::{Ask, Far, Helper, Reply};
use crate::act::preflight::ProgramLookup;
use crate::act::spawn::spawner::Spawner;
use crate::config;
use crate::decide::clock::{Duration, Instant};
use crate::sys::process::{self, Process};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Between two looks at a program's file or a runtime's source, while somebody asks: whoever replaces a file looks soon afterwards.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A disk that has not answered by then is not waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A service that runs from no runtime.
#[derive(Clone, Debug)]
pub struct Plain {
    /// Which.
    pub service: String,
    /// Its main process.
    pub main: Process,
    /// What a new life would be started from.
    pub look: ProgramLookup,
}

/// What a new life of `service` would be started from; none where a runtime, or a file of variables, decides that. `path`
/// is the PATH that it inherits.
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

/// What a look at a program's file has told.
struct Seen {
    main: Process,
    at: Instant,
    /// Another file is there by now, and where.
    replaced: Option<String>,
}

/// A service that runs from a runtime: asks for a look at whether its source still holds that.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Notify,
    rung_at: Cell<Option<Instant>>,
    /// Looks that are done.
    looks: watch::Sender<u64>,
}

impl Bell {
    /// Returns when somebody wants a look.
    pub(crate) async fn rings(&self) {
        self.rung.notified().await;
    }

    /// The look is done, whatever came of it.
    pub(crate) fn is_answered(&self) {
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// Wants a look; what is returned changes when one is done.
    fn ring(&self, now: Instant) -> watch::Receiver<u64> {
        self.rung_at.set(Some(now));
        let looks = self.looks.subscribe();
        self.rung.notify_one();
        looks
    }
}

/// What was seen.
pub struct StatusBoard {
    spawner: Spawner,
    /// This program of ours, for the helper.
    program: PathBuf,
    /// Services that run from a runtime that is not what their source holds.
    stale: RefCell<BTreeSet<String>>,
    bells: RefCell<BTreeMap<String, Rc<Bell>>>,
    /// Copies under way.
    copies: RefCell<BTreeMap<String, Rc<Cell<Far>>>>,
    programs: RefCell<BTreeMap<String, Seen>>,
    /// Looks at programs; here only while its last question hangs.
    helper: RefCell<Option<Helper>>,
    looking: Cell<bool>,
}

impl StatusBoard {
    /// Nothing is seen yet.
    #[must_use]
    pub fn new(spawner: Spawner, program: PathBuf) -> Self {
        Self {
            spawner,
            program,
            stale: RefCell::default(),
            bells: RefCell::default(),
            copies: RefCell::default(),
            programs: RefCell::default(),
            helper: RefCell::default(),
            looking: Cell::default(),
        }
    }

    /// Whether the runtime that `service` runs from is not what its source holds.
    #[must_use]
    pub fn is_stale(&self, service: &str) -> bool {
        self.stale.borrow().contains(service)
    }

    pub(crate) fn note_stale(&self, service: &str, stale: bool) {
        let mut all = self.stale.borrow_mut();
        if stale {
            all.insert(service.to_owned());
        } else {
            all.remove(service);
        }
    }

    /// By which a look at the source of `service` is asked for.
    pub(crate) fn bell(&self, service: &str) -> Rc<Bell> {
        let mut bells = self.bells.borrow_mut();
        Rc::clone(bells.entry(service.to_owned()).or_default())
    }

    /// Has the sources looked at that have not been for a while, and returns when all of them were: where one hangs, never.
    pub async fn look_at_sources(&self, now: Instant) {
        let is_due = |bell: &&Rc<Bell>| {
            let last = bell.rung_at.get();
            last.is_none_or(|last| now.since(last) >= LOOK_EVERY)
        };
        let ring = |bell: &Rc<Bell>| bell.ring(now);
        let looks: Vec<_> = self
            .bells
            .borrow()
            .values()
            .filter(is_due)
            .map(ring)
            .collect();
        for mut look in looks {
            // The other end is in a bell, which stays.
            let _ = look.changed().await;
        }
    }

    /// How far the copy for `service` is, while there is one under way.
    #[must_use]
    pub fn far(&self, service: &str) -> Option<Far> {
        let copies = self.copies.borrow();
        copies.get(service).map(|far| far.get())
    }

    /// A copy for `service` is under way, as far as `far` says; none: no longer.
    pub(crate) fn note_copy(&self, service: &str, far: Option<Rc<Cell<Far>>>) {
        let mut copies = self.copies.borrow_mut();
        match far {
            Some(far) => copies.insert(service.to_owned(), far),
            None => copies.remove(service),
        };
    }

    /// Where another program is by now than `main` of `service` was started from.
    #[must_use]
    pub fn replaced(&self, service: &str, main: Process) -> Option<String> {
        let programs = self.programs.borrow();
        let seen = programs.get(service).filter(|seen| seen.main == main)?;
        seen.replaced.clone()
    }

    /// Begins to look at the programs that have not been looked at for a while; none: there is nothing to be done.
    pub fn look(self: &Rc<Self>, now: Instant, mut plain: Vec<Plain>) -> Option<JoinHandle<()>> {
        plain.retain(|one| self.is_due(one, now));
        if plain.is_empty() || self.looking.replace(true) {
            return None;
        }
        let this = Rc::clone(self);
        Some(tokio::task::spawn_local(async move {
            this.look_at(now, plain).await;
            this.looking.set(false);
        }))
    }

    fn is_due(&self, plain: &Plain, now: Instant) -> bool {
        // Nothing could be told of one so young.
        if process::age(plain.main) < SURELY_LATER {
            return false;
        }
        let programs = self.programs.borrow();
        let seen = programs.get(&plain.service);
        seen.is_none_or(|seen| seen.main != plain.main || now.since(seen.at) >= LOOK_EVERY)
    }

    async fn look_at(&self, now: Instant, plain: Vec<Plain>) {
        let begin = || Helper::new(self.spawner.clone(), self.program.clone());
        let mut helper = self.helper.take().unwrap_or_else(begin);
        for Plain {
            service,
            main,
            look,
        } in plain
        {
            let question = Ask::Replaced {
                pid: main.pid,
                start_time: main.start_time,
                look,
            };
            let answer = helper.ask(question, ANSWER_WITHIN).await;
            let is_silent = answer.is_err();
            let replaced = match answer {
                Ok(Reply::Text(file)) => file,
                // What cannot be seen is not shown.
                Ok(_) | Err(_) => None,
            };
            let at = now;
            let seen = Seen { main, at, replaced };
            self.programs.borrow_mut().insert(service, seen);
            if is_silent {
                // Kept: one that hangs even after its SIGKILL is not joined by another at each try.
                self.helper.replace(Some(helper));
                return;
            }
        }
    }
}
