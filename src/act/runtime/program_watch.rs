//! The state of the watch for a changed program, or a changed runtime source, of a parked service.

use crate::act::helper::{HelperClient, Helpers};
use std::cell::{Cell, RefCell};
use std::time::SystemTime;
use tokio::task::AbortHandle;

/// The watch of one service's program.
#[derive(Debug)]
pub(crate) struct ProgramWatch {
    task: RefCell<Option<AbortHandle>>,
    /// When the last instance was started.
    started_at: Cell<Option<SystemTime>>,
    /// Reads the program's disk.
    pub(crate) helper: HelperClient,
    /// The version that was reported last. It has been tried, so it is no change when it is found again.
    reported: RefCell<Option<String>>,
}

impl ProgramWatch {
    /// Nothing is watched yet.
    pub(crate) fn new(helpers: &Helpers) -> Self {
        Self {
            task: RefCell::default(),
            started_at: Cell::default(),
            helper: HelperClient::new(helpers),
            reported: RefCell::default(),
        }
    }

    /// Notes that an instance is started at `now`.
    pub(crate) fn instance_starts(&self, now: SystemTime) {
        self.started_at.set(Some(now));
    }

    /// When the last instance was started.
    pub(crate) fn started_at(&self) -> Option<SystemTime> {
        self.started_at.get()
    }

    /// Replaces the watching task; none: ends it.
    pub(crate) fn set_task(&self, task: Option<AbortHandle>) {
        if let Some(before) = self.task.replace(task) {
            before.abort();
        }
    }

    /// Whether `change` differs from the one that was reported last. If so, notes it as reported.
    pub(crate) fn is_new(&self, change: &str) -> bool {
        let is_new = self.reported.borrow().as_deref() != Some(change);
        if is_new {
            self.reported.replace(Some(change.to_owned()));
        }
        is_new
    }
}
