//! Restores what is deleted of stayd's own files while it runs: the state folder, the locks, the control socket, and the files of
//! running instances.

use super::control;
use super::daemon::Daemon;
use super::state_lock::{StartError, system_error};
use super::status::WarningTopic;
use crate::act::recovery::deleted_files::DeletedFiles;
use crate::decide::action::{self, Record};
use crate::decide::clock::Instant;
use std::rc::Rc;

impl Daemon {
    /// Watches the folders of stayd's own files. A folder that cannot be watched is still checked from time to time.
    pub(super) fn watch_own_folders(&self) {
        let (state, options) = (self.parts.lock.state(), &self.parts.options);
        let (root, claims) = (state.root(), state.claims());
        let socket = options.control_socket.parent();
        let folders = [root, &claims, &options.runtime_dir].into_iter();
        for folder in folders.chain(socket) {
            if let Err(error) = self.watch.add(folder) {
                tracing::debug!("cannot watch {}: {error}", folder.display());
            }
        }
    }

    /// Checks stayd's own files from time to time, and restores and reports what was deleted.
    pub(super) async fn check_own_files(&mut self, now: Instant) {
        if !self.parts.lock.is_check_due(now) {
            return;
        }
        let is_folder_lost = self.parts.lock.is_lost();
        match self.restore_own_files(is_folder_lost).await {
            Ok(deleted) => {
                if is_folder_lost {
                    self.report(&self.folder_restored());
                } else if !deleted.restored.is_empty() {
                    self.report(&files_restored(&deleted.restored));
                }
                self.warn_of_unprovable(&deleted.unprovable);
            }
            Err(error) => {
                self.parts.lock.repeat_check();
                let root = self.parts.options.state_dir.display();
                let sentence = format!(
                    "files of the state folder {root} were deleted or replaced while stayd ran: {}; the services keep running, \
                     and stayd tries again",
                    error.message
                );
                let topic = WarningTopic::StateDir;
                if self.parts.status.warn(topic, Some(&sentence)) {
                    self.record(sentence);
                }
            }
        }
    }

    async fn restore_own_files(
        &mut self,
        is_folder_lost: bool,
    ) -> Result<DeletedFiles, StartError> {
        let mut also = Vec::new();
        if is_folder_lost {
            self.parts.lock.retake(&self.parts.options)?;
        }
        if self.parts.lock.restore_second(&self.parts.options) {
            also.push("the lock in the runtime folder".to_owned());
        }
        let mut deleted = self.parts.executor.restore_deleted_files();
        if self.control.is_lost() {
            self.control.close().await;
            self.control = control::open(&self.parts, Rc::clone(&self.machine))
                .await
                .map_err(|error| system_error("open the control socket", &error))?;
            also.push("the control socket".to_owned());
        }
        if is_folder_lost || !also.is_empty() || !deleted.restored.is_empty() {
            self.watch_own_folders();
        }
        deleted.restored.append(&mut also);
        Ok(deleted)
    }

    fn folder_restored(&self) -> String {
        format!(
            "the state folder {} was deleted or replaced while stayd ran; stayd has created it again, but the journal begins \
             anew; find out what deletes the folder",
            self.parts.options.state_dir.display()
        )
    }

    /// Instances that the next stayd could not adopt.
    fn warn_of_unprovable(&self, services: &[String]) {
        let topic = WarningTopic::UnprovableInstances;
        if services.is_empty() {
            self.parts.status.warn(topic, None);
            return;
        }
        let names = services.join(", ");
        let sentence = format!(
            "the output FIFO of {names} was deleted: its output is still captured, but if stayd crashes, the next one cannot \
             prove that the processes are its own, and leaves them alone; run `stayd restart {}`",
            services.join(" ")
        );
        if self.parts.status.warn(topic, Some(&sentence)) {
            self.record(sentence);
        }
    }

    fn report(&self, sentence: &str) {
        let topic = WarningTopic::StateDir;
        self.parts.status.warn(topic, Some(sentence));
        self.record(sentence.to_owned());
    }

    fn record(&self, sentence: String) {
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

fn files_restored(files: &[String]) -> String {
    format!(
        "deleted while stayd ran: {}; stayd has created it again; find out what deletes such files",
        files.join(", ")
    )
}
