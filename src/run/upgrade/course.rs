//! An upgrade under way, until everything is at rest: the loop goes on, and at each step it may be called off.

use super::threads::in_the_way;
use super::trial::{Tried, try_out};
use crate::act::failpoint::{Failpoint, reached};
use crate::api::desk::{Kind, Refusal, UpgradePetition};
use crate::decide::action::{self, Record, RecordValue};
use crate::decide::clock::Instant;
use crate::run::daemon::Daemon;
use crate::run::home::LeftLocks;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Everything has come to rest by then, or the upgrade is off.
const REST_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks whether it has.
const REST_LOOK_EVERY: Duration = Duration::from_millis(10);

/// An upgrade under way.
pub(in crate::run) struct Course {
    pub(super) petition: UpgradePetition,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    Trying(JoinHandle<Result<Tried, String>>),
    Settling {
        tried: Tried,
        until: Instant,
    },
    AtRest {
        tried: Tried,
        essentials: Essentials,
    },
}

/// What no version could do without, copied before anything is given up.
#[derive(Debug)]
pub(super) struct Essentials {
    pub(super) locks: LeftLocks,
    pub(super) listener: OwnedFd,
}

/// What has come of it.
pub(in crate::run) enum Progress {
    /// The new version has shown what it can.
    Tried(Result<Tried, String>),
    /// It is time to look whether everything is at rest.
    Look,
}

/// The next step of an upgrade; never while there is none.
pub(in crate::run) async fn progress(course: &mut Option<Course>) -> Progress {
    match course.as_mut().map(|course| &mut course.stage) {
        None => std::future::pending().await,
        Some(Stage::Settling { .. } | Stage::AtRest { .. }) => {
            tokio::time::sleep(REST_LOOK_EVERY).await;
            Progress::Look
        }
        Some(Stage::Trying(trial)) => {
            // It panics with us or not at all.
            let tried = trial.await;
            Progress::Tried(tried.unwrap_or_else(|_| Err("its trial was lost".into())))
        }
    }
}

impl Daemon {
    /// Somebody wants the new version.
    pub(in crate::run) fn on_upgrade(&mut self, petition: UpgradePetition) {
        let refusal = if self.course.is_some() {
            "cannot upgrade: another upgrade is under way; its caller is told the outcome"
        } else if self.leaving {
            "cannot upgrade: stayd is ending"
        } else {
            let trial = try_out(&self.parts.executor, &self.parts.options);
            let stage = Stage::Trying(tokio::task::spawn_local(trial));
            self.course = Some(Course { petition, stage });
            return;
        };
        // Whoever asked may have gone; the same below.
        let _ = petition.send(Err(Refusal::new(Kind::Conflict, refusal)));
    }

    /// The new version has shown what it can, or it is time to look again.
    pub(in crate::run) fn on_progress(&mut self, progress: Progress) {
        match (progress, &mut self.course) {
            (Progress::Tried(Ok(tried)), Some(course)) => {
                tracing::info!(
                    "version {} is fit to take over, and does so when everything is at rest",
                    tried.version
                );
                let until = self.parts.clock.origin().now().after(REST_WITHIN);
                course.stage = Stage::Settling { tried, until };
            }
            (Progress::Tried(Err(why)), Some(_)) => self.call_off(&why),
            (Progress::Tried(_), None) | (Progress::Look, _) => {}
        }
    }

    /// Whether a new version takes over now: nothing is under way that would be cut, and what it needs can be left to it.
    pub(in crate::run) fn is_at_rest(&mut self, now: Instant) -> bool {
        let Some(Course {
            stage: Stage::Settling { until, .. },
            ..
        }) = &self.course
        else {
            return false;
        };
        let until = *until;
        match self.unrest() {
            None => self.rest(),
            Some(_) if self.leaving => self.call_off("stayd is ending"),
            Some(why) if now >= until => self.call_off(&format!(
                "{why}, and nothing has changed that for {} s; try again when it is over",
                REST_WITHIN.as_secs()
            )),
            Some(_) => {}
        }
        let stage = self.course.as_ref().map(|course| &course.stage);
        matches!(stage, Some(Stage::AtRest { .. }))
    }

    /// What would be cut; none when nothing would.
    fn unrest(&self) -> Option<String> {
        let machine = self.machine.borrow();
        let known = self.parts.config.services.iter().zip(machine.services());
        let mut busy = known.filter(|(_, service)| service.handover().is_none());
        if let Some((known, service)) = busy.next() {
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
        self.parts.executor.settle().or_else(|| in_the_way(false))
    }

    fn rest(&mut self) {
        let essentials = match self.essentials() {
            Ok(essentials) => essentials,
            Err(error) => {
                return self.call_off(&format!("locks and socket cannot be left to it: {error}"));
            }
        };
        let Some(Course { petition, stage }) = self.course.take() else {
            return;
        };
        let stage = match stage {
            Stage::Settling { tried, .. } => Stage::AtRest { tried, essentials },
            other => other,
        };
        self.course = Some(Course { petition, stage });
        reached(Failpoint::AtRest);
    }

    fn essentials(&self) -> io::Result<Essentials> {
        Ok(Essentials {
            locks: self.parts.home.copies()?,
            listener: self.counter.copy()?,
        })
    }

    /// This version goes on.
    fn call_off(&mut self, why: &str) {
        let Some(course) = self.course.take() else {
            return;
        };
        self.parts.executor.carry_on();
        let version = env!("CARGO_PKG_VERSION");
        let message = format!("cannot upgrade: {why}; version {version} goes on");
        tracing::warn!("{message}");
        self.parts.store.record(None, &record(&message, false));
        let refusal = Refusal::new(Kind::Conflict, message);
        let _ = course.petition.send(Err(refusal));
    }
}

/// What the journal is told of an upgrade.
pub(in crate::run) fn record(sentence: &str, is_done: bool) -> Record {
    Record {
        kind: action::RecordKind::Upgraded,
        life: None,
        sentence: sentence.into(),
        facts: vec![("done", RecordValue::Flag(is_done))],
    }
}
