//! Removing runtimes that nobody needs any more: never one that a process uses, whatever its age.

use super::cache::{ALTERED, Held};
use super::copy;
use super::listing::Fingerprint;
use super::offer::names;
use super::record;
use super::walk;
use crate::act::claim::{self, Reading};
use crate::sys::process;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Removed, and how many bytes their files had.
    pub freed: Vec<(PathBuf, u64)>,
    /// Kept although nobody needs them: somebody has written into them, and what was written would be lost.
    pub written_into: Vec<(PathBuf, Vec<PathBuf>)>,
    /// Could not be removed.
    pub failed: Vec<(PathBuf, String)>,
}

impl Collected {
    /// What a person has to know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let written = self.written_into.iter().map(|(place, added)| {
            format!(
                "{} is not needed any more and not removed, because it was written into ({}): move that away, and `stayd \
                 runtime gc` removes it",
                place.display(),
                names(added)
            )
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
    let cache = held.cache;
    let mut needed: BTreeSet<Fingerprint> = claimed(state)?.into_iter().collect();
    let all = cache.all()?;
    for service in record::services(&cache.services())? {
        let (record, keep) = (cache.record(&service), keep(&service));
        needed.extend(all.iter().filter(|one| record.keeps(one, keep)).cloned());
    }
    let mut places: Vec<(PathBuf, Option<Fingerprint>)> = Vec::new();
    let unneeded = all.into_iter().filter(|one| !needed.contains(one));
    places.extend(unneeded.map(|one| (cache.path(&one), Some(one))));
    let altered = cache
        .names()?
        .into_iter()
        .filter(|name| name.starts_with(ALTERED));
    places.extend(altered.map(|name| (cache.dir.join(name), None)));
    let mut collected = Collected::default();
    if places.is_empty() {
        return Ok(collected);
    }
    let used = used_below(&cache.dir)?;
    for (place, fingerprint) in places {
        if used.iter().any(|path| path.starts_with(&place)) {
            continue;
        }
        let added = match &fingerprint {
            Some(one) => held.check(one).map(|difference| difference.added),
            None => Ok(Vec::new()),
        };
        let mut added = added.unwrap_or_default();
        added.retain(|path| !is_bytecode(path));
        if !added.is_empty() {
            collected.written_into.push((place, added));
            continue;
        }
        let bytes = bytes_in(&place);
        let removed = copy::remove(&place).and_then(|()| match &fingerprint {
            Some(one) => std::fs::remove_file(cache.list(one)),
            None => Ok(()),
        });
        match removed {
            Ok(()) => collected.freed.push((place, bytes)),
            Err(error) => collected.failed.push((place, error.to_string())),
        }
    }
    Ok(collected)
}

/// What Python leaves beside its sources wherever it may write.
#[must_use]
pub fn is_bytecode(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("pyc")) || path.ends_with("__pycache__")
}

/// Runtimes that lives have begun with; a claim that cannot be believed may name any, so then all are in use.
fn claimed(state: &Path) -> io::Result<Vec<Fingerprint>> {
    let mut named = Vec::new();
    for (service, reading) in claim::read_all(state)? {
        match reading {
            Reading::Valid(claim) => {
                named.extend(claim.fingerprint.as_deref().and_then(Fingerprint::parse));
            }
            Reading::Absent => {}
            Reading::Unverifiable(why) => {
                return Err(io::Error::other(format!(
                    "the claim of {service} is not believed, and may name any runtime: {why}"
                )));
            }
        }
    }
    Ok(named)
}

/// Everything below `dir`, in its own words, that a living process runs from, stands in or has mapped.
fn used_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let as_the_kernel_says = dir.canonicalize()?;
    let mut used = Vec::new();
    for pid in process::all()? {
        // One that has gone uses nothing; one that shows nothing is another user's, who may not enter here.
        let files = process::files_used(pid).unwrap_or_default();
        let below = |file: &PathBuf| Some(dir.join(file.strip_prefix(&as_the_kernel_says).ok()?));
        used.extend(files.iter().filter_map(below));
    }
    used.sort_unstable();
    used.dedup();
    Ok(used)
}

fn bytes_in(place: &Path) -> u64 {
    let listing = walk::open_folder(place)
        .ok()
        .map(|root| walk::walk(&root, place));
    listing
        .and_then(Result::ok)
        .map_or(0, |listing| listing.size().1)
}
