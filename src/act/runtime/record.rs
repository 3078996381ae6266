//! What is remembered of a service's runtimes, one small file for each service.

use super::listing::{Fingerprint, Listing};
use super::text;
use crate::act::state_dir::FILE_MODE;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Fingerprints remembered for a service; `keep` asks for fewer.
const REMEMBERED_MAX: usize = 64;
/// Behind the service's name: the record, and the listing of its source.
const RECORD: &str = "json";
const SOURCE: &str = "source";
/// Behind what is not yet in its place.
const UNDER_WAY: &str = "new";

/// A service's runtimes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where they were copied from.
    pub source: PathBuf,
    /// Those that were made or chosen for it, the newest first.
    pub used: Vec<Fingerprint>,
    /// Those of them under which it became ready, the last one first.
    pub good: Vec<Fingerprint>,
    /// Not used again until the source holds something else.
    pub refused: Option<Refusal>,
}

/// A runtime that is not to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which.
    pub fingerprint: Fingerprint,
    /// In words.
    pub why: String,
}

impl Record {
    /// Puts `fingerprint` at the head of those that were used.
    pub fn use_now(&mut self, fingerprint: &Fingerprint) {
        to_the_head(&mut self.used, fingerprint);
    }

    /// The service became ready under `fingerprint`.
    pub fn praise(&mut self, fingerprint: &Fingerprint) {
        to_the_head(&mut self.good, fingerprint);
    }

    /// The last one under which it became ready, other than `not`.
    #[must_use]
    pub fn last_good_but(&self, not: Option<&Fingerprint>) -> Option<&Fingerprint> {
        self.good.iter().find(|one| Some(*one) != not)
    }

    /// Whether `keep` of them keep this one: the newest, and always the last good one.
    #[must_use]
    pub fn keeps(&self, fingerprint: &Fingerprint, keep: usize) -> bool {
        let newest = self.used.iter().take(keep.max(1));
        let good = self.last_good_but(self.refused.as_ref().map(|refusal| &refusal.fingerprint));
        newest.chain(good).any(|one| one == fingerprint)
    }
}

fn to_the_head(list: &mut Vec<Fingerprint>, fingerprint: &Fingerprint) {
    list.retain(|one| one != fingerprint);
    list.insert(0, fingerprint.clone());
    list.truncate(REMEMBERED_MAX);
}

/// The record of `service` in `dir`; an absent or torn one is empty, for everything in it can be found out again.
#[must_use]
pub fn read(dir: &Path, service: &str) -> Record {
    let text = fs::read(file(dir, service, RECORD)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Replaces the record.
///
/// # Errors
/// What the disk says.
pub fn write(dir: &Path, service: &str, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    replace(&file(dir, service, RECORD), &text)
}

/// How the source of `service` was when it was last read; none where that is not known.
#[must_use]
pub fn source_listing(dir: &Path, service: &str) -> Option<Listing> {
    text::read(&fs::read_to_string(file(dir, service, SOURCE)).ok()?)
}

/// Remembers how the source was.
///
/// # Errors
/// What the disk says.
pub fn keep_source_listing(dir: &Path, service: &str, listing: &Listing) -> io::Result<()> {
    replace(&file(dir, service, SOURCE), text::write(listing).as_bytes())
}

/// The services that have a record in `dir`.
///
/// # Errors
/// When the folder cannot be read; one that is not there has none.
pub fn services(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut services = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let service = name.to_str().and_then(|name| name.strip_suffix(".json"));
        services.extend(service.map(str::to_owned));
    }
    services.sort_unstable();
    Ok(services)
}

fn file(dir: &Path, service: &str, kind: &str) -> PathBuf {
    dir.join(format!("{service}.{kind}"))
}

/// Whoever opens it finds the old one or the new one; after a power loss too.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut spare = path.as_os_str().to_owned();
    spare.push(format!(".{UNDER_WAY}"));
    let spare = PathBuf::from(spare);
    let written = write_new(&spare, bytes).and_then(|()| fs::rename(&spare, path));
    written.inspect_err(|_| {
        // A half-written file would only take room on a full disk.
        drop(fs::remove_file(&spare));
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut made: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)?;
    made.write_all(bytes)?;
    made.sync_all()
}
