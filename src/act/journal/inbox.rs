//! What the handles and the journal's thread have in common: a bounded inbox in memory.

use super::disk::{Batch, KEPT_MAX};
use super::entry::{Entry, Evidence};
use super::past::Kept;
use super::writer::{Ask, BATCH_MAX};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// Most records that wait for a batch; beyond them the oldest are lost, and counted.
pub const WAITING_MAX: usize = 1024;
/// Most pieces of evidence that wait for the disk.
const EVIDENCE_WAITING_MAX: usize = 8;
/// Most questions that wait for their answer.
const ASKS_MAX: usize = 64;
/// Records a subscriber may be behind before it is told that it lags.
const NEWS_MAX: usize = 256;

/// What the handles and the thread have in common. The lock is held for moves in memory only.
#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    /// There is work, or the end has come.
    pub(crate) work: Condvar,
    /// The thread has ended.
    pub(crate) ended: Condvar,
    pub(crate) news: broadcast::Sender<Arc<Entry>>,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) next_id: u64,
    records: VecDeque<Arc<Entry>>,
    /// How many records before these were lost, and the last of them.
    lost: Option<(u64, Arc<Entry>)>,
    evidence: VecDeque<Evidence>,
    pub(crate) kept: BTreeMap<String, Kept>,
    /// Services whose `kept` is newer than the disk's.
    touched: BTreeSet<String>,
    asks: Vec<Ask>,
    pub(crate) closing: bool,
    pub(crate) ended: bool,
}

/// What the thread woke for, besides the batch.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) asks: Vec<Ask>,
    pub(crate) closing: bool,
}

impl Inbox {
    /// Takes a record; when there are too many, the oldest is lost and counted.
    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        self.next_id = entry.id + 1;
        if self.records.len() == WAITING_MAX
            && let Some(oldest) = self.records.pop_front()
        {
            let count = self.lost.take().map_or(0, |(count, _last)| count);
            self.lost = Some((count + 1, oldest));
        }
        self.records.push_back(entry);
    }

    /// Takes evidence; the oldest makes room for it.
    pub(crate) fn attach(&mut self, evidence: Evidence) {
        if self.evidence.len() == EVIDENCE_WAITING_MAX {
            self.evidence.pop_front();
        }
        self.evidence.push_back(evidence);
    }

    /// What is kept of `service`, to be changed and then written; the one not touched for longest makes room for it.
    pub(crate) fn touch(&mut self, service: &str, now_ms: i64) -> &mut Kept {
        if self.kept.len() >= KEPT_MAX && !self.kept.contains_key(service) {
            let oldest = self.kept.iter().min_by_key(|(_name, kept)| kept.touched_ms);
            if let Some(name) = oldest.map(|(name, _kept)| name.clone()) {
                self.kept.remove(&name);
            }
        }
        self.touched.insert(service.to_owned());
        let kept = self.kept.entry(service.to_owned()).or_default();
        kept.touched_ms = now_ms;
        kept
    }

    /// The entry that stands for the lost ones.
    fn gap(&self) -> Option<Arc<Entry>> {
        let (count, last) = self.lost.as_ref()?;
        Some(Arc::new(Entry::lost(*count, last)))
    }

    fn has_writes(&self) -> bool {
        !(self.records.is_empty() && self.evidence.is_empty() && self.touched.is_empty())
    }

    /// Moves what is to be written into `batch`, as far as there is room in it.
    fn fill(&mut self, batch: &mut Batch) {
        let room = BATCH_MAX.saturating_sub(batch.entries.len());
        if room > 0 {
            batch.entries.extend(self.gap());
            self.lost = None;
            let count = room.min(self.records.len());
            batch.entries.extend(self.records.drain(..count));
        }
        let room = EVIDENCE_WAITING_MAX.saturating_sub(batch.evidence.len());
        let count = room.min(self.evidence.len());
        batch.evidence.extend(self.evidence.drain(..count));
        for service in mem::take(&mut self.touched) {
            if let Some(kept) = self.kept.get(&service) {
                batch.kept.insert(service, kept.clone());
            }
        }
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            news: broadcast::Sender::new(NEWS_MAX),
        }
    }

    /// A thread that panicked with the lock held has left moves of whole values, nothing half done.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a question to the thread; the answer, or the end, comes over its reply.
    pub(crate) fn enqueue(&self, ask: Ask) -> Result<(), String> {
        let mut inbox = self.lock();
        if inbox.closing {
            return Err("stayd is ending".to_owned());
        }
        if inbox.asks.len() == ASKS_MAX {
            return Err("too many questions wait; ask again".to_owned());
        }
        inbox.asks.push(ask);
        drop(inbox);
        self.work.notify_one();
        Ok(())
    }

    /// Sleeps until there is something to do, then fills `batch`. While the disk refuses, which `pause` says, new
    /// writes are no reason to wake: they wait for the pause to end.
    pub(crate) fn wait_for_work(&self, pause: Option<Duration>, batch: &mut Batch) -> Work {
        let idle = |inbox: &mut Inbox| {
            let urgent = inbox.closing || !inbox.asks.is_empty();
            !urgent && (pause.is_some() || !inbox.has_writes())
        };
        let inbox = self.lock();
        let mut inbox = match pause {
            Some(pause) => {
                self.work
                    .wait_timeout_while(inbox, pause, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .work
                .wait_while(inbox, idle)
                .unwrap_or_else(PoisonError::into_inner),
        };
        inbox.fill(batch);
        Work {
            asks: mem::take(&mut inbox.asks),
            closing: inbox.closing,
        }
    }

    /// Fills `batch` again; false when there is nothing to write.
    pub(crate) fn next_batch(&self, batch: &mut Batch) -> bool {
        self.lock().fill(batch);
        !batch.is_empty()
    }

    /// Records that no batch has taken yet, oldest first, with the gap before them.
    pub(crate) fn records(&self) -> Vec<Arc<Entry>> {
        let inbox = self.lock();
        inbox
            .gap()
            .into_iter()
            .chain(inbox.records.iter().cloned())
            .collect()
    }

    pub(crate) fn has_writes(&self) -> bool {
        self.lock().has_writes()
    }

    /// Everything that is kept, for a file that has nothing of it.
    pub(crate) fn all_kept(&self, into: &mut BTreeMap<String, Kept>) {
        into.clone_from(&self.lock().kept);
    }

    /// The thread's last word: whoever waits for it or for an answer need not any longer.
    pub(crate) fn has_ended(&self) {
        let mut inbox = self.lock();
        inbox.closing = true;
        inbox.ended = true;
        inbox.asks.clear();
        drop(inbox);
        self.ended.notify_all();
    }
}
