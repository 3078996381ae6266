//! What stayd stores about a service's runtimes: a record, and a listing of the source, each in a small file.

use super::listing::{Fingerprint, Listing, TreeStamp};
use super::listing_file;
use crate::act::dirs::state_dir::FILE_MODE;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Fingerprints kept in each list of a record. The configuration's `keep` is smaller.
const FINGERPRINTS_MAX: usize = 64;
/// Endings behind the service's name: of the record, and of the listing of its source.
const RECORD: &str = "json";
const SOURCE: &str = "source";
/// Ending of a file that is not yet renamed to its final name.
const UNFINISHED: &str = "new";

/// A service's runtimes. Stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRecord {
    /// The folder that they were copied from.
    pub source: PathBuf,
    /// The runtimes that were made or chosen for the service, the newest first.
    pub used: Vec<Fingerprint>,
    /// Runtimes under which the service became ready, the last one first.
    pub good: Vec<Fingerprint>,
    /// Bad runtimes: stayd does not use them again until the content of the source changes. The last one is first.
    #[serde(default)]
    pub refused: Vec<RefusedRuntime>,
    /// A runtime that the user copied. It counts as the content of the source until stayd itself can copy the source.
    #[serde(default)]
    pub imported: Option<Fingerprint>,
    /// The user that the service ran as when a copy was last made or chosen for it; none: the user of stayd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// An earlier record could not be read. Any copy may be the only good one, so none is removed until one is marked good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// A runtime that was marked bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRuntime {
    /// Which runtime.
    pub fingerprint: Fingerprint,
    /// The reason, for the user.
    pub why: String,
}

/// The rule by which a service keeps a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionRule {
    /// It is one of the newest.
    Newest,
    /// It is the last good one.
    LastGood,
    /// The user imported it.
    Imported,
    /// The record was lost, so it may be the only good one.
    Unknown,
}

impl RuntimeRecord {
    /// Notes that `source` has the content `fingerprint` and that a runtime with this content exists. This ends an import.
    /// If the content is not a refused one, the source has changed since, and all refusals end.
    pub(super) fn note_source(&mut self, source: &Path, fingerprint: &Fingerprint) {
        source.clone_into(&mut self.source);
        move_to_front(&mut self.used, fingerprint);
        self.imported = None;
        if !self.is_refused(fingerprint) {
            self.refused.clear();
        }
    }

    /// Notes that the user imported `fingerprint`, even if it was refused before.
    pub(super) fn import(&mut self, fingerprint: &Fingerprint) {
        self.imported = Some(fingerprint.clone());
        self.refused.retain(|one| one.fingerprint != *fingerprint);
    }

    /// Notes that the service became ready under `fingerprint`.
    pub(super) fn mark_good(&mut self, fingerprint: &Fingerprint) {
        move_to_front(&mut self.good, fingerprint);
        self.lost = false;
    }

    /// Notes that stayd must not use a runtime again; it is no longer good either.
    pub(super) fn mark_bad(&mut self, bad: RefusedRuntime) {
        self.good.retain(|one| *one != bad.fingerprint);
        self.refused
            .retain(|one| one.fingerprint != bad.fingerprint);
        self.refused.insert(0, bad);
        self.refused.truncate(FINGERPRINTS_MAX);
    }

    /// Whether `fingerprint` was marked bad.
    pub(super) fn is_refused(&self, fingerprint: &Fingerprint) -> bool {
        self.refused
            .iter()
            .any(|one| one.fingerprint == *fingerprint)
    }

    /// The runtimes that the service uses or has used; one may be named more than once.
    pub(super) fn known(&self) -> impl Iterator<Item = &Fingerprint> {
        let refused = self.refused.iter().map(|one| &one.fingerprint);
        let named = self.used.iter().chain(&self.good).chain(refused);
        named.chain(&self.imported)
    }

    /// The good runtimes that are not refused, the last one first.
    pub(super) fn usable_good(&self) -> impl Iterator<Item = &Fingerprint> {
        self.good.iter().filter(|one| !self.is_refused(one))
    }

    /// The runtime that the next instance would run from, according to this record.
    pub(super) fn next(&self) -> Option<&Fingerprint> {
        let newest = self.used.first().filter(|one| !self.is_refused(one));
        newest.or_else(|| self.usable_good().next())
    }

