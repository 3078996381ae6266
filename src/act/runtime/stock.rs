//! What lies in the cache, and who needs it: for `stayd runtime ls`, and for removing what nobody needs.

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

/// A copy that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where.
    pub place: PathBuf,
    /// Its name; none for one that was altered and set aside.
    pub fingerprint: Option<Fingerprint>,
    /// Files and bytes of it when it was made; none where that is not known.
    pub size: Option<(usize, u64)>,
    /// When it was made, as far as the file system tells.
    pub made_at: Option<SystemTime>,
    /// What services have to do with it.
    pub uses: Vec<Use>,
    /// Processes that run from it, stand in it or have mapped something of it.
    pub pids: Vec<i32>,
}

/// What a service has to do with a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Which service.
    pub service: String,
    /// Its life that runs now began with it.
    pub running: bool,
    /// It is the last one that was made for it.
    pub newest: bool,
    /// The service became ready under it.
    pub good: bool,
    /// A person has brought it, and stayd has not been able to copy the source since.
    pub imported: bool,
    /// Why it is not used.
    pub refused: Option<String>,
}

impl Cache {
    /// All copies that are there, the last made first. `told` is what services run from by the word of the stayd that runs
    /// them: its claims are for its own user to believe. Changes nothing, waits for nobody.
    ///
    /// # Errors
    /// When a folder cannot be read; what is not there is empty.
    pub fn stock(
        &self,
        state: &Path,
        told: BTreeMap<String, Fingerprint>,
    ) -> io::Result<Vec<Item>> {
        let mut running = running(state)?;
        running.extend(told);
        let uses = self.uses(&running)?;
        let mut places = self.set_aside_ones()?;
        let named = self.all()?.into_iter();
        places.extend(named.map(|one| (self.path(&one), Some(one))));
        let users = if places.is_empty() {
            Users::default()
        } else {
            Users::find(&self.dir)?
        };
        let item = |(place, fingerprint): (PathBuf, Option<Fingerprint>)| Item {
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
            pids: users.of(&place),
            place,
            fingerprint,
        };
        let mut items: Vec<Item> = places.into_iter().map(item).collect();
        items.sort_by(|one, two| {
            two.made_at
                .cmp(&one.made_at)
                .then(one.place.cmp(&two.place))
        });
        Ok(items)
    }

    /// Those that were altered and set aside.
    pub(super) fn set_aside_ones(&self) -> io::Result<Vec<(PathBuf, Option<Fingerprint>)>> {
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
    ) -> io::Result<BTreeMap<Fingerprint, Vec<Use>>> {
        let mut all: BTreeMap<Fingerprint, Vec<Use>> = BTreeMap::new();
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
                all.entry(one.clone()).or_default().push(Use {
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

/// What the lives that run now began with.
fn running(state: &Path) -> io::Result<BTreeMap<String, Fingerprint>> {
    let lives = |claim: &Claim| {
        let main = claim.main()?;
        let stat = process::stat(main.pid).ok()?;
        (stat.process == main).then_some(())
    };
    let claims = claims::read_all(state)?.into_iter();
    let found = claims.filter_map(|(service, reading)| {
        let ClaimOnDisk::Valid(claim) = reading else {
            return None;
        };
        lives(&claim)?;
        Some((service, Fingerprint::parse(claim.fingerprint.as_deref()?)?))
    });
    Ok(found.collect())
}

/// What the last life of `service` began with, if one runs: by its claim.
///
/// # Errors
/// When the claims cannot be read.
pub fn runs_now(state: &Path, service: &str) -> io::Result<Option<Fingerprint>> {
    Ok(running(state)?.remove(service))
}

/// Who uses the copies: which living process runs from what, stands in it or has it mapped.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// By names below the folder of the copies, in its own words.
    below: Vec<(PathBuf, i32)>,
    /// By device and inode: a process in a container or a namespace of its own has other names.
    files: BTreeMap<(u64, u64), Vec<i32>>,
}

impl Users {
    /// All there are below `dir`.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub(super) fn find(dir: &Path) -> io::Result<Self> {
        let as_the_kernel_says = dir.canonicalize()?;
        let mut users = Self::default();
        for pid in process::all()? {
            // One that has gone uses nothing; one that shows nothing is another user's, who may not enter here.
            for file in process::files_used(pid).unwrap_or_default() {
                if let Some(id) = file.id {
                    users.files.entry(id).or_default().push(pid);
                }
                if let Ok(inside) = file.path.strip_prefix(&as_the_kernel_says) {
                    users.below.push((dir.join(inside), pid));
                }
            }
        }
        Ok(users)
    }

    /// Those that use something in `place`.
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

/// Device and inode of everything in `place`, and of the folder itself; nothing where that cannot be read.
fn files_in(place: &Path) -> Vec<(u64, u64)> {
    let Ok(folder) = walk::open_folder(place) else {
        return Vec::new();
    };
    let Ok(about) = folder.metadata() else {
        return Vec::new();
    };
    let listing = walk::walk(&folder, place).unwrap_or_default();
    let inside = listing.entries.into_iter().map(|entry| entry.stamp.inode);
    inside
        .chain([about.ino()])
        .map(|inode| (about.dev(), inode))
        .collect()
}

/// Its folder is made with it and never again; a file system that keeps no births has the last time that something came
/// or went at its top.
fn made_at(place: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(place).ok()?;
    meta.created().or_else(|_| meta.modified()).ok()
}
