//! Compares a runtime with its manifest: is the copy still what was copied?

use super::cache::{Cache, LockedCache};
use super::copy::{self, OpenTree, Progress};
use super::error::SourceError;
use super::listing::{Difference, Fingerprint, Listing, is_bytecode};
use super::listing_file;
use super::source::Source;
use super::walk::{self, Folders};

impl Cache {
    /// Reads every file of a runtime and returns how it differs from its manifest. Does not take the lock, so that other
    /// processes can make and remove runtimes meanwhile.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] where the runtime or its manifest does not exist; else what the disk reports.
    pub fn verify_every_byte(
        &self,
        fingerprint: &Fingerprint,
        progress: &Progress,
    ) -> Result<Difference, SourceError> {
        let manifest = self.manifest(fingerprint);
        let manifest = manifest.ok_or_else(|| self.no_manifest(fingerprint))?;
        let (difference, _) = self.compare(fingerprint, &manifest, None, progress)?;
        Ok(difference)
    }

    /// Whether no metadata of a runtime changed since it was made, or since it was last found intact.
    fn is_unchanged_by_stamp(&self, fingerprint: &Fingerprint) -> bool {
        let path = self.path(fingerprint);
        let stamp_now = || {
            let root = walk::open_folder(&path).ok()?;
            walk::tree_stamp(&root, &path, Folders::All).ok()
        };
        listing_file::read_stamp_of(&self.manifest_path(fingerprint))
            .is_some_and(|(stamp, named)| named == *fingerprint && stamp_now() == Some(stamp))
    }

    fn no_manifest(&self, fingerprint: &Fingerprint) -> SourceError {
        SourceError::Unavailable(format!(
            "cannot use the runtime {}: its list of files is missing or damaged",
            self.path(fingerprint).display()
        ))
    }

    /// Returns the difference to the manifest, and a listing of those files that are in the manifest. Files with the same
    /// metadata as in `known` are not read.
    fn compare(
        &self,
        fingerprint: &Fingerprint,
        manifest: &Listing,
        known: Option<&Listing>,
        progress: &Progress,
    ) -> Result<(Difference, Listing), SourceError> {
        let path = self.path(fingerprint);
        let root = walk::open_folder(&path)
            .map_err(|error| SourceError::of_source("open the runtime", &path, &error))?;
        let now = walk::walk(&root, &path)?;
        let stamp = now.stamp;
        // Added files are not read: they may be of any size.
        let mut listed = manifest.sorted_lookup();
        let (ours, added): (Vec<_>, Vec<_>) = now
            .entries
            .into_iter()
            .partition(|entry| listed.find(&entry.path).is_some());
        // Without a stamp, the next check lists the files again and names the added ones again. Bytecode is not named.
        let has_news = added.iter().any(|entry| !is_bytecode(&entry.path));
        let mut now = Listing {
            stamp: stamp.filter(|_| !has_news),
            ..Listing::of(ours)
        };
        if let Some(known) = known {
            now.reuse_hashes(known);
        }
        let copy = Source::read_as_caller(&path);
        copy::hash(OpenTree::of(&root, &copy), &mut now, progress)?;
        let mut difference = Difference::from_listings(manifest, &now);
        difference.added = added.into_iter().map(|entry| entry.path).collect();
        Ok((difference, now))
    }
}

impl LockedCache<'_> {
    /// Returns how a runtime differs from its manifest. Reads only files whose metadata changed.
    ///
    /// # Errors
    /// As [`Cache::verify_every_byte`].
    pub fn verify(&self, fingerprint: &Fingerprint) -> Result<Difference, SourceError> {
        let cache = self.cache;
        if cache.is_unchanged_by_stamp(fingerprint) {
            return Ok(Difference::default());
        }
        let manifest = self.manifest(fingerprint);
        let manifest = manifest.ok_or_else(|| cache.no_manifest(fingerprint))?;
        let progress = Progress::default();
        let (difference, now) =
            cache.compare(fingerprint, &manifest, Some(&manifest), &progress)?;
        let has_new_metadata =
            !now.has_metadata_of(&manifest) || (now.stamp.is_some() && now.stamp != manifest.stamp);
        if difference.altered.is_empty() && has_new_metadata {
            // The same bytes with newer stamps: with a new manifest the next check need not read them. If the manifest
            // cannot be written, the next check reads them again.
            drop(self.write_manifest(fingerprint, &now));
        }
        Ok(difference)
    }

    /// Whether a runtime exists and nothing in it was altered. Added files are allowed.
    pub(super) fn is_intact(&self, fingerprint: &Fingerprint) -> bool {
        let verified = self.verify(fingerprint);
        verified.is_ok_and(|difference| difference.altered.is_empty())
    }
}
