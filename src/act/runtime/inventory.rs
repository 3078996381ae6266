//! The copies in the cache, and the services and processes that use them: for `stayd runtime ls` and for the garbage
//! collection.

use super::cache::{ALTERED, Cache};
use super::listing::Fingerprint;
use super::record;
use super::using::UsingProcesses;
use crate::act::claims::{self, Claim, ClaimOnDisk};
use crate::sys::process;
use std::collections::BTreeMap;
use std::fs;
use std::io;
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
    /// The processes that keep it: those that run from it or have mapped a file of it, and some that are in a folder of it
    /// (docs/how-to/runtime.md).
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
            UsingProcesses::find(self, state)?
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
            pids: processes.of(&place, fingerprint.as_ref()),
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
            let mut known: Vec<_> = record.known().chain(runs).collect();
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

/// The creation time of the copy's folder. A file system without creation times has the last time at which an entry was
/// added to or removed from it.
fn made_at(place: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(place).ok()?;
    meta.created().or_else(|_| meta.modified()).ok()
}
