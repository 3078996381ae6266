//! What is remembered of a service's runtimes, one small file for each service.

use super::listing::{Fingerprint, Glance, Listing};
use super::text;
use crate::act::dirs::state_dir::FILE_MODE;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
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
    /// Not used again until the source holds something else, the last one first.
    #[serde(default)]
    pub refused: Vec<Refusal>,
    /// Copied by a person: it is what the source holds, for as long as stayd itself cannot copy that.
    #[serde(default)]
    pub imported: Option<Fingerprint>,
    /// What was remembered before could not be read: any copy may be the only good one, until there is a good one again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// A runtime that is not to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which.
    pub fingerprint: Fingerprint,
    /// In words.
    pub why: String,
}

/// Why a service keeps a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is one of the newest.
    Newest,
    /// It is the last good one.
    Good,
    /// A person has brought it.
    Imported,
    /// It may be anything: what was remembered is lost.
    Unknown,
}

impl Record {
    /// The source holds `fingerprint`, and there is a copy of that: what was brought by hand is of the past, and so is
    /// what was refused, if this is something else.
    pub fn found(&mut self, source: &Path, fingerprint: &Fingerprint) {
        source.clone_into(&mut self.source);
        to_the_head(&mut self.used, fingerprint);
        self.imported = None;
        if !self.is_refused(fingerprint) {
            self.refused.clear();
        }
    }

    /// A person has brought `fingerprint`, whatever was thought of it before.
    pub fn import(&mut self, fingerprint: &Fingerprint) {
        self.imported = Some(fingerprint.clone());
        self.refused.retain(|one| one.fingerprint != *fingerprint);
    }

    /// The service became ready under `fingerprint`.
    pub fn praise(&mut self, fingerprint: &Fingerprint) {
        to_the_head(&mut self.good, fingerprint);
        self.lost = false;
    }

    /// `refusal` is not good any more, if it ever was.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.good.retain(|one| *one != refusal.fingerprint);
        self.refused
            .retain(|one| one.fingerprint != refusal.fingerprint);
        self.refused.insert(0, refusal);
        self.refused.truncate(REMEMBERED_MAX);
    }

    /// Whether `fingerprint` is not to be used.
    #[must_use]
    pub fn is_refused(&self, fingerprint: &Fingerprint) -> bool {
        self.refused
            .iter()
            .any(|one| one.fingerprint == *fingerprint)
    }

    /// Those under which it became ready and that may be used, the last one first.
    pub fn still_good(&self) -> impl Iterator<Item = &Fingerprint> {
        self.good.iter().filter(|one| !self.is_refused(one))
    }

    /// What the next life would begin with, as far as this tells.
    #[must_use]
    pub fn next(&self) -> Option<&Fingerprint> {
        let newest = self.used.first().filter(|one| !self.is_refused(one));
        newest.or_else(|| self.still_good().next())
    }

    /// Why the service keeps this one, if it does: it keeps the `keep` newest, the last good one, and what was brought by
    /// hand. A service that is not configured any more keeps 0, and with that nothing.
    #[must_use]
    pub fn keeps(&self, fingerprint: &Fingerprint, keep: usize) -> Option<Hold> {
        if keep == 0 {
            None
        } else if self.used.iter().take(keep).any(|one| one == fingerprint) {
            Some(Hold::Newest)
        } else if self.still_good().next() == Some(fingerprint) {
            Some(Hold::Good)
        } else if self.imported.as_ref() == Some(fingerprint) {
            Some(Hold::Imported)
        } else {
            self.lost.then_some(Hold::Unknown)
        }
    }
}

fn to_the_head(list: &mut Vec<Fingerprint>, fingerprint: &Fingerprint) {
    list.retain(|one| one != fingerprint);
    list.insert(0, fingerprint.clone());
    list.truncate(REMEMBERED_MAX);
}

/// The record of `service` in `dir`; an absent one is empty. Of one that cannot be read what the source held last is known
/// from elsewhere, and the rest is lost.
#[must_use]
pub fn read(dir: &Path, service: &str) -> Record {
    let text = fs::read(path(dir, service));
    if matches!(&text, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return Record::default();
    }
    let record = text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other));
    record.unwrap_or_else(|_| Record {
        used: source_glance(dir, service)
            .map(|(_, held)| held)
            .into_iter()
            .collect(),
        lost: true,
        ..Record::default()
    })
}

/// Where the record of `service` is, or would be.
#[must_use]
pub fn path(dir: &Path, service: &str) -> PathBuf {
    file(dir, service, RECORD)
}

/// The source of `service` is read as a whole when it is looked at next.
///
/// # Errors
/// What the disk says.
pub fn distrust_source(dir: &Path, service: &str) -> io::Result<()> {
    let Some(mut known) = source_listing(dir, service) else {
        return Ok(());
    };
    known.forget_bytes();
    keep_source_listing(dir, service, &known)
}

/// Replaces the record.
///
/// # Errors
/// What the disk says.
pub fn write(dir: &Path, service: &str, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    replace(&path(dir, service), &text)
}

/// How the source of `service` was when it was last read; none where that is not known.
#[must_use]
pub fn source_listing(dir: &Path, service: &str) -> Option<Listing> {
    text::read(&fs::read_to_string(file(dir, service, SOURCE)).ok()?)
}

/// By what the source of `service` is known at a glance, and its fingerprint.
#[must_use]
pub fn source_glance(dir: &Path, service: &str) -> Option<(Glance, Fingerprint)> {
    glance(&file(dir, service, SOURCE))
}

/// The same of the tree that the listing in `list` tells of.
pub(super) fn glance(list: &Path) -> Option<(Glance, Fingerprint)> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let mut list = File::open(list).ok()?;
    let bytes = list.metadata().ok()?.len();
    let mut beginning = (&list).take(text::HEAD_BYTES);
    beginning.read_to_end(&mut head).ok()?;
    let last = bytes.saturating_sub(text::TAIL_BYTES);
    list.seek(SeekFrom::Start(last)).ok()?;
    list.read_to_end(&mut tail).ok()?;
    // What comes behind the two lines may be cut anywhere, and so may what comes before the last.
    text::read_glance(
        &String::from_utf8_lossy(&head),
        &String::from_utf8_lossy(&tail),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_newest_the_last_good_and_what_was_brought_and_nothing_once_it_is_gone() {
        let [one, two, three, four] =
            ["1", "2", "3", "4"].map(|digit| Fingerprint::parse(&digit.repeat(40)).expect("one"));
        let mut record = Record::default();
        for each in [&one, &two, &three, &four] {
            record.found(Path::new("/s"), each);
        }
        record.praise(&one);
        record.praise(&two);
        record.import(&three);
        assert_eq!(record.keeps(&four, 1), Some(Hold::Newest));
        assert_eq!(record.keeps(&three, 2), Some(Hold::Newest));
        assert_eq!(record.keeps(&three, 1), Some(Hold::Imported));
        assert_eq!(record.keeps(&two, 1), Some(Hold::Good));
        assert_eq!(record.keeps(&one, 1), None);
        assert_eq!(record.keeps(&four, 0), None);
    }
}
