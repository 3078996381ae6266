//! The steps of an upgrade that the loop takes, from the request to the point at which no work is in progress. Until then it can
//! be called off.

use super::attempt::{EssentialDescriptors, Progress, Stage, UpgradeAttempt, record};
use super::self_check::check_program;
use super::threads::blocker;
use crate::act::failpoint::{Failpoint, reached};
use crate::api::backend::{ApiError, ApiErrorKind, PendingUpgrade};
use crate::decide::clock::Instant;
use crate::run::daemon::Daemon;
use std::io;
use std::time::Duration;

/// Time for all work in progress to end. After that the upgrade is called off.
const QUIESCENCE_WITHIN: Duration = Duration::from_secs(15);

impl Daemon {
    /// Starts an upgrade, unless one is in progress or stayd is shutting down.
    pub(in crate::run) fn on_upgrade(&mut self, reply: PendingUpgrade) {
        let error = if self.upgrade.is_some() {
            "cannot upgrade: another upgrade is in progress"
        } else if self.shutting_down {
            "cannot upgrade: stayd is shutting down"
        } else {
            let check = check_program(&self.parts.executor, &self.parts.options);
            let stage = Stage::Checking(tokio::task::spawn_local(check));
            self.upgrade = Some(UpgradeAttempt { reply, stage });
            return;
        };
        // The client may have hung up; the same below.
        let _ = reply.send(Err(ApiError::new(ApiErrorKind::Conflict, error)));
    }

    /// Begins to wait for quiescence when the self-check has passed. Checks of quiescence happen in
    /// [`is_ready_to_upgrade`](Self::is_ready_to_upgrade), which the loop calls at every turn.
    pub(in crate::run) fn on_progress(&mut self, progress: Progress) {
        match (progress, &mut self.upgrade) {
            (Progress::Checked(Ok(program)), Some(upgrade)) => {
                tracing::info!(
                    "version {} has passed its self-check; it takes over when no work is in progress",
                    program.version
                );
                let until = self.parts.clock.handle().now().after(QUIESCENCE_WITHIN);
                upgrade.stage = Stage::Waiting { program, until };
            }
            (Progress::Checked(Err(why)), Some(_)) => self.call_off(&why),
            (Progress::Checked(_), None) | (Progress::CheckQuiescence, _) => {}
        }
    }

    /// Whether the new version takes over now: no work is in progress, and the essential descriptors are duplicated.
    pub(in crate::run) fn is_ready_to_upgrade(&mut self, now: Instant) -> bool {
        let Some(UpgradeAttempt {
            stage: Stage::Waiting { until, .. },
            ..
        }) = &self.upgrade
        else {
            return false;
        };
        let until = *until;
        match self.work_in_progress() {
            None => self.set_ready(),
            Some(_) if self.shutting_down => self.call_off("stayd is shutting down"),
            Some(why) if now >= until => self.call_off(&format!(
                "{why}, and that has not ended within {} s; try again later",
                QUIESCENCE_WITHIN.as_secs()
            )),
            Some(_) => {}
        }
        let stage = self.upgrade.as_ref().map(|upgrade| &upgrade.stage);
        matches!(stage, Some(Stage::Ready { .. }))
    }

    /// Work that an upgrade would interrupt; `None` if there is none.
    fn work_in_progress(&self) -> Option<String> {
        let machine = self.machine.borrow();
        let services = self.parts.config.services.iter().zip(machine.services());
        let mut busy = services.filter(|(_, service)| service.handover().is_none());
        if let Some((config, service)) = busy.next() {
            return Some(format!("{} is {}", config.name, service.phase().name()));
        }
        if self.shutting_down {
            return Some("stayd is shutting down".into());
        }
        if self.control.connections.commands_in_progress() > 0 {
            return Some("a client waits for the outcome of a command".into());
        }
        if !self.parts.events.is_empty() || !self.parts.reaped.is_empty() {
            return Some("the loop has events to handle".into());
        }
        self.parts.executor.quiesce().or_else(|| blocker(false))
    }

    fn set_ready(&mut self) {
        let descriptors = match self.essential_descriptors() {
            Ok(descriptors) => descriptors,
            Err(error) => {
                return self.call_off(&format!(
                    "cannot duplicate the descriptors of the locks and the control socket: {error}"
                ));
            }
        };
        let Some(UpgradeAttempt { reply, stage }) = self.upgrade.take() else {
            return;
        };
        let stage = match stage {
            Stage::Waiting { program, .. } => Stage::Ready {
                program,
                descriptors,
            },
            other @ (Stage::Checking(_) | Stage::Ready { .. }) => other,
        };
        self.upgrade = Some(UpgradeAttempt { reply, stage });
        reached(Failpoint::UpgradeReady);
    }

    fn essential_descriptors(&self) -> io::Result<EssentialDescriptors> {
        Ok(EssentialDescriptors {
            locks: self.parts.lock.duplicates()?,
            listener: self.control.duplicate_listener()?,
        })
    }

    /// Ends the upgrade; this version keeps running.
    fn call_off(&mut self, why: &str) {
        let Some(upgrade) = self.upgrade.take() else {
            return;
        };
        self.parts.executor.resume_probes();
        let version = env!("CARGO_PKG_VERSION");
        let message = format!("cannot upgrade: {why}; version {version} keeps running");
        tracing::warn!("{message}");
        self.parts.journal.record(None, &record(&message, false));
        let error = ApiError::new(ApiErrorKind::Conflict, message);
        let _ = upgrade.reply.send(Err(error));
    }
}
