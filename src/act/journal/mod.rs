//! The journal: a database of every decision with its facts, of incidents with their evidence, and of the state of each
//! service that outlives stayd.
//!
//! Recording never waits: records go into a bounded queue, and a thread writes them in batches, one transaction each.
//! If the disk refuses writes, stayd continues and holds the records in memory; records beyond the bound are dropped
//! and counted. A damaged file is renamed and a new one is created.

mod database;
mod entry;
mod persisted_state;
mod queue;
mod rows;
mod stored;
mod worker;

pub use database::{EVENTS_MAX, SCHEMA};
pub use entry::{EventQuery, Incident, JournalEntry, LOST_KIND};
pub use persisted_state::PersistedStates;
pub use queue::QUEUED_RECORDS_MAX;
pub use stored::StoredJournal;

use crate::act::dirs::state_dir::StateDir;
use crate::decide::action::{Persist, Record};
use crate::sys::{clock, signal};
use entry::{Evidence, to_millis};
use persisted_state::StateRow;
use queue::{JournalRequest, ReplySender, SharedQueue};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};
use tokio::time::timeout;
use worker::{JournalWorker, LoadedState};

/// The stack size of the thread. SQLite needs a few dozen KiB.
const STACK_BYTES: usize = 256 * 1024;
/// How long the start waits for the disk. After that stayd starts without the stored state.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for the answer to a query.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a user's request waits until its effect is on disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long shutdown waits for the disk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A handle to the journal. Clones refer to the same journal, which closes with [`Journal::close`] or with the last
/// clone.
#[derive(Clone, Debug)]
pub struct Journal {
    owner: Arc<Owner>,
}

/// Closes the journal when the last handle is dropped.
#[derive(Debug)]
struct Owner {
    queue: Arc<SharedQueue>,
    boot_id: String,
}

impl Journal {
    /// Opens the journal of `state` and reads what an earlier stayd stored; `boot_id` is the id of this boot.
    ///
    /// This never fails: a damaged file is renamed, and if the disk refuses or does not answer, the journal starts
    /// empty and in memory.
    #[must_use]
    pub fn open(state: &StateDir, boot_id: &str) -> (Self, PersistedStates) {
        let queue = Arc::new(SharedQueue::new());
        let loaded = start_worker(&queue, state.journal());
        let mut locked = queue.lock();
        locked.next_id = loaded.next_id;
        locked.states.clone_from(&loaded.states);
        drop(locked);
        let boot_id = boot_id.to_owned();
        let persisted = PersistedStates {
            rows: loaded.states,
            boot_id: boot_id.clone(),
        };
        let owner = Arc::new(Owner { queue, boot_id });
        (Self { owner }, persisted)
    }

    /// Queues `record` about `service` (none: about stayd itself) and sends it to the subscribers. Never waits.
    pub fn record(&self, service: Option<&str>, record: &Record) {
        let at = clock::sample().wall;
        let mut queue = self.queue().lock();
        let entry = Arc::new(JournalEntry::new(queue.next_id, at, service, record));
        queue.push(Arc::clone(&entry));
        // Sent under the lock, so that subscribers receive ids in ascending order.
        let _no_subscriber = self.queue().subscribers.send(entry);
        drop(queue);
        self.queue().has_work.notify_one();
    }

