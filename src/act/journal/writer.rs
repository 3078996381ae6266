//! The journal's thread: the only one that touches the disk, asleep as long as there is nothing to do.

use super::Shared;
use super::WAITING_MAX;
use super::disk::{self, Batch, Disk, Trouble};
use super::entry::{Entry, Incident, Query, to_millis};
use super::past::Kept;
use crate::sys::clock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// After the first refusal of the disk.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Between later attempts at most.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Most records in one transaction.
pub(crate) const BATCH_MAX: usize = 256;

/// A question to the thread, and where its answer goes.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Write everything that was told before, also while the disk is given a pause.
    Save(Reply<()>),
    Events(Query, Reply<Vec<Entry>>),
    Incidents(usize, Reply<Vec<Incident>>),
    Incident(u64, Reply<Option<Incident>>),
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, String>>;

/// What the thread found when it opened the file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) next_id: u64,
    pub(crate) kept: BTreeMap<String, Kept>,
}

impl Found {
    /// Nothing could be read. Ids go on where counting has never come, for somebody may have seen the lost ones.
    pub(crate) fn nothing() -> Self {
        Self {
            next_id: u64::try_from(to_millis(clock::sample().wall)).unwrap_or(1),
            kept: BTreeMap::new(),
        }
    }
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    disk: Option<Disk>,
    /// Taken from the inbox and not yet on disk.
    unwritten: Batch,
    /// The pause before the next attempt; none while the disk takes what it is given.
    refused: Option<Refused>,
}

