//! Is a copy still what was copied?

use super::cache::{Cache, Held};
use super::collect::is_bytecode;
use super::copy::{self, Progress, Source};
use super::difference::Difference;
use super::listing::{Fingerprint, Listing};
use super::trouble::Trouble;
use super::{record, walk};

impl Cache {
    /// What has become of a runtime since it was made; every file is read. `Gone` where there is none, or where what it
    /// held is not known. Keeps nobody waiting who makes or removes runtimes meanwhile.
    ///
    /// # Errors
    /// What the disk says.
    pub fn check_every_byte(
        &self,
        fingerprint: &Fingerprint,
        progress: &Progress,
    ) -> Result<Difference, Trouble> {
        let manifest = self.manifest(fingerprint);
        let manifest = manifest.ok_or_else(|| self.unlisted(fingerprint))?;
        let (difference, _) = self.compare(fingerprint, &manifest, None, progress)?;
        Ok(difference)
    }

    /// Nothing in it looks changed since it was made, or was last found to be what was made.
    fn is_whole_at_a_glance(&self, fingerprint: &Fingerprint) -> bool {
        let path = self.path(fingerprint);
        let look = || {
            let root = walk::open_folder(&path).ok()?;
            walk::glance(&root, &path).ok()
        };
        record::glance(&self.list(fingerprint))
            .is_some_and(|(glance, named)| named == *fingerprint && look() == Some(glance))
    }

    fn unlisted(&self, fingerprint: &Fingerprint) -> Trouble {
        Trouble::Gone(format!(
            "cannot use the runtime {}: what it held when it was made is not known",
            self.path(fingerprint).display()
        ))
    }

    /// The difference to the manifest, and what is there of it now. Files that look as in `known` are not read.
    fn compare(
        &self,
        fingerprint: &Fingerprint,
        manifest: &Listing,
        known: Option<&Listing>,
        progress: &Progress,
    ) -> Result<(Difference, Listing), Trouble> {
        let path = self.path(fingerprint);
        let root = walk::open_folder(&path)
            .map_err(|error| Trouble::of_source("open the runtime", &path, &error))?;
        let now = walk::walk(&root, &path)?;
        let glance = now.glance;
        // What was added may be as large as it likes: it is not read.
        let mut listed = manifest.in_order();
        let (ours, added): (Vec<_>, Vec<_>) = now
            .entries
            .into_iter()
            .partition(|entry| listed.at(&entry.path).is_some());
        // What was added is to be named whenever it is looked at, but for bytecode, which is nobody's news.
        let news = added.iter().any(|entry| !is_bytecode(&entry.path));
        let mut now = Listing {
            glance: glance.filter(|_| !news),
            ..Listing::of(ours)
        };
        if let Some(known) = known {
            now.take_hashes_of(known);
        }
        let source = Source::of(&root, &path);
        copy::hash(source, &mut now, progress)?;
        let mut difference = Difference::between(manifest, &now);
        difference.added = added.into_iter().map(|entry| entry.path).collect();
        Ok((difference, now))
    }
}

impl Held<'_> {
    /// What has become of a runtime since it was made. Reads only what looks changed; `Gone` where there is none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn check(&self, fingerprint: &Fingerprint) -> Result<Difference, Trouble> {
        let cache = self.cache;
        if cache.is_whole_at_a_glance(fingerprint) {
            return Ok(Difference::default());
        }
        let manifest = self.manifest(fingerprint);
        let manifest = manifest.ok_or_else(|| cache.unlisted(fingerprint))?;
        let progress = Progress::default();
        let (difference, now) =
            cache.compare(fingerprint, &manifest, Some(&manifest), &progress)?;
        let looks_different =
            !now.looks_like(&manifest) || (now.glance.is_some() && now.glance != manifest.glance);
        if difference.altered.is_empty() && looks_different {
            // The same bytes on later stamps: the next check need not read them. If this is not kept, it only does.
            drop(self.list(fingerprint, &now));
        }
        Ok(difference)
    }

    /// Whether a runtime is there, and nothing in it is altered.
    #[must_use]
    pub fn is_whole(&self, fingerprint: &Fingerprint) -> bool {
        let checked = self.check(fingerprint);
        checked.is_ok_and(|difference| difference.altered.is_empty())
    }
}
