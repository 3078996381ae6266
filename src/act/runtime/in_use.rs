//! The runtime that a service runs from, and what is known of its source.

use crate::act::helper::{HelperClient, Helpers, Progress};
use crate::decide::runtime::RuntimeId;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The runtimes of one service, while it is supervised.
#[derive(Debug)]
pub(crate) struct ServiceRuntimes {
    /// The runtime of the present instance, or of the next one.
    in_use: RefCell<Option<RuntimeInUse>>,
    /// Reads the source's disk, and copies from there.
    pub(crate) source_helper: HelperClient,
    /// Touches only stayd's own disk, so that it does not hang with a source.
    pub(crate) cache_helper: HelperClient,
    /// Notified when an instance needs the source, so that a comparison ends.
    instance_needs_source: Notify,
    /// The content of the source when stayd last read it for an instance.
    offered: RefCell<Option<RuntimeId>>,
    /// The source exists, and could not be copied or used.
    is_unreadable: Cell<bool>,
    /// Compares the source with the runtime in use, for as long as the same one is in use.
    comparing: RefCell<Option<AbortHandle>>,
    cancelled: Notify,
    /// The progress of a copy that is under way.
    copy_progress: Rc<Cell<Progress>>,
}

/// A runtime that a service runs from.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeInUse {
    pub(crate) id: RuntimeId,
    /// Its folder in the cache.
    pub(crate) root: PathBuf,
}

impl ServiceRuntimes {
    /// No runtime is in use yet.
    pub(crate) fn new(helpers: &Helpers) -> Self {
        Self {
            in_use: RefCell::default(),
            source_helper: HelperClient::new(helpers),
            cache_helper: HelperClient::new(helpers),
            instance_needs_source: Notify::default(),
            offered: RefCell::default(),
            is_unreadable: Cell::default(),
            comparing: RefCell::default(),
            cancelled: Notify::default(),
            copy_progress: Rc::default(),
        }
    }

    /// The root of the runtime in use.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        self.in_use.borrow().as_ref().map(|one| one.root.clone())
    }

    /// The fingerprint of the runtime in use.
    pub(crate) fn id(&self) -> Option<RuntimeId> {
        self.in_use.borrow().as_ref().map(|one| one.id.clone())
    }

    /// Makes `runtime` the one in use. Returns false when it was in use already.
    pub(crate) fn set_in_use(&self, runtime: RuntimeInUse) -> bool {
        let id = runtime.id.clone();
        let before = self.in_use.replace(Some(runtime));
        before.is_none_or(|before| before.id != id)
    }

    /// Replaces the task that compares the source with the runtime in use.
    pub(crate) fn set_comparing(&self, task: AbortHandle) {
        if let Some(before) = self.comparing.replace(Some(task)) {
            before.abort();
        }
    }

    /// The content of the source when stayd last read it for an instance. If the source was unavailable: what the last
    /// instance started with. None if the source existed and could not be used.
    pub(crate) fn source_held(&self) -> Option<RuntimeId> {
        let offered = self.offered.borrow().clone();
        offered.or_else(|| self.id().filter(|_| !self.is_unreadable.get()))
    }

    /// Stores what the source holds, and whether it exists but cannot be used.
    pub(crate) fn set_source(&self, holds: Option<RuntimeId>, is_unreadable: bool) {
        self.offered.replace(holds);
        self.is_unreadable.set(is_unreadable);
    }

    /// Whether the source is known to hold something else than `id`.
    pub(crate) fn is_stale(&self, id: &RuntimeId) -> bool {
        let offered = self.offered.borrow();
        self.is_unreadable.get() || offered.as_ref().is_some_and(|held| held != id)
    }

    /// Ends a copy that is under way; does nothing if there is none.
    pub(crate) fn cancel(&self) {
        self.cancelled.notify_waiters();
    }

    /// Returns when the copy that is under way is cancelled.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }

    /// Ends comparisons that are under way, because an instance needs the source.
    pub(crate) fn interrupt_comparisons(&self) {
        self.instance_needs_source.notify_waiters();
    }

    /// Returns when an instance needs the source.
    pub(crate) async fn instance_needs_source(&self) {
        self.instance_needs_source.notified().await;
    }

    /// Where the copy that is under way writes its progress.
    pub(crate) const fn copy_progress(&self) -> &Rc<Cell<Progress>> {
        &self.copy_progress
    }
}