/// The disk does not take anything.
struct Refused {
    /// What it said last.
    why: String,
    pause: Duration,
    /// In awake time.
    again_at: Duration,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, path: PathBuf) -> Self {
        Self {
            shared,
            path,
            disk: None,
            unwritten: Batch::default(),
            refused: None,
        }
    }

    /// The thread's whole life: opens, tells what it found, then writes and answers until it is told to close.
    pub(crate) fn run(mut self, found: &mpsc::SyncSender<Found>) {
        // The opener may have given up waiting; then what was found is of no use to it.
        let _given_up = found.send(self.begin());
        loop {
            let pause = self.refused.as_ref().map(Refused::left);
            let work = self.shared.wait_for_work(pause, &mut self.unwritten);
            if work.closing
                || self
                    .refused
                    .as_ref()
                    .is_none_or(|refused| refused.left().is_zero())
            {
                self.flush();
            }
            for ask in work.asks {
                self.answer(ask);
            }
            if work.closing && (self.refused.is_some() || !self.shared.has_writes()) {
                break;
            }
        }
        self.end();
    }

    fn begin(&mut self) -> Found {
        let opened = match Disk::open(&self.path).and_then(read_past) {
            Err(Trouble::Damaged(why)) => self.replace(&why).map(|disk| (disk, None)),
            opened => opened.map(|(disk, found)| (disk, Some(found))),
        };
        match opened {
            Ok((disk, found)) => {
                self.disk = Some(disk);
                found.unwrap_or_else(Found::nothing)
            }
            Err(trouble) => {
                self.refuse(&trouble);
                Found::nothing()
            }
        }
    }

    /// Sets the damaged file aside and begins another.
    fn replace(&self, why: &str) -> Result<Disk, Trouble> {
        let aside = disk::set_aside(&self.path)?;
        tracing::warn!(
            "cannot read the journal {}: {why}; it is kept as {}, a new one is begun, stops and holds are forgotten",
            self.path.display(),
            aside.display()
        );
        Disk::open(&self.path)
    }

    /// Writes what there is to write; a refusal is said once and tried again later.
    fn flush(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        match self.write() {
            Ok(()) => self.written(),
            Err(trouble) => self.refuse(&trouble),
        }
    }

    fn write(&mut self) -> Result<(), Trouble> {
        // The old one is closed before another is opened: closing it unlinks the log beside its path.
        let lost = self.disk.take_if(|disk| !disk.is_at(&self.path)).is_some();
        if lost {
            tracing::warn!(
                "the journal {} was deleted or replaced; a new one is begun",
                self.path.display()
            );
            self.shared.all_kept(&mut self.unwritten.kept);
        }
        let mut disk = match self.disk.take() {
            Some(disk) => disk,
            None => self.open_late()?,
        };
        let mut result = disk.write(&self.unwritten);
        if let Err(Trouble::Damaged(why)) = &result {
            drop(disk);
            disk = self.replace(why)?;
            self.shared.all_kept(&mut self.unwritten.kept);
            result = disk.write(&self.unwritten);
        }
        self.disk = Some(disk);
        result
    }

    fn open_late(&mut self) -> Result<Disk, Trouble> {
        match Disk::open(&self.path) {
            Err(Trouble::Damaged(why)) => self.replace(&why),
            opened => opened,
        }
    }

    /// Writes all that there is, however many batches that are.
    fn save(&mut self) -> Result<(), String> {
        for _ in 0..=WAITING_MAX / BATCH_MAX {
            self.flush();
            if let Some(refused) = &self.refused {
                return Err(refused.why.clone());
            }
            if !self.shared.next_batch(&mut self.unwritten) {
                break;
            }
        }
        Ok(())
    }

    fn written(&mut self) {
        self.unwritten = Batch::default();
        if self.refused.take().is_some() {
            tracing::info!("the journal is written again");
        }
    }

    fn refuse(&mut self, trouble: &Trouble) {
        let pause = match &self.refused {
            // Somebody asked for it between two attempts.
            Some(refused) if !refused.left().is_zero() => refused.pause,
            Some(refused) => (refused.pause * 2).min(RETRY_MAX),
            None => {
                tracing::warn!(
                    "cannot write the journal {}: {trouble}; supervision goes on, records are held in memory and \
                     written when the disk takes them",
                    self.path.display()
                );
                RETRY_FIRST
            }
        };
        self.refused = Some(Refused {
            why: trouble.to_string(),
            pause,
            again_at: clock::sample().awake + pause,
        });
    }

    /// Somebody who no longer waits for an answer is no trouble.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Save(reply) => drop(reply.send(self.save())),
            Ask::Events(query, reply) => drop(reply.send(self.events(&query))),
            Ask::Incidents(limit, reply) => drop(reply.send(self.incidents(limit))),
            Ask::Incident(id, reply) => drop(reply.send(self.incident(id))),
        }
        if let Some(disk) = &self.disk {
            disk.shrink();
        }
    }

    fn events(&self, query: &Query) -> Result<Vec<Entry>, String> {
        let mut events = self.ask_disk(|disk| disk.events(query))?;
        let unwritten = self.in_memory().into_iter();
        events.extend(unwritten.filter(|entry| query.matches(entry)).map(owned));
        keep_newest(&mut events, query.limit);
        Ok(events)
    }

    fn incidents(&self, limit: usize) -> Result<Vec<Incident>, String> {
        let mut incidents = self.ask_disk(|disk| disk.incidents(limit))?;
        incidents.extend(self.incidents_in_memory().map(|incident| Incident {
            evidence: None,
            ..incident
        }));
        keep_newest(&mut incidents, limit);
        Ok(incidents)
    }

    fn incident(&self, id: u64) -> Result<Option<Incident>, String> {
        let mut in_memory = self.incidents_in_memory();
        if let Some(found) = in_memory.find(|incident| incident.entry.id == id) {
            return Ok(Some(found));
        }
        self.ask_disk(|disk| disk.incident(id))
    }

    /// The disk's answer; nothing while there is no disk, for then all there is is in memory.
    fn ask_disk<T: Default>(
        &self,
        ask: impl FnOnce(&Disk) -> Result<T, Trouble>,
    ) -> Result<T, String> {
        let answer = self.disk.as_ref().map(ask).transpose();
        answer.map(Option::unwrap_or_default).map_err(|trouble| {
            format!("cannot read the journal {}: {trouble}", self.path.display())
        })
    }

    fn in_memory(&self) -> Vec<Arc<Entry>> {
        let mut entries = self.unwritten.entries.clone();
        entries.extend(self.shared.records());
        entries
    }

    fn incidents_in_memory(&self) -> impl Iterator<Item = Incident> {
        let entries = self.in_memory().into_iter();
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

    fn end(self) {
        let lost = self.in_memory().len();
        if lost > 0 {
            tracing::warn!("{lost} records lost: the disk did not take them before the end");
        }
        if let Some(Err(trouble)) = self.disk.map(Disk::close) {
            tracing::warn!("cannot close the journal: {trouble}; the next start recovers it");
        }
    }
}

impl Refused {
    fn left(&self) -> Duration {
        self.again_at.saturating_sub(clock::sample().awake)
    }
}

fn read_past(disk: Disk) -> Result<(Disk, Found), Trouble> {
    let found = Found {
        next_id: disk.last_id()? + 1,
        kept: disk.kept()?,
    };
    Ok((disk, found))
}

fn owned(entry: Arc<Entry>) -> Entry {
    Arc::unwrap_or_clone(entry)
}

/// Drops the oldest beyond `limit`.
fn keep_newest<T>(found: &mut Vec<T>, limit: usize) {
    found.drain(..found.len().saturating_sub(limit));
}
