//! Copies a service's source into the cache.
//!
//! A source that has not changed since it was last read is recognized by its metadata: a hash over the names, modes, sizes
//! and times of all its files. Only a changed source is read, and it is copied only if no runtime has the same content.

use super::cache::{ALTERED, Cache, LockedCache, Materialized, UNFINISHED};
use super::copy::{self, OpenTree, Progress};
use super::display::printable;
use super::error::SourceError;
use super::listing::{EntryKind, Fingerprint, Listing};
use super::source::Source;
use super::{record, walk};
use crate::act::dirs::state_dir::DIR_MODE;
use crate::act::failpoint::{Failpoint, reached};
use crate::sys::{clock, filesystem};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Attempts to copy a source that changes while it is copied.
const ATTEMPTS_MAX: usize = 3;
/// File systems stamp changes with a clock that may stand still for this long (exFAT: 2 s).
const STAMP_GRANULARITY: Duration = Duration::from_secs(3);

/// A folder in which a copy is made. Its lock is held, so that no other process sweeps it.
struct StagingDir {
    path: PathBuf,
    folder: File,
}

impl LockedCache<'_> {
    /// Returns the runtime with the content of `source`; copies it if it does not exist. With `anew` it is copied even if
    /// it exists, because the existing one was altered; that one is renamed and kept.
    ///
    /// # Errors
    /// The source cannot be read or the copy cannot be made. Existing runtimes are untouched then.
    pub fn materialize(
        &self,
        service: &str,
        source: &Source,
        anew: bool,
        progress: &Progress,
    ) -> Result<Materialized, SourceError> {
        // The garbage collection sweeps too, and reports what cannot be removed.
        drop(self.sweep());
        let unchanged = self.unchanged(service, source, progress);
        if let Some(fingerprint) = unchanged.filter(|one| !anew && self.is_listed(one)) {
            self.change(service, |record| {
                record.note_source(source.path(), &fingerprint);
            })?;
            return Ok(Materialized {
                fingerprint,
                copied: None,
            });
        }
        let mut outcome = self.try_materialize(service, source, anew, progress);
        for _ in 1..ATTEMPTS_MAX {
            if !matches!(outcome, Err(SourceError::Changing(_))) {
                break;
            }
            outcome = self.try_materialize(service, source, anew, progress);
        }
        let made = outcome?;
        reached(Failpoint::Published);
        self.change(service, |record| {
            record.note_source(source.path(), &made.fingerprint);
        })?;
        Ok(made)
    }

    /// The fingerprint of the content of `source`, without a copy. Reads only the files that changed since the last time.
    ///
    /// # Errors
    /// The source cannot be read.
    pub(super) fn fingerprint_of(
        &self,
        service: &str,
        source: &Source,
        progress: &Progress,
    ) -> Result<Fingerprint, SourceError> {
        if let Some(fingerprint) = self.unchanged(service, source, progress) {
            return Ok(fingerprint);
        }
        let known =
            record::read_source_listing(&self.cache.services(), service).unwrap_or_default();
        let listing = self.without_lock(|| {
            let root = open_source(source, progress)?;
            let mut listing = list_source(&root, source, &known)?;
            copy::hash(OpenTree::of(&root, source), &mut listing, progress)?;
            Ok(listing)
        })?;
        let unread =
            || SourceError::Other(format!("cannot read all of {}", source.path().display()));
        let fingerprint = listing.fingerprint().ok_or_else(unread)?;
        self.store_source_listing(service, &known, listing);
        Ok(fingerprint)
    }

    /// The fingerprint of the source, if no metadata in it changed since all of it was read.
    fn unchanged(
        &self,
        service: &str,
        source: &Source,
        progress: &Progress,
    ) -> Option<Fingerprint> {
        let (known, fingerprint) = record::read_source_stamp(&self.cache.services(), service)?;
        let stamp = || source.stamp(&open_source(source, progress)?);
        let now = self.without_lock(stamp).ok()?;
        (now == known).then_some(fingerprint)
    }

    fn try_materialize(
        &self,
        service: &str,
        source: &Source,
        anew: bool,
        progress: &Progress,
    ) -> Result<Materialized, SourceError> {
        let known =
            record::read_source_listing(&self.cache.services(), service).unwrap_or_default();
        let (root, mut listing) = self.without_lock(|| {
            let root = open_source(source, progress)?;
            check_outside_source(self.cache, source)?;
            let mut listing = list_source(&root, source, &known)?;
            if known.has_size_and_mode_of(&listing) && !anew {
                copy::hash(OpenTree::of(&root, source), &mut listing, progress)?;
            }
            Ok((root, listing))
        })?;
        let tree = OpenTree::of(&root, source);
        if let Some(fingerprint) = listing.fingerprint().filter(|one| !anew && self.has(one)) {
            self.store_source_listing(service, &known, listing);
            return Ok(Materialized {
                fingerprint,
                copied: None,
            });
        }
        let staging = self.staging_dir()?;
        reached(Failpoint::CopyBegun);
        let copied = self
            .without_lock(|| {
                let before = listing.clone();
                copy::copy(tree, &mut listing, &staging.path, progress)?;
                check_unchanged(tree, &before)?;
                filesystem::sync(&staging.folder)
                    .map_err(|error| SourceError::of_copy("finish the copy", &staging.path, &error))
            })
            .and_then(|()| self.publish(&staging, &listing));
        let fingerprint = copied.inspect_err(|_| {
            // The next materialization sweeps what cannot be removed now.
            drop(copy::remove(&staging.path));
        })?;
        let size = listing.size();
        self.store_source_listing(service, &known, listing);
        Ok(Materialized {
            fingerprint,
            copied: Some(size),
        })
    }

    fn staging_dir(&self) -> Result<StagingDir, SourceError> {
        let path = self.cache.unused_path(UNFINISHED);
        let created = DirBuilder::new().mode(DIR_MODE).create(&path);
        let folder = created
            .and_then(|()| walk::open_folder(&path))
            .and_then(|folder| {
                folder.lock()?;
                Ok(folder)
            });
        let folder =
            folder.map_err(|error| SourceError::of_copy("make the folder", &path, &error))?;
        Ok(StagingDir { path, folder })
    }

    /// Renames a complete copy to its final name, and writes its manifest before that.
    fn publish(&self, staging: &StagingDir, copied: &Listing) -> Result<Fingerprint, SourceError> {
        let StagingDir { path, folder } = staging;
        let failed = |error| SourceError::of_copy("finish the copy", path, &error);
        let fingerprint = copied
            .fingerprint()
            .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        let place = self.cache.path(&fingerprint);
        if self.has(&fingerprint) && self.verify(&fingerprint)?.altered.is_empty() {
            copy::remove(path).map_err(failed)?;
            return Ok(fingerprint);
        }
        reached(Failpoint::Copied);
        let mut manifest = walk::walk(folder, path)?;
        for (made, from) in manifest.entries.iter_mut().zip(&copied.entries) {
            made.kind = from.kind.clone();
        }
        self.set_aside(&place).map_err(failed)?;
        self.write_manifest(&fingerprint, &manifest)
            .map_err(failed)?;
        reached(Failpoint::Listed);
        // Not the mode of the source: a folder above the source may have kept other users out.
        folder
            .set_permissions(Permissions::from_mode(DIR_MODE))
            .map_err(failed)?;
        fs::rename(path, &place).map_err(failed)?;
        walk::open_folder(&self.cache.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        Ok(fingerprint)
    }

    /// Renames an altered runtime. A program may be running from it, so its files must continue to exist.
    fn set_aside(&self, place: &Path) -> io::Result<()> {
        match fs::rename(place, self.cache.unused_path(ALTERED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Writes the listing of the source for the next time. A file that changed just now may change again without a new
    /// stamp, so its hash is left out and the file is read again. If the listing cannot be written, everything is read
    /// again.
    fn store_source_listing(&self, service: &str, known: &Listing, mut listing: Listing) {
        let now = clock::sample()
            .wall
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let settled = now.saturating_sub(STAMP_GRANULARITY).as_nanos();
        for entry in &mut listing.entries {
            let latest = entry.stamp.changed_nanos.max(entry.stamp.modified_nanos);
            if let EntryKind::File { hash, .. } = &mut entry.kind
                && u128::try_from(latest).is_ok_and(|latest| latest > settled)
            {
                *hash = None;
                listing.stamp = None;
            }
        }
        if listing != *known {
            drop(record::write_source_listing(
                &self.cache.services(),
                service,
                &listing,
            ));
        }
    }
}

fn open_source(source: &Source, progress: &Progress) -> Result<File, SourceError> {
    progress.waiting_for_disk(|| source.open())
}

/// Lists the source. Files with the same metadata as in `known` get the hash from there.
fn list_source(root: &File, source: &Source, known: &Listing) -> Result<Listing, SourceError> {
    let mut listing = source.list(root)?;
    check_content(&listing, source.path())?;
    listing.reuse_hashes(known);
    Ok(listing)
}

/// The source contains a file, and no link in it leads out of it.
fn check_content(listing: &Listing, path: &Path) -> Result<(), SourceError> {
    if listing.size().0 == 0 {
        return Err(SourceError::Unavailable(format!(
            "cannot copy {}: it contains no file; its disk may not be mounted",
            path.display()
        )));
    }
    match listing.escaping_link() {
        None => Ok(()),
        Some((link, target)) => Err(SourceError::NotCopyable(format!(
            "cannot copy {}: this link leads out of the runtime or in a circle, to {}; copy its target into the source, or \
             make the link relative",
            printable(&path.join(link)),
            printable(target)
        ))),
    }
}

/// The source has the same metadata as before it was copied.
fn check_unchanged(tree: OpenTree<'_>, before: &Listing) -> Result<(), SourceError> {
    if tree.source.list(tree.root)?.has_metadata_of(before) {
        return Ok(());
    }
    Err(SourceError::Changing(format!(
        "cannot copy {}: it changes while it is copied",
        tree.source.path().display()
    )))
}

/// The cache is not inside the source: each copy would contain the copies before it.
fn check_outside_source(cache: &Cache, source: &Source) -> Result<(), SourceError> {
    let paths = source.canonical_path().zip(cache.dir.canonicalize().ok());
    // If a path cannot be resolved here, the copy reports that error itself.
    if !paths.is_some_and(|(source, copies)| copies.starts_with(source)) {
        return Ok(());
    }
    Err(SourceError::NotCopyable(format!(
        "cannot copy {}: the copies are kept in it ({}); keep the state elsewhere (--state-dir), or let `source` name the \
         runtime alone",
        printable(source.path()),
        printable(&cache.dir)
    )))
}
