//! What lies in the cache, and who needs it: for `stayd runtime ls`, and for removing what nobody needs.

use super::cache::{ALTERED, Cache};
use super::listing::Fingerprint;
use super::record;
use crate::act::claim::{self, Claim, Reading};
use crate::sys::process;
use std::collections::BTreeMap;
use std::fs;
use std::io;
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
            Vec::new()
        } else {
            users_below(&self.dir)?
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
            pids: pids_in(&users, &place),
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
    let claims = claim::read_all(state)?.into_iter();
    let found = claims.filter_map(|(service, reading)| {
        let Reading::Valid(claim) = reading else {
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

/// Everything below `dir`, in its own words, that a living process runs from, stands in or has mapped, and which process.
pub(super) fn users_below(dir: &Path) -> io::Result<Vec<(PathBuf, i32)>> {
    let as_the_kernel_says = dir.canonicalize()?;
    let mut used = Vec::new();
    for pid in process::all()? {
        // One that has gone uses nothing; one that shows nothing is another user's, who may not enter here.
        let files = process::files_used(pid).unwrap_or_default();
        let below = |file: &PathBuf| {
            let place = dir.join(file.strip_prefix(&as_the_kernel_says).ok()?);
            Some((place, pid))
        };
        used.extend(files.iter().filter_map(below));
    }
    Ok(used)
}

/// Those of `users` that use something in `place`.
pub(super) fn pids_in(users: &[(PathBuf, i32)], place: &Path) -> Vec<i32> {
    let inside = users.iter().filter(|(path, _)| path.starts_with(place));
    let mut pids: Vec<i32> = inside.map(|(_, pid)| *pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Its folder is made with it and never again; a file system that keeps no births has the last time that something came
/// or went at its top.
fn made_at(place: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(place).ok()?;
    meta.created().or_else(|_| meta.modified()).ok()
}
