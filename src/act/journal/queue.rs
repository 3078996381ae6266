//! The bounded queue in memory between the journal's handles and its thread: records, evidence, states and requests.

use super::entry::{EventQuery, Evidence, Incident, JournalEntry};
use super::persisted_state::{SERVICES_MAX, StateRow};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};

/// The largest number of records that wait to be written. Beyond it the oldest are dropped and counted.
pub const QUEUED_RECORDS_MAX: usize = 1024;
/// The largest number of records in one transaction.
pub(crate) const BATCH_MAX: usize = 256;
/// The largest number of pieces of evidence that wait to be written.
const QUEUED_EVIDENCE_MAX: usize = 8;
/// The largest number of requests that wait for their answers.
const REQUESTS_MAX: usize = 64;
/// The number of records that a subscriber may be behind before it gets an error.
const SUBSCRIBER_LAG_MAX: usize = 256;

/// A request to the journal's thread, with the channel for its answer.
#[derive(Debug)]
pub(crate) enum JournalRequest {
    /// Write everything that was queued before, even if the next attempt after a failure is not due yet.
    Flush(ReplySender<()>),
    Events(EventQuery, ReplySender<Vec<JournalEntry>>),
    Incidents(usize, ReplySender<Vec<Incident>>),
    Incident(u64, ReplySender<Option<Incident>>),
}

pub(crate) type ReplySender<T> = oneshot::Sender<Result<T, String>>;

/// What one transaction writes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Arc<JournalEntry>>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) states: BTreeMap<String, StateRow>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.evidence.is_empty() && self.states.is_empty()
    }
}

/// The queue with its lock and its signals. The lock is held only while values are moved in memory.
#[derive(Debug)]
pub(crate) struct SharedQueue {
    queue: Mutex<Queue>,
    /// Signalled when there is work for the thread, and when the journal closes.
    pub(crate) has_work: Condvar,
    /// Signalled when the thread has ended.
    pub(crate) ended: Condvar,
    pub(crate) subscribers: broadcast::Sender<Arc<JournalEntry>>,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) next_id: u64,
    records: VecDeque<Arc<JournalEntry>>,
    /// The number of records that were dropped before `records`, and the last of them.
    lost: Option<(u64, Arc<JournalEntry>)>,
    evidence: VecDeque<Evidence>,
    pub(crate) states: BTreeMap<String, StateRow>,
    /// The services whose entry in `states` is newer than the row in the database.
    changed: BTreeSet<String>,
    requests: Vec<JournalRequest>,
    pub(crate) is_closing: bool,
    pub(crate) has_ended: bool,
}

/// What the thread has to do besides writing its batch.
#[derive(Debug)]
pub(crate) struct PendingWork {
    pub(crate) requests: Vec<JournalRequest>,
    pub(crate) is_closing: bool,
}

impl Queue {
    /// Adds a record. If the queue is full, drops the oldest one and counts it.
    pub(crate) fn push(&mut self, entry: Arc<JournalEntry>) {
        self.next_id = entry.id + 1;
        if self.records.len() == QUEUED_RECORDS_MAX
            && let Some(oldest) = self.records.pop_front()
        {
            let count = self.lost.take().map_or(0, |(count, _last)| count);
            self.lost = Some((count + 1, oldest));
        }
        self.records.push_back(entry);
    }

    /// Adds evidence. If there is too much, drops the oldest piece.
    pub(crate) fn push_evidence(&mut self, evidence: Evidence) {
        if self.evidence.len() == QUEUED_EVIDENCE_MAX {
            self.evidence.pop_front();
        }
        self.evidence.push_back(evidence);
    }

    /// The state of `service` for a change, which the thread then writes. If there are too many services, drops the one
    /// that was not changed for longest.
    pub(crate) fn state_mut(&mut self, service: &str, now_ms: i64) -> &mut StateRow {
        if self.states.len() >= SERVICES_MAX && !self.states.contains_key(service) {
            let oldest = self.states.iter().min_by_key(|(_name, row)| row.touched_ms);
            if let Some(name) = oldest.map(|(name, _row)| name.clone()) {
                self.states.remove(&name);
            }
        }
        self.changed.insert(service.to_owned());
        let row = self.states.entry(service.to_owned()).or_default();
        row.touched_ms = now_ms;
        row
    }

