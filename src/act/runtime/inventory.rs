//! The copies in the cache, and the services and processes that use them: for `stayd runtime ls` and for the garbage
//! collection.

use super::cache::{ALTERED, Cache};
use super::listing::Fingerprint;
use super::{record, walk};
use crate::act::claims::{self, Claim, ClaimOnDisk};
use crate::sys::process;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A copy in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryItem {
    /// Its path.
    pub place: PathBuf,
    /// Its fingerprint; `None` for one that was altered and renamed.
    pub fingerprint: Option<Fingerprint>,
    /// Its files and bytes when it was made; `None` where that is not known.
    pub size: Option<(usize, u64)>,
    /// When it was made, if the file system records it.
    pub made_at: Option<SystemTime>,
    /// The services that use it or have used it.
    pub uses: Vec<ServiceUse>,
    /// Processes that run from it, have their working directory in it, or have mapped a file of it.
    pub pids: Vec<i32>,
}

/// How a service uses a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUse {
    /// The name of the service.
    pub service: String,
    /// The instance that runs now was started from it.
    pub running: bool,
    /// It is the last one that was made for the service.
    pub newest: bool,
    /// The service became ready under it.
    pub good: bool,
    /// The user imported it, and stayd has not been able to copy the source since.
    pub imported: bool,
    /// Why it is refused, if it is.
    pub refused: Option<String>,
}

impl Cache {
    /// All copies, the newest first. `reported` are the runtimes that services run from according to the stayd that runs them;
    /// they override the claims, because only the user of that stayd can trust its claims. Changes nothing, and takes no lock.
    ///
    /// # Errors
    /// A folder or the processes cannot be read. A folder that does not exist is empty.
    pub fn inventory(
        &self,
        state: &Path,
        reported: BTreeMap<String, Fingerprint>,
    ) -> io::Result<Vec<InventoryItem>> {
        let mut running = running(state)?;
        running.extend(reported);
        let uses = self.uses(&running)?;
        let mut places = self.altered_copies()?;
        let named = self.all()?.into_iter();
        places.extend(named.map(|one| (self.path(&one), Some(one))));
        let processes = if places.is_empty() {
            UsingProcesses::default()
        } else {
            UsingProcesses::find(&self.dir)?
        };
        let item = |(place, fingerprint): (PathBuf, Option<Fingerprint>)| InventoryItem {
            size: fingerprint
                .as_ref()
                .and_then(|one| self.manifest(one))
                .map(|manifest| manifest.size()),
            made_at: made_at(&place),
            uses: fingerprint
                .as_ref()
                .and_then(|one| uses.get(one))
                .cloned()
                .unwrap_or_default(),
            pids: processes.of(&place),
            place,
            fingerprint,
        };
        let mut items: Vec<InventoryItem> = places.into_iter().map(item).collect();
        items.sort_by(|one, two| {
            two.made_at
                .cmp(&one.made_at)
                .then(one.place.cmp(&two.place))
        });
        Ok(items)
    }

    /// The copies that were altered and renamed.
    pub(super) fn altered_copies(&self) -> io::Result<Vec<(PathBuf, Option<Fingerprint>)>> {
        let mut names = self.names()?;
        names.retain(|name| name.starts_with(ALTERED));
        Ok(names
            .into_iter()
            .map(|name| (self.dir.join(name), None))
            .collect())
    }

