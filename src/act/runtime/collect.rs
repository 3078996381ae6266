//! Removing runtimes that nobody needs any more: never one that a process uses, whatever its age.

use super::cache::Held;
use super::listing::Fingerprint;
use super::offer::names;
use super::record::{self, Hold};
use super::stock::Users;
use super::{copy, walk};
use crate::act::claims::{self, Claim, ClaimOnDisk};
use crate::sys::identity;
use crate::sys::process::{self, Process};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Removed, and how many bytes their files had.
    pub freed: Vec<(PathBuf, u64)>,
    /// The same of copies that had not come to their end.
    pub swept: Vec<(PathBuf, u64)>,
    /// Kept, and why.
    pub kept: Vec<(PathBuf, Need)>,
    /// Could not be removed.
    pub failed: Vec<(PathBuf, String)>,
}

/// Why a runtime is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The last life of this service began with it.
    Claimed(String),
    /// This service keeps it.
    Kept(String, Hold),
    /// These processes use it.
    Used(Vec<i32>),
    /// Nobody needs it, but somebody has written into it, and what was written would be lost.
    WrittenInto(Vec<PathBuf>),
}

impl Collected {
    /// Bytes of all files that were removed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let removed = self.freed.iter().chain(&self.swept);
        removed.map(|(_, bytes)| bytes).sum()
    }

    fn note_swept(&mut self, place: PathBuf, removed: io::Result<u64>) {
        match removed {
            Ok(bytes) => self.swept.push((place, bytes)),
            Err(error) => self.failed.push((place, error.to_string())),
        }
    }

    /// What a person has to know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let written = self.kept.iter().filter_map(|(place, need)| match need {
            Need::WrittenInto(added) => Some(format!(
                "{} is not needed any more and not removed, because it was written into ({}): move that away, and `stayd \
                 runtime gc` removes it",
                place.display(),
                names(added)
            )),
            Need::Claimed(_) | Need::Kept(..) | Need::Used(_) => None,
        });
        let failed = self
            .failed
            .iter()
            .map(|(place, error)| format!("cannot remove {}: {error}", place.display()));
        written.chain(failed).collect()
    }
}

/// Removes every runtime that no service keeps (`keep` says how many each keeps), no claim names, no process uses, and
/// nobody has written into.
///
/// # Errors
/// When the folder cannot be read; then nothing is removed.
pub fn collect(
    held: &Held<'_>,
    state: &Path,
    keep: &dyn Fn(&str) -> usize,
) -> io::Result<Collected> {
    let mut collected = Collected::default();
    for (place, removed) in held.sweep() {
        collected.note_swept(place, removed);
    }
    let cache = held.cache;
    let mut needed = claimed(state, keep)?;
    let all = cache.all()?;
    for service in record::services(&cache.services())? {
        let (record, keep) = (cache.record(&service), keep(&service));
        for one in &all {
            if let Some(hold) = record.keeps(one, keep) {
                let need = || Need::Kept(service.clone(), hold);
                needed.entry(one.clone()).or_insert_with(need);
            }
        }
    }
    let mut places = cache.set_aside_ones()?;
    for one in all {
        let place = cache.path(&one);
        match needed.remove(&one) {
            Some(need) => collected.kept.push((place, need)),
            None => places.push((place, Some(one))),
        }
    }
    if places.is_empty() {
        return Ok(collected);
    }
    let users = Users::find(&cache.dir)?;
    for (place, fingerprint) in places {
        let pids = users.of(&place);
        if !pids.is_empty() {
            collected.kept.push((place, Need::Used(pids)));
            continue;
        }
        match written_into(held, fingerprint.as_ref()) {
            Some(added) => collected.kept.push((place, Need::WrittenInto(added))),
            None => remove(held, place, fingerprint.as_ref(), &mut collected),
        }
    }
    Ok(collected)
}

fn written_into(held: &Held<'_>, fingerprint: Option<&Fingerprint>) -> Option<Vec<PathBuf>> {
    let difference = held.check(fingerprint?).ok()?;
    let mut added = difference.added;
    added.retain(|path| !is_bytecode(path));
    (!added.is_empty()).then_some(added)
}

fn remove(
    held: &Held<'_>,
    place: PathBuf,
    fingerprint: Option<&Fingerprint>,
    collected: &mut Collected,
) {
    let bytes = bytes_in(&place);
    let removed = copy::remove(&place).and_then(|()| match fingerprint {
        Some(one) => remove_list(&held.cache.list(one)),
        None => Ok(()),
    });
    match removed {
        Ok(()) => collected.freed.push((place, bytes)),
        Err(error) => collected.failed.push((place, error.to_string())),
    }
}

fn remove_list(list: &Path) -> io::Result<()> {
    match fs::remove_file(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// What Python leaves beside its sources wherever it may write.
#[must_use]
pub fn is_bytecode(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("pyc")) || path.ends_with("__pycache__")
}

/// Runtimes that lives have begun with; a claim that cannot be believed may name any, so then all are in use. That of a
/// service which keeps nothing counts only as long as something of that life is there.
fn claimed(state: &Path, keep: &dyn Fn(&str) -> usize) -> io::Result<BTreeMap<Fingerprint, Need>> {
    let mut named = BTreeMap::new();
    for (service, reading) in claims::read_all(state)? {
        match reading {
            ClaimOnDisk::Valid(claim) if keep(&service) == 0 && is_over(&claim) => {}
            ClaimOnDisk::Valid(claim) => {
                let fingerprint = claim.fingerprint.as_deref().and_then(Fingerprint::parse);
                named.extend(fingerprint.map(|one| (one, Need::Claimed(service))));
            }
            ClaimOnDisk::Absent => {}
            ClaimOnDisk::Unverifiable(why) => {
                return Err(io::Error::other(format!(
                    "the claim of {service} is not believed, and may name any runtime: {why}"
                )));
            }
        }
    }
    Ok(named)
}

/// Nothing of the life is there, as far as can be seen from here.
fn is_over(claim: &Claim) -> bool {
    let members = claim.first.iter().chain(&claim.members);
    let members = members.map(|&member| Process::from(member));
    let mut named = claim.main().into_iter().chain(members).peekable();
    let is_it = |one: Process, stat: process::Stat| stat.process == one && stat.is_alive();
    let lives = |one: Process| process::stat(one.pid).is_ok_and(|stat| is_it(one, stat));
    let here = identity::pid_namespace() == claim.pid_ns;
    here && named.peek().is_some() && !named.any(lives)
}

/// What its files hold; 0 where that cannot be seen.
pub(super) fn bytes_in(place: &Path) -> u64 {
    let listing = walk::open_folder(place)
        .ok()
        .map(|root| walk::walk(&root, place));
    listing
        .and_then(Result::ok)
        .map_or(0, |listing| listing.size().1)
}