    /// The entry that replaces the lost records.
    fn lost_entry(&self) -> Option<Arc<JournalEntry>> {
        let (count, last) = self.lost.as_ref()?;
        Some(Arc::new(JournalEntry::lost(*count, last)))
    }

    fn has_writes(&self) -> bool {
        !(self.records.is_empty() && self.evidence.is_empty() && self.changed.is_empty())
    }

    /// Moves what is to be written into `batch`, as much as `batch` has room for.
    fn fill(&mut self, batch: &mut Batch) {
        let room = BATCH_MAX.saturating_sub(batch.entries.len());
        if room > 0 {
            batch.entries.extend(self.lost_entry());
            self.lost = None;
            let count = room.min(self.records.len());
            batch.entries.extend(self.records.drain(..count));
        }
        let room = QUEUED_EVIDENCE_MAX.saturating_sub(batch.evidence.len());
        let count = room.min(self.evidence.len());
        batch.evidence.extend(self.evidence.drain(..count));
        for service in mem::take(&mut self.changed) {
            if let Some(row) = self.states.get(&service) {
                batch.states.insert(service, row.clone());
            }
        }
    }
}

impl SharedQueue {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            has_work: Condvar::new(),
            ended: Condvar::new(),
            subscribers: broadcast::Sender::new(SUBSCRIBER_LAG_MAX),
        }
    }

    /// Locks the queue. A poisoned lock is usable, because every change under the lock moves whole values.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request. The answer comes over the channel in it; the channel closes when the journal closes first.
    ///
    /// # Errors
    /// When the journal is closing, or too many requests wait already.
    pub(crate) fn request(&self, request: JournalRequest) -> Result<(), String> {
        let mut queue = self.lock();
        if queue.is_closing {
            return Err("stayd is ending".to_owned());
        }
        if queue.requests.len() == REQUESTS_MAX {
            return Err("too many requests wait for the journal; try again".to_owned());
        }
        queue.requests.push(request);
        drop(queue);
        self.has_work.notify_one();
        Ok(())
    }

    /// Sleeps until there is work, then fills `batch`. `pause` is the time until the next attempt after a failed write;
    /// new records do not end the sleep before it.
    pub(crate) fn wait_for_work(&self, pause: Option<Duration>, batch: &mut Batch) -> PendingWork {
        let is_idle = |queue: &mut Queue| {
            let is_urgent = queue.is_closing || !queue.requests.is_empty();
            !is_urgent && (pause.is_some() || !queue.has_writes())
        };
        let queue = self.lock();
        let mut queue = match pause {
            Some(pause) => {
                self.has_work
                    .wait_timeout_while(queue, pause, is_idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .has_work
                .wait_while(queue, is_idle)
                .unwrap_or_else(PoisonError::into_inner),
        };
        queue.fill(batch);
        PendingWork {
            requests: mem::take(&mut queue.requests),
            is_closing: queue.is_closing,
        }
    }

    /// Fills `batch` from the queue. Returns false when there is nothing to write.
    pub(crate) fn fill_batch(&self, batch: &mut Batch) -> bool {
        self.lock().fill(batch);
        !batch.is_empty()
    }

    /// The queued records, oldest first, after the entry that replaces lost ones.
    pub(crate) fn records(&self) -> Vec<Arc<JournalEntry>> {
        let queue = self.lock();
        queue
            .lost_entry()
            .into_iter()
            .chain(queue.records.iter().cloned())
            .collect()
    }

    pub(crate) fn has_writes(&self) -> bool {
        self.lock().has_writes()
    }

    /// Copies the states of all services into `into`, for a new database file.
    pub(crate) fn copy_all_states(&self, into: &mut BTreeMap<String, StateRow>) {
        into.clone_from(&self.lock().states);
    }

    /// Marks the thread as ended, wakes [`super::Journal::close`], and closes the channels of waiting requests.
    pub(crate) fn mark_ended(&self) {
        let mut queue = self.lock();
        queue.is_closing = true;
        queue.has_ended = true;
        queue.requests.clear();
        drop(queue);
        self.ended.notify_all();
    }
}
