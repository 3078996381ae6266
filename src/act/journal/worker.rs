//! The journal's thread: the only thread that accesses the database. It writes batches, answers requests, and sleeps
//! when there is nothing to do.

use super::database::{self, Database, JournalError};
use super::entry::{EventQuery, Incident, JournalEntry, to_millis};
use super::persisted_state::StateRow;
use super::queue::{BATCH_MAX, Batch, JournalRequest, QUEUED_RECORDS_MAX, SharedQueue};
use crate::sys::clock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The pause after the first failed write.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between later attempts.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What the thread read when it opened the database.
#[derive(Debug)]
pub(crate) struct LoadedState {
    pub(crate) next_id: u64,
    pub(crate) states: BTreeMap<String, StateRow>,
}

impl LoadedState {
    /// Nothing could be read. Ids continue at the current time in milliseconds, which no count of records has reached,
    /// because clients may have seen the ids of records that are lost.
    pub(crate) fn empty() -> Self {
        Self {
            next_id: u64::try_from(to_millis(clock::sample().wall)).unwrap_or(1),
            states: BTreeMap::new(),
        }
    }
}

/// The state of the journal's thread.
pub(crate) struct JournalWorker {
    queue: Arc<SharedQueue>,
    path: PathBuf,
    database: Option<Database>,
    /// Taken from the queue and not written yet.
    unwritten: Batch,
    /// Set while writing fails.
    backoff: Option<WriteBackoff>,
}

/// The pause after a failed write.
struct WriteBackoff {
    /// The last error.
    cause: String,
    pause: Duration,
    /// The time of the next attempt, in awake time.
    retry_at: Duration,
}

impl WriteBackoff {
    fn time_left(&self) -> Duration {
        self.retry_at.saturating_sub(clock::sample().awake)
    }

    fn is_due(&self) -> bool {
        self.time_left().is_zero()
    }
}

impl JournalWorker {
    pub(crate) fn new(queue: Arc<SharedQueue>, path: PathBuf) -> Self {
        Self {
            queue,
            path,
            database: None,
            unwritten: Batch::default(),
            backoff: None,
        }
    }

    /// The thread's main function: opens the database, sends what it read to `loaded`, then writes and answers requests
    /// until the journal closes.
    pub(crate) fn run(mut self, loaded: &mpsc::SyncSender<LoadedState>) {
        // If the receiver has stopped waiting, it has no use for what was read.
        let _no_receiver = loaded.send(self.load());
        loop {
            let pause = self.backoff.as_ref().map(WriteBackoff::time_left);
            let work = self.queue.wait_for_work(pause, &mut self.unwritten);
            if work.is_closing || self.backoff.as_ref().is_none_or(WriteBackoff::is_due) {
                self.write_batch();
            }
            for request in work.requests {
                self.answer(request);
            }
            if work.is_closing && (self.backoff.is_some() || !self.queue.has_writes()) {
                break;
            }
        }
        self.close();
    }

    fn load(&mut self) -> LoadedState {
        let opened = match Database::open(&self.path).and_then(read_state) {
            Err(JournalError::Damaged(why)) => {
                self.replace_damaged(&why).map(|database| (database, None))
            }
            opened => opened.map(|(database, loaded)| (database, Some(loaded))),
        };
        match opened {
            Ok((database, loaded)) => {
                self.database = Some(database);
                loaded.unwrap_or_else(LoadedState::empty)
            }
            Err(error) => {
                self.write_failed(&error);
                LoadedState::empty()
            }
        }
    }

    /// Renames the damaged file and creates a new database.
    fn replace_damaged(&self, why: &str) -> Result<Database, JournalError> {
        let aside = database::set_aside(&self.path)?;
        tracing::warn!(
            "cannot read the journal {}: {why}; stayd keeps it as {}, begins a new one, and forgets stops and holds",
            self.path.display(),
            aside.display()
        );
        Database::open(&self.path)
    }

    /// Writes the unwritten batch. A failure is logged once, and the write is tried again later.
    fn write_batch(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        match self.try_write() {
            Ok(()) => self.write_succeeded(),
            Err(error) => self.write_failed(&error),
        }
    }

    fn try_write(&mut self) -> Result<(), JournalError> {
        // Close the old database before opening a new one: closing it unlinks the write-ahead log beside its path.
        let is_lost = self
            .database
            .take_if(|database| !database.is_at(&self.path))
            .is_some();
        if is_lost {
            tracing::warn!(
                "the journal {} was deleted or replaced; stayd begins a new one",
                self.path.display()
            );
            self.queue.copy_all_states(&mut self.unwritten.states);
        }
        let mut database = match self.database.take() {
            Some(database) => database,
            None => self.open_again()?,
        };
        let mut result = database.write(&self.unwritten);
        if let Err(JournalError::Damaged(why)) = &result {
            drop(database);
            database = self.replace_damaged(why)?;
            self.queue.copy_all_states(&mut self.unwritten.states);
            result = database.write(&self.unwritten);
        }
        self.database = Some(database);
        result
    }