    /// The rule by which the service keeps `fingerprint`, if any. A service keeps its `keep` newest runtimes, the last good
    /// one and an imported one. `keep` is 0 for a service that is no longer configured; it keeps nothing.
    pub(super) fn retention_rule(
        &self,
        fingerprint: &Fingerprint,
        keep: usize,
    ) -> Option<RetentionRule> {
        if keep == 0 {
            None
        } else if self.used.iter().take(keep).any(|one| one == fingerprint) {
            Some(RetentionRule::Newest)
        } else if self.usable_good().next() == Some(fingerprint) {
            Some(RetentionRule::LastGood)
        } else if self.imported.as_ref() == Some(fingerprint) {
            Some(RetentionRule::Imported)
        } else {
            self.lost.then_some(RetentionRule::Unknown)
        }
    }
}

fn move_to_front(list: &mut Vec<Fingerprint>, fingerprint: &Fingerprint) {
    list.retain(|one| one != fingerprint);
    list.insert(0, fingerprint.clone());
    list.truncate(FINGERPRINTS_MAX);
}

/// The record of `service` in `dir`. Where the file does not exist, the record is empty. Where it cannot be read, the record
/// is marked as lost and contains only the last content of the source, taken from the listing of the source.
pub(super) fn read(dir: &Path, service: &str) -> RuntimeRecord {
    let text = fs::read(path(dir, service));
    if matches!(&text, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return RuntimeRecord::default();
    }
    let record = text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other));
    record.unwrap_or_else(|_| RuntimeRecord {
        used: read_source_stamp(dir, service)
            .map(|(_, fingerprint)| fingerprint)
            .into_iter()
            .collect(),
        lost: true,
        ..RuntimeRecord::default()
    })
}

/// The path of the record of `service`, whether it exists or not.
pub(super) fn path(dir: &Path, service: &str) -> PathBuf {
    file(dir, service, RECORD)
}

/// Replaces the record.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(dir: &Path, service: &str, record: &RuntimeRecord) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    replace_file(&path(dir, service), &text)
}

/// The listing of the source of `service` from when it was last read; `None` where there is none.
pub(super) fn read_source_listing(dir: &Path, service: &str) -> Option<Listing> {
    listing_file::read(&fs::read_to_string(file(dir, service, SOURCE)).ok()?)
}

/// The stamp and the fingerprint of the source of `service` from when it was last read; `None` where they are not known.
pub(super) fn read_source_stamp(dir: &Path, service: &str) -> Option<(TreeStamp, Fingerprint)> {
    listing_file::read_stamp_of(&file(dir, service, SOURCE))
}

/// Replaces the listing of the source of `service`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_source_listing(dir: &Path, service: &str, listing: &Listing) -> io::Result<()> {
    let text = listing_file::write(listing);
    replace_file(&file(dir, service, SOURCE), text.as_bytes())
}

/// Removes the hashes from the listing of the source, so that every file of the source is read the next time.
///
/// # Errors
/// The file cannot be written.
pub(super) fn forget_source_hashes(dir: &Path, service: &str) -> io::Result<()> {
    let Some(mut known) = read_source_listing(dir, service) else {
        return Ok(());
    };
    known.forget_hashes();
    write_source_listing(dir, service, &known)
}

/// The services that have a record in `dir`.
///
/// # Errors
/// The folder cannot be read. A folder that does not exist contains none.
pub(super) fn services(dir: &Path) -> io::Result<Vec<String>> {
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

fn file(dir: &Path, service: &str, ending: &str) -> PathBuf {
    dir.join(format!("{service}.{ending}"))
}

/// Replaces a file atomically: a reader finds the old content or the new content, even after a power failure.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{UNFINISHED}"));
    let unfinished = PathBuf::from(unfinished);
    let written = write_new(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    written.inspect_err(|_| {
        // An incomplete file would only use space on a full disk.
        drop(fs::remove_file(&unfinished));
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_newest_the_last_good_and_an_imported_runtime_and_nothing_with_keep_0() {
        let [one, two, three, four] =
            ["1", "2", "3", "4"].map(|digit| Fingerprint::parse(&digit.repeat(40)).expect("one"));
        let mut record = RuntimeRecord::default();
        for each in [&one, &two, &three, &four] {
            record.note_source(Path::new("/s"), each);
        }
        record.mark_good(&one);
        record.mark_good(&two);
        record.import(&three);
        assert_eq!(record.retention_rule(&four, 1), Some(RetentionRule::Newest));
        assert_eq!(
            record.retention_rule(&three, 2),
            Some(RetentionRule::Newest)
        );
        assert_eq!(
            record.retention_rule(&three, 1),
            Some(RetentionRule::Imported)
        );
        assert_eq!(
            record.retention_rule(&two, 1),
            Some(RetentionRule::LastGood)
        );
        assert_eq!(record.retention_rule(&one, 1), None);
        assert_eq!(record.retention_rule(&four, 0), None);
    }
}
