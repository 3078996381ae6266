//! Garbage collection: removes runtimes that are no longer needed. A runtime that a process uses is never removed.

use super::cache::{LockedCache, bytes_in};
use super::copy;
use super::display::list_paths;
use super::listing::Fingerprint;
use super::record::{self, RetentionRule};
use super::using::UsingProcesses;
use crate::act::claims::{self, Claim, ClaimOnDisk};
use crate::sys::identity;
use crate::sys::process::{self, Process};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a garbage collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcOutcome {
    /// Removed runtimes, and the bytes of their files.
    pub freed: Vec<(PathBuf, u64)>,
    /// Removed unfinished copies, and the bytes of their files.
    pub swept: Vec<(PathBuf, u64)>,
    /// Runtimes that are kept, and why.
    pub kept: Vec<(PathBuf, KeepReason)>,
    /// What could not be removed, and why.
    pub failed: Vec<(PathBuf, String)>,
}

/// Why a runtime is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// The last instance of this service was started from it.
    Claimed(String),
    /// This service keeps it by this rule.
    KeptByService(String, RetentionRule),
    /// These processes use it.
    InUse(Vec<i32>),
    /// It is not needed, but these files were added and would be lost.
    FilesAdded(Vec<PathBuf>),
}

impl GcOutcome {
    /// The bytes of all files that were removed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let removed = self.freed.iter().chain(&self.swept);
        removed.map(|(_, bytes)| bytes).sum()
    }

    fn note_swept(&mut self, path: PathBuf, removed: io::Result<u64>) {
        match removed {
            Ok(bytes) => self.swept.push((path, bytes)),
            Err(error) => self.failed.push((path, error.to_string())),
        }
    }

    /// Sentences for the user about what was not removed.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let added = self.kept.iter().filter_map(|(path, reason)| match reason {
            KeepReason::FilesAdded(added) => Some(format!(
                "{} is no longer needed and not removed, because files were added to it ({}): move them away, and `stayd \
                 runtime gc` removes it",
                path.display(),
                list_paths(added)
            )),
            KeepReason::Claimed(_) | KeepReason::KeptByService(..) | KeepReason::InUse(_) => None,
        });
        let failed = self
            .failed
            .iter()
            .map(|(path, error)| format!("cannot remove {}: {error}", path.display()));
        added.chain(failed).collect()
    }
}

/// Removes every runtime that no service keeps, no claim names, no process uses, and to which no file was added. `keep`
/// returns how many of its newest runtimes a service keeps.
///
/// # Errors
/// The folder, the claims or the processes cannot be read, or a claim is not valid. Then no runtime is removed.
pub fn collect(
    locked: &LockedCache<'_>,
    state: &Path,
    keep: &dyn Fn(&str) -> usize,
) -> io::Result<GcOutcome> {
    let mut outcome = GcOutcome::default();
    for (path, removed) in locked.sweep() {
        outcome.note_swept(path, removed);
    }
    let cache = locked.cache;
    let mut needed = claimed(state, keep)?;
    let all = cache.all()?;
    for service in record::services(&cache.services())? {
        let (record, keep) = (cache.record(&service), keep(&service));
        for one in &all {
            if let Some(rule) = record.retention_rule(one, keep) {
                let reason = || KeepReason::KeptByService(service.clone(), rule);
                needed.entry(one.clone()).or_insert_with(reason);
            }
        }
    }
    let mut candidates = cache.altered_copies()?;
    for one in all {
        let path = cache.path(&one);
        match needed.remove(&one) {
            Some(reason) => outcome.kept.push((path, reason)),
            None => candidates.push((path, Some(one))),
        }
    }
    if candidates.is_empty() {
        return Ok(outcome);
    }
    let processes = UsingProcesses::find(cache, state)?;
    for (path, fingerprint) in candidates {
        let pids = processes.of(&path, fingerprint.as_ref());
        if !pids.is_empty() {
            outcome.kept.push((path, KeepReason::InUse(pids)));
            continue;
        }
        match added_files(locked, fingerprint.as_ref()) {
            Some(added) => outcome.kept.push((path, KeepReason::FilesAdded(added))),
            None => remove(locked, path, fingerprint.as_ref(), &mut outcome),
        }
    }
    Ok(outcome)
}

fn added_files(
    locked: &LockedCache<'_>,
    fingerprint: Option<&Fingerprint>,
) -> Option<Vec<PathBuf>> {
    let difference = locked.verify(fingerprint?).ok()?;
    let added = difference.added_without_bytecode();
    (!added.is_empty()).then_some(added)
}

fn remove(
    locked: &LockedCache<'_>,
    path: PathBuf,
    fingerprint: Option<&Fingerprint>,
    outcome: &mut GcOutcome,
) {
    let bytes = bytes_in(&path);
    let removed = copy::remove(&path).and_then(|()| match fingerprint {
        Some(one) => remove_manifest(&locked.cache.manifest_path(one)),
        None => Ok(()),
    });
    match removed {
        Ok(()) => outcome.freed.push((path, bytes)),
        Err(error) => outcome.failed.push((path, error.to_string())),
    }
}

fn remove_manifest(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The runtimes that the services' last instances were started from, by their claims. A claim that is not valid may be about
/// any runtime, so it is an error. The claim of a service that keeps nothing counts only while a process of that instance
/// exists.
fn claimed(
    state: &Path,
    keep: &dyn Fn(&str) -> usize,
) -> io::Result<BTreeMap<Fingerprint, KeepReason>> {
    let mut claimed = BTreeMap::new();
    for (service, reading) in claims::read_all(state)? {
        match reading {
            ClaimOnDisk::Valid(claim) if keep(&service) == 0 && is_over(&claim) => {}
            ClaimOnDisk::Valid(claim) => {
                let fingerprint = claim.fingerprint.as_deref().and_then(Fingerprint::parse);
                claimed.extend(fingerprint.map(|one| (one, KeepReason::Claimed(service))));
            }
            ClaimOnDisk::Absent => {}
            ClaimOnDisk::Unverifiable(why) => {
                return Err(io::Error::other(format!(
                    "the claim of {service} is not valid, and may be about any runtime: {why}"
                )));
            }
        }
    }
    Ok(claimed)
}

/// Whether no process of the claimed instance exists, as far as can be seen from this pid namespace.
fn is_over(claim: &Claim) -> bool {
    let members = claim.first.iter().chain(&claim.members);
    let members = members.map(|&member| Process::from(member));
    let mut named = claim.main().into_iter().chain(members).peekable();
    let is_it = |one: Process, stat: process::Stat| stat.process == one && stat.is_alive();
    let is_alive = |one: Process| process::stat(one.pid).is_ok_and(|stat| is_it(one, stat));
    let here = identity::pid_namespace() == claim.pid_ns;
    here && named.peek().is_some() && !named.any(is_alive)
}