    /// Receives every record from now on. A receiver that lags gets an error and can query the entries that it missed.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<JournalEntry>> {
        self.queue().subscribers.subscribe()
    }

    /// The id of the last record. Later records have higher ids.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.queue().lock().next_id.saturating_sub(1)
    }

    /// Stores `change` to the state of `service`. `proof_key` identifies its probe, query, command and program. Never
    /// waits.
    pub fn persist(&self, service: &str, proof_key: &str, change: &Persist) {
        let now = clock::sample().wall;
        self.change_state(service, |row| {
            row.apply(proof_key, change, &self.owner.boot_id, now);
        });
    }

    /// Stores that instance number `life` of `service` exists. Never waits.
    pub fn record_life(&self, service: &str, life: u32) {
        self.change_state(service, |row| row.last_life = row.last_life.max(life));
    }

    /// Waits until everything that was queued before is in the file, where it survives a SIGKILL of stayd.
    ///
    /// # Errors
    /// The reason why it is not in the file: the disk refuses, or does not answer within two seconds. It is written as
    /// soon as the disk accepts it.
    pub async fn flush(&self) -> Result<(), String> {
        let (reply, flushed) = oneshot::channel();
        self.queue().request(JournalRequest::Flush(reply))?;
        within(FLUSH_TIMEOUT, flushed).await?
    }

    /// Attaches evidence to the last kill, or wedge, of this instance. The evidence and the record can come in either
    /// order. Never waits.
    pub fn attach_evidence(&self, service: &str, life: u32, summary: String, text: String) {
        let evidence = Evidence::new(service, life, summary, text);
        self.queue().lock().push_evidence(evidence);
        self.queue().has_work.notify_one();
    }

    /// The newest entries that match `query`, oldest first, including those that are not on disk yet.
    ///
    /// # Errors
    /// "cannot read the journal: …": the disk refuses, or does not answer in time.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<JournalEntry>, String> {
        self.ask(|reply| JournalRequest::Events(query, reply)).await
    }

    /// The newest `limit` incidents, oldest first, without the text of their evidence.
    ///
    /// # Errors
    /// As [`Journal::events`].
    pub async fn incidents(&self, limit: usize) -> Result<Vec<Incident>, String> {
        self.ask(|reply| JournalRequest::Incidents(limit, reply))
            .await
    }

    /// One incident with its evidence; none when `id` is not an incident or was deleted.
    ///
    /// # Errors
    /// As [`Journal::events`].
    pub async fn incident(&self, id: u64) -> Result<Option<Incident>, String> {
        self.ask(|reply| JournalRequest::Incident(id, reply)).await
    }

    /// Writes what is queued, closes the file and ends the thread; waits at most two seconds. Later calls do nothing,
    /// and later records are only sent to the subscribers.
    pub fn close(&self) {
        let shared = self.queue();
        let mut queue = shared.lock();
        queue.is_closing = true;
        shared.has_work.notify_one();
        let (queue, waited) = shared
            .ended
            .wait_timeout_while(queue, CLOSE_TIMEOUT, |queue| !queue.has_ended)
            .unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        if waited.timed_out() {
            tracing::warn!(
                "cannot close the journal: the disk did not answer within {} s; the last records may be lost",
                CLOSE_TIMEOUT.as_secs()
            );
        }
    }

    fn queue(&self) -> &SharedQueue {
        &self.owner.queue
    }

    fn change_state(&self, service: &str, change: impl FnOnce(&mut StateRow)) {
        let now_ms = to_millis(clock::sample().wall);
        change(self.queue().lock().state_mut(service, now_ms));
        self.queue().has_work.notify_one();
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(ReplySender<T>) -> JournalRequest,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let unread = |why| format!("cannot read the journal: {why}");
        self.queue().request(request(reply)).map_err(unread)?;
        within(ANSWER_TIMEOUT, answer).await.map_err(unread)?
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.queue.lock().is_closing = true;
        self.queue.has_work.notify_one();
    }
}

/// Waits for the thread's answer.
///
/// # Errors
/// When the thread ended, or did not answer within `limit`.
async fn within<T>(limit: Duration, answer: oneshot::Receiver<T>) -> Result<T, String> {
    match timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_closed)) => Err("stayd is ending".to_owned()),
        Err(_elapsed) => Err(format!(
            "the disk did not answer within {} s",
            limit.as_secs()
        )),
    }
}

/// Starts the thread and waits for what it reads. If that does not come in time, the journal starts empty.
fn start_worker(queue: &Arc<SharedQueue>, path: PathBuf) -> LoadedState {
    let (sender, loaded) = mpsc::sync_channel(1);
    let shown_path = path.clone();
    let worker = JournalWorker::new(Arc::clone(queue), path);
    let worker_queue = Arc::clone(queue);
    let spawned = thread::Builder::new()
        .name("journal".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            signal::block_all(); // the loop handles signals
            worker.run(&sender);
            worker_queue.mark_ended();
        });
    let why = match spawned {
        Err(error) => {
            queue.mark_ended();
            error.to_string()
        }
        Ok(_detached) => match loaded.recv_timeout(OPEN_TIMEOUT) {
            Ok(loaded) => return loaded,
            Err(_elapsed) => format!(
                "the disk did not answer within {} s",
                OPEN_TIMEOUT.as_secs()
            ),
        },
    };
    tracing::warn!(
        "cannot open the journal {}: {why}; supervision continues without the state that an earlier stayd stored",
        shown_path.display()
    );
    LoadedState::empty()
}
