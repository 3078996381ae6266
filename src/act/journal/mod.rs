//! The journal: every decision with its facts, incidents with their evidence, and the wishes that outlive stayd.
//!
//! Telling it something never waits: what is told goes into a bounded inbox, from which a thread of its own writes
//! bursts in one transaction. A disk that refuses costs nothing but memory within that bound; what is lost beyond it is
//! counted. A file that is damaged is set aside and another one begun.

mod disk;
mod entry;
mod inbox;
mod past;
mod rows;
mod writer;

pub use disk::SCHEMA;
pub use entry::{Entry, Incident, LOST, Query};
pub use inbox::WAITING_MAX;
pub use past::Past;
pub use rows::EVENTS_MAX;

use crate::act::dirs::state_dir::StateDir;
use crate::decide::action::{Persist, Record};
use crate::sys::{clock, signal};
use entry::{Evidence, to_millis};
use inbox::Shared;
use past::Kept;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};
use tokio::time::timeout;
use writer::{Ask, Found, Reply, Writer};

/// The thread's stack; SQLite needs a few dozen KiB of it.
const STACK_BYTES: usize = 256 * 1024;
/// How long the start waits for the disk; then it goes on without a past.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a person who wishes something waits for the disk.
const SAVE_WITHIN: Duration = Duration::from_secs(2);
/// How long the end waits for the disk.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The journal's handle; clones are the same journal. It closes when the last one goes, or by [`Store::close`].
#[derive(Clone, Debug)]
pub struct Store {
    owner: Arc<Owner>,
}

/// Closes the inbox when the last handle goes.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    boot_id: String,
}

impl Store {
    /// Opens the journal of `state` and reads what a stayd before this one left; `boot_id` is this boot's.
    ///
    /// Never fails: a damaged file is set aside, and with a disk that refuses or hangs the journal begins in memory.
    #[must_use]
    pub fn open(state: &StateDir, boot_id: &str) -> (Self, Past) {
        let shared = Arc::new(Shared::new());
        let found = begin(&shared, state.journal());
        let mut inbox = shared.lock();
        inbox.next_id = found.next_id;
        inbox.kept.clone_from(&found.kept);
        drop(inbox);
        let boot_id = boot_id.to_owned();
        let past = Past {
            kept: found.kept,
            boot_id: boot_id.clone(),
        };
        let owner = Arc::new(Owner { shared, boot_id });
        (Self { owner }, past)
    }

    /// Records `record` about `service` (none: about stayd itself) and tells it to the subscribers. Never waits.
    pub fn record(&self, service: Option<&str>, record: &Record) {
        let at = clock::sample().wall;
        let mut inbox = self.shared().lock();
        let entry = Arc::new(Entry::new(inbox.next_id, at, service, record));
        inbox.push(Arc::clone(&entry));
        // Sent under the lock, so that subscribers see ids in their order.
        let _nobody_listens = self.shared().news.send(entry);
        drop(inbox);
        self.shared().work.notify_one();
    }