    fn open_again(&mut self) -> Result<Database, JournalError> {
        match Database::open(&self.path) {
            Err(JournalError::Damaged(why)) => self.replace_damaged(&why),
            opened => opened,
        }
    }

    /// Writes everything that is queued, in as many batches as it takes.
    fn flush(&mut self) -> Result<(), String> {
        for _ in 0..=QUEUED_RECORDS_MAX / BATCH_MAX {
            self.write_batch();
            if let Some(backoff) = &self.backoff {
                return Err(backoff.cause.clone());
            }
            if !self.queue.fill_batch(&mut self.unwritten) {
                break;
            }
        }
        Ok(())
    }

    fn write_succeeded(&mut self) {
        self.unwritten = Batch::default();
        if self.backoff.take().is_some() {
            tracing::info!("stayd can write the journal again");
        }
    }

    fn write_failed(&mut self, error: &JournalError) {
        let pause = match &self.backoff {
            // This attempt came from a flush request before the next regular one.
            Some(backoff) if !backoff.is_due() => backoff.pause,
            Some(backoff) => (backoff.pause * 2).min(RETRY_MAX),
            None => {
                tracing::warn!(
                    "cannot write the journal {}: {error}; supervision continues, and stayd holds records in memory until \
                     it can write them",
                    self.path.display()
                );
                RETRY_FIRST
            }
        };
        self.backoff = Some(WriteBackoff {
            cause: error.to_string(),
            pause,
            retry_at: clock::sample().awake + pause,
        });
    }

    /// Answers `request`. A closed channel is ignored: the caller no longer waits for the answer.
    fn answer(&mut self, request: JournalRequest) {
        match request {
            JournalRequest::Flush(reply) => drop(reply.send(self.flush())),
            JournalRequest::Events(query, reply) => drop(reply.send(self.events(&query))),
            JournalRequest::Incidents(limit, reply) => drop(reply.send(self.incidents(limit))),
            JournalRequest::Incident(id, reply) => drop(reply.send(self.incident(id))),
        }
        if let Some(database) = &self.database {
            database.shrink();
        }
    }

    fn events(&self, query: &EventQuery) -> Result<Vec<JournalEntry>, String> {
        let mut events = self.read_database(|database| database.events(query))?;
        let unwritten = self.unwritten_entries().into_iter();
        events.extend(unwritten.filter(|entry| query.matches(entry)).map(owned));
        keep_newest(&mut events, query.limit);
        Ok(events)
    }

    fn incidents(&self, limit: usize) -> Result<Vec<Incident>, String> {
        let mut incidents = self.read_database(|database| database.incidents(limit))?;
        incidents.extend(self.unwritten_incidents().map(|incident| Incident {
            evidence: None,
            ..incident
        }));
        keep_newest(&mut incidents, limit);
        Ok(incidents)
    }

    fn incident(&self, id: u64) -> Result<Option<Incident>, String> {
        let mut unwritten = self.unwritten_incidents();
        if let Some(found) = unwritten.find(|incident| incident.entry.id == id) {
            return Ok(Some(found));
        }
        self.read_database(|database| database.incident(id))
    }

    /// Reads from the database. While no database is open, returns an empty answer, because all records are in memory.
    fn read_database<T: Default>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, JournalError>,
    ) -> Result<T, String> {
        let answer = self.database.as_ref().map(read).transpose();
        answer
            .map(Option::unwrap_or_default)
            .map_err(|error| format!("cannot read the journal {}: {error}", self.path.display()))
    }

    fn unwritten_entries(&self) -> Vec<Arc<JournalEntry>> {
        let mut entries = self.unwritten.entries.clone();
        entries.extend(self.queue.records());
        entries
    }

    fn unwritten_incidents(&self) -> impl Iterator<Item = Incident> {
        let entries = self.unwritten_entries().into_iter();
        entries.filter(|entry| entry.is_incident()).map(|entry| {
            let mut evidence = self.unwritten.evidence.iter().rev();
            let evidence = evidence.find(|evidence| evidence.is_of(&entry));
            Incident {
                evidence_summary: evidence.map(|evidence| evidence.summary.clone()),
                evidence: evidence.map(|evidence| evidence.text.clone()),
                entry: owned(entry),
            }
        })
    }

    fn close(self) {
        let lost = self.unwritten_entries().len();
        if lost > 0 {
            tracing::warn!(
                "{lost} records lost: stayd could not write them to the journal before it ended"
            );
        }
        if let Some(Err(error)) = self.database.map(Database::close) {
            tracing::warn!("cannot close the journal: {error}; the next start recovers it");
        }
    }
}

fn read_state(database: Database) -> Result<(Database, LoadedState), JournalError> {
    let loaded = LoadedState {
        next_id: database.last_id()? + 1,
        states: database.states()?,
    };
    Ok((database, loaded))
}

fn owned(entry: Arc<JournalEntry>) -> JournalEntry {
    Arc::unwrap_or_clone(entry)
}

/// Removes the oldest elements beyond `limit`.
fn keep_newest<T>(found: &mut Vec<T>, limit: usize) {
    found.drain(..found.len().saturating_sub(limit));
}
