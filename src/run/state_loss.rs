//! Restores the state folder if it is deleted or replaced while stayd runs.

use super::control;
use super::daemon::Daemon;
use super::state_lock::{StartError, system_error};
use super::status::WarningTopic;
use crate::decide::action::{self, Record};
use crate::decide::clock::Instant;
use std::rc::Rc;

impl Daemon {
    /// Checks the state folder from time to time, and creates it again, with all claims, if it was deleted or replaced.
    pub(super) async fn check_state_dir(&mut self, now: Instant) {
        if !self.parts.lock.is_check_due(now) {
            return;
        }
        if !self.parts.lock.is_lost() && !self.control.is_closed() {
            return;
        }
        let restored = self.restore_state_dir().await;
        let root = self.parts.options.state_dir.display();
        let sentence = match &restored {
            Ok(()) => format!(
                "the state folder {root} was deleted or replaced while stayd ran; stayd has created it again, but the journal \
                 begins anew, and running services write their output into deleted files until `stayd restart SERVICE`; \
                 find out what deletes the folder"
            ),
            Err(error) => format!(
                "the state folder {root} was deleted or replaced while stayd ran: {}; the services keep running, and stayd \
                 tries again",
                error.message
            ),
        };
        let is_new = self
            .parts
            .status
            .warn(WarningTopic::StateDir, Some(&sentence));
        if is_new || restored.is_ok() {
            tracing::error!("{sentence}");
            let record = Record {
                kind: action::RecordKind::StateLost,
                life: None,
                sentence,
                facts: Vec::new(),
            };
            self.parts.journal.record(None, &record);
        }
    }

    async fn restore_state_dir(&mut self) -> Result<(), StartError> {
        if self.parts.lock.is_lost() {
            self.parts.lock.retake(&self.parts.options)?;
        }
        // Claims that cannot be written stay in memory, and the loop tries again.
        let _all_written = self.parts.executor.shared().claims.rewrite_all();
        self.control.close().await;
        self.control = control::open(&self.parts, Rc::clone(&self.machine))
            .await
            .map_err(|error| system_error("open the control socket", &error))?;
        Ok(())
    }
}