    /// Every record from now on; a receiver that lags is told so and can ask for what it missed.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.shared().news.subscribe()
    }

    /// The id of the last record; what is recorded from now on has a higher one.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.shared().lock().next_id.saturating_sub(1)
    }

    /// Remembers `keep` of `service`, whose probe, query, command and program are `proof_key`. Never waits.
    pub fn keep(&self, service: &str, proof_key: &str, keep: &Persist) {
        let now = clock::sample().wall;
        self.touch(service, |kept| {
            kept.take(proof_key, keep, &self.owner.boot_id, now);
        });
    }

    /// Remembers that `service` has come to this life. Never waits.
    pub fn life_began(&self, service: &str, life: u32) {
        self.touch(service, |kept| kept.last_life = kept.last_life.max(life));
    }

    /// Returns when everything that was told before is on disk, where it outlives a SIGKILL of this process.
    ///
    /// # Errors
    /// Why it is not there yet: the disk refuses, or does not answer within two seconds. It is written when the disk
    /// takes it.
    pub async fn saved(&self) -> Result<(), String> {
        let (reply, saved) = oneshot::channel();
        self.shared().enqueue(Ask::Save(reply))?;
        in_time(SAVE_WITHIN, saved).await?
    }

    /// Attaches what was seen to the last kill, or wedge, of this life, whichever is told first. Never waits.
    pub fn evidence(&self, service: &str, life: u32, summary: String, text: String) {
        let evidence = Evidence::new(service, life, summary, text);
        self.shared().lock().attach(evidence);
        self.shared().work.notify_one();
    }

    /// The newest entries that match `query`, oldest first, also those that are not on disk yet.
    ///
    /// # Errors
    /// "cannot read the journal: …": the disk refuses, or does not answer in time.
    pub async fn events(&self, query: Query) -> Result<Vec<Entry>, String> {
        self.ask(|reply| Ask::Events(query, reply)).await
    }

    /// The newest `limit` incidents, oldest first, without the text of their evidence.
    ///
    /// # Errors
    /// As [`Store::events`].
    pub async fn incidents(&self, limit: usize) -> Result<Vec<Incident>, String> {
        self.ask(|reply| Ask::Incidents(limit, reply)).await
    }

    /// One incident with its evidence; none when `id` is no incident or is no longer kept.
    ///
    /// # Errors
    /// As [`Store::events`].
    pub async fn incident(&self, id: u64) -> Result<Option<Incident>, String> {
        self.ask(|reply| Ask::Incident(id, reply)).await
    }

    /// Writes what there is, closes the file and ends the thread; waits for it at most two seconds. Later calls
    /// do nothing, and what is recorded later is only told to the subscribers.
    pub fn close(&self) {
        let shared = self.shared();
        let mut inbox = shared.lock();
        inbox.closing = true;
        shared.work.notify_one();
        let (inbox, waited) = shared
            .ended
            .wait_timeout_while(inbox, CLOSE_WITHIN, |inbox| !inbox.ended)
            .unwrap_or_else(PoisonError::into_inner);
        drop(inbox);
        if waited.timed_out() {
            tracing::warn!(
                "cannot close the journal: the disk did not answer within {} s; the last records may be lost",
                CLOSE_WITHIN.as_secs()
            );
        }
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    fn touch(&self, service: &str, change: impl FnOnce(&mut Kept)) {
        let now_ms = to_millis(clock::sample().wall);
        change(self.shared().lock().touch(service, now_ms));
        self.shared().work.notify_one();
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let unread = |why| format!("cannot read the journal: {why}");
        self.shared().enqueue(ask(reply)).map_err(unread)?;
        in_time(ANSWER_WITHIN, answer).await.map_err(unread)?
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
    }
}

/// The thread's answer; or why there is none.
async fn in_time<T>(within: Duration, answer: oneshot::Receiver<T>) -> Result<T, String> {
    match timeout(within, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_closed)) => Err("stayd is ending".to_owned()),
        Err(_late) => Err(format!(
            "the disk did not answer within {} s",
            within.as_secs()
        )),
    }
}

/// Starts the thread and waits for what it found; without it the journal begins with nothing.
fn begin(shared: &Arc<Shared>, path: PathBuf) -> Found {
    let (tell, found) = mpsc::sync_channel(1);
    let named = path.clone();
    let writer = Writer::new(Arc::clone(shared), path);
    let ending = Arc::clone(shared);
    let spawned = thread::Builder::new()
        .name("journal".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            signal::block_all(); // they are for the loop
            writer.run(&tell);
            ending.has_ended();
        });
    let why = match spawned {
        Err(error) => {
            shared.has_ended();
            error.to_string()
        }
        Ok(_detached) => match found.recv_timeout(OPEN_WITHIN) {
            Ok(found) => return found,
            Err(_late) => format!("the disk did not answer within {} s", OPEN_WITHIN.as_secs()),
        },
    };
    tracing::warn!(
        "cannot open the journal {}: {why}; supervision goes on without what an earlier run has kept",
        named.display()
    );
    Found::nothing()
}
