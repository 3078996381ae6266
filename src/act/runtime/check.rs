//! Is a copy still what was copied?

use super::cache::Held;
use super::copy::{self, Progress, Source};
use super::difference::Difference;
use super::listing::{Fingerprint, Listing};
use super::trouble::Trouble;
use super::{record, text, walk};

impl Held<'_> {
    /// What has become of a runtime since it was made. Reads only what looks changed; `Gone` where there is none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn check(&self, fingerprint: &Fingerprint) -> Result<Difference, Trouble> {
        self.compare(fingerprint, false)
    }

    /// The same, and every file is read.
    ///
    /// # Errors
    /// As [`Held::check`].
    pub fn check_every_byte(&self, fingerprint: &Fingerprint) -> Result<Difference, Trouble> {
        self.compare(fingerprint, true)
    }

    fn compare(&self, fingerprint: &Fingerprint, all: bool) -> Result<Difference, Trouble> {
        let path = self.cache.path(fingerprint);
        let manifest = self.cache.manifest(fingerprint).ok_or_else(|| {
            Trouble::Gone(format!(
                "cannot use the runtime {}: what it held when it was made is not known",
                path.display()
            ))
        })?;
        let root = walk::open_folder(&path)
            .map_err(|error| Trouble::of_source("open the runtime", &path, &error))?;
        let now = walk::walk(&root, &path)?;
        // What was added may be as large as it likes: it is not read.
        let (mut ours, added): (Vec<_>, Vec<_>) = now
            .entries
            .into_iter()
            .partition(|entry| manifest.get(&entry.path).is_some());
        let mut known = Listing::of(std::mem::take(&mut ours));
        if !all {
            known.take_hashes_of(&manifest);
        }
        let source = Source {
            root: &root,
            path: &path,
        };
        copy::hash(source, &mut known, &Progress::default())?;
        let mut difference = Difference::between(&manifest, &known);
        difference.added = added.into_iter().map(|entry| entry.path).collect();
        if difference.altered.is_empty() && !known.looks_like(&manifest) {
            // The same bytes on later stamps: the next check need not read them. If this is not kept, it only does.
            drop(record::replace(
                &self.cache.list(fingerprint),
                text::write(&known).as_bytes(),
            ));
        }
        Ok(difference)
    }
}