    fn uses(
        &self,
        running: &BTreeMap<String, Fingerprint>,
    ) -> io::Result<BTreeMap<Fingerprint, Vec<ServiceUse>>> {
        let mut all: BTreeMap<Fingerprint, Vec<ServiceUse>> = BTreeMap::new();
        for service in record::services(&self.services())? {
            let record = self.record(&service);
            let runs = running.get(&service);
            let refused = record.refused.iter().map(|one| &one.fingerprint);
            let mut known: Vec<_> = record
                .used
                .iter()
                .chain(&record.good)
                .chain(refused)
                .collect();
            known.extend(runs);
            known.sort_unstable();
            known.dedup();
            for one in known {
                let refusal = record
                    .refused
                    .iter()
                    .find(|refusal| refusal.fingerprint == *one);
                all.entry(one.clone()).or_default().push(ServiceUse {
                    service: service.clone(),
                    running: runs == Some(one),
                    newest: record.used.first() == Some(one),
                    good: record.good.contains(one),
                    imported: record.imported.as_ref() == Some(one),
                    refused: refusal.map(|refusal| refusal.why.clone()),
                });
            }
        }
        Ok(all)
    }
}

/// The runtimes from which the running instances were started, by service, according to their claims.
fn running(state: &Path) -> io::Result<BTreeMap<String, Fingerprint>> {
    let is_alive = |claim: &Claim| {
        let main = claim.main()?;
        let stat = process::stat(main.pid).ok()?;
        (stat.process == main).then_some(())
    };
    let claims = claims::read_all(state)?.into_iter();
    let found = claims.filter_map(|(service, reading)| {
        let ClaimOnDisk::Valid(claim) = reading else {
            return None;
        };
        is_alive(&claim)?;
        Some((service, Fingerprint::parse(claim.fingerprint.as_deref()?)?))
    });
    Ok(found.collect())
}

/// The runtime from which the running instance of `service` was started, according to its claim; `None` where none runs.
///
/// # Errors
/// The claims cannot be read.
pub fn running_fingerprint(state: &Path, service: &str) -> io::Result<Option<Fingerprint>> {
    Ok(running(state)?.remove(service))
}

/// Which processes use which copies: as executable, working directory or mapped file.
#[derive(Debug, Default)]
pub(super) struct UsingProcesses {
    /// Paths below the folder of the copies, each with a pid.
    below: Vec<(PathBuf, i32)>,
    /// Pids by device and inode: in a container or another mount namespace, the same file has another path.
    files: BTreeMap<(u64, u64), Vec<i32>>,
}

impl UsingProcesses {
    /// Finds all processes that use a file below `dir`.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub(super) fn find(dir: &Path) -> io::Result<Self> {
        let resolved = dir.canonicalize()?;
        let mut processes = Self::default();
        for pid in process::all()? {
            // A process that has ended uses nothing. A process that cannot be read belongs to another user, who has no
            // access to this folder.
            for file in process::files_used(pid).unwrap_or_default() {
                if let Some(id) = file.id {
                    processes.files.entry(id).or_default().push(pid);
                }
                if let Ok(inside) = file.path.strip_prefix(&resolved) {
                    processes.below.push((dir.join(inside), pid));
                }
            }
        }
        Ok(processes)
    }

    /// The processes that use a file in `place`.
    pub(super) fn of(&self, place: &Path) -> Vec<i32> {
        let inside = self
            .below
            .iter()
            .filter(|(path, _)| path.starts_with(place));
        let mut pids: Vec<i32> = inside.map(|(_, pid)| *pid).collect();
        for id in files_in(place) {
            pids.extend(self.files.get(&id).into_iter().flatten());
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}

/// Device and inode of every entry in `place` and of the folder itself; empty where it cannot be read.
fn files_in(place: &Path) -> Vec<(u64, u64)> {
    let Ok(folder) = walk::open_folder(place) else {
        return Vec::new();
    };
    let Ok(metadata) = folder.metadata() else {
        return Vec::new();
    };
    let listing = walk::walk(&folder, place).unwrap_or_default();
    let inside = listing.entries.into_iter().map(|entry| entry.stamp.inode);
    inside
        .chain([metadata.ino()])
        .map(|inode| (metadata.dev(), inode))
        .collect()
}

/// The creation time of the copy's folder. A file system without creation times has the last time at which an entry was
/// added to or removed from it.
fn made_at(place: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(place).ok()?;
    meta.created().or_else(|_| meta.modified()).ok()
}
