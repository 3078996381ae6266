//! The main process of an instance: its handle for signals, and whether its end was reported.

use crate::sys::process::{self, Handle, Process};
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// The main process of an instance. There is none before the spawn, after the end, and while a foreign process is watched.
#[derive(Debug)]
pub(crate) struct MainProcess {
    handle: RefCell<Option<Arc<Handle>>>,
    /// Set after its end was reported to the loop. The outcome of a kill waits for this.
    has_ended: watch::Sender<bool>,
    /// A main process that this stayd did not spawn as one: the successor of a launcher, or an adopted process. The spawner
    /// does not report its end.
    not_spawned: Cell<Option<Process>>,
    /// The kernel's count of out-of-memory kills when the instance started; none where the kernel has no such count.
    oom_kills: Cell<Option<u64>>,
}

impl Default for MainProcess {
    fn default() -> Self {
        Self {
            handle: RefCell::default(),
            has_ended: watch::Sender::new(false),
            not_spawned: Cell::default(),
            oom_kills: Cell::default(),
        }
    }
}

impl MainProcess {
    /// Sets the main process to a child that this stayd spawned.
    pub(crate) fn set_spawned(&self, handle: Arc<Handle>) {
        self.oom_kills.set(process::oom_kill_count());
        self.handle.replace(Some(handle));
    }

    /// Sets the main process to one that this stayd did not spawn as such. Returns its handle; an error when it has ended.
    pub(crate) fn set_not_spawned(&self, process: Process) -> io::Result<Arc<Handle>> {
        self.has_ended.send_replace(false);
        self.not_spawned.set(Some(process));
        let handle = Arc::new(Handle::open(process)?);
        self.handle.replace(Some(Arc::clone(&handle)));
        Ok(handle)
    }

    /// Notes that its end was reported to the loop, or that an adopted instance has no main process any more.
    pub(crate) fn set_ended(&self) {
        self.has_ended.send_replace(true);
    }

    /// Its handle.
    pub(crate) fn handle(&self) -> Option<Arc<Handle>> {
        self.handle.borrow().clone()
    }

    /// Its identity.
    pub(crate) fn process(&self) -> Option<Process> {
        self.handle.borrow().as_ref().map(|handle| handle.process)
    }

    /// The main process that this stayd did not spawn as such, until its end was noticed.
    pub(crate) fn not_spawned(&self) -> Option<Process> {
        self.not_spawned.get()
    }

    /// Notes that its end was noticed, so that the end is reported only once.
    pub(crate) fn end_noticed(&self) {
        self.not_spawned.set(None);
    }

    /// Drops the handle of a reaped process, so that it is not signalled any more.
    pub(crate) fn forget(&self) {
        self.handle.replace(None);
    }

    /// Whether its end was reported to the loop.
    pub(crate) fn has_ended(&self) -> bool {
        *self.has_ended.borrow()
    }

    /// Returns when its end was reported to the loop.
    pub(crate) async fn ended(&self) {
        let mut ended = self.has_ended.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Sends a signal. An ended process needs none, so the caller may ignore that error.
    ///
    /// # Errors
    /// There is no main process, or the system refused.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match self.handle.borrow().as_ref() {
            Some(handle) => handle.signal(signal),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// How many processes the kernel has killed for lack of memory since the instance started, on the whole host.
    pub(crate) fn oom_kills_since_start(&self) -> u64 {
        let (before, now) = (self.oom_kills.get(), process::oom_kill_count());
        before
            .zip(now)
            .map_or(0, |(before, now)| now.saturating_sub(before))
    }
}
