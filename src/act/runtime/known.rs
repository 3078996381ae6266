//! What is known already: of runtimes from their lists, of a source from when it was read last.

use super::cache::{Held, open_source};
use super::copy::Progress;
use super::listing::{Fingerprint, Listing};
use super::{record, text, walk};
use std::io;
use std::path::Path;
use std::rc::Rc;

impl Held<'_> {
    /// What a runtime held when it was made.
    pub(super) fn manifest(&self, fingerprint: &Fingerprint) -> Option<Rc<Listing>> {
        if let Some((known, manifest)) = &*self.last_read.borrow()
            && known == fingerprint
        {
            return Some(Rc::clone(manifest));
        }
        let manifest = Rc::new(self.cache.manifest(fingerprint)?);
        let read = (fingerprint.clone(), Rc::clone(&manifest));
        self.last_read.replace(Some(read));
        Some(manifest)
    }

    /// Replaces what a runtime held when it was made.
    pub(super) fn list(&self, fingerprint: &Fingerprint, manifest: &Listing) -> io::Result<()> {
        self.last_read.take();
        let text = text::write(manifest);
        record::replace(&self.cache.list(fingerprint), text.as_bytes())
    }

    /// What the source holds, if it is known at a glance: nothing in it looks changed since all of it was read.
    pub(super) fn unchanged(
        &self,
        service: &str,
        source: &Path,
        progress: &Progress,
    ) -> Option<Fingerprint> {
        let (glance, fingerprint) = record::source_glance(&self.cache.services(), service)?;
        let look = || walk::glance(&open_source(source, progress)?, source);
        let seen = self.aside(look).ok()?;
        (seen == glance).then_some(fingerprint)
    }

    /// Whether a runtime and its list are there. What has become of the runtime the list tells.
    pub(super) fn is_listed(&self, fingerprint: &Fingerprint) -> bool {
        let listed = record::glance(&self.cache.list(fingerprint));
        listed.is_some_and(|(_, named)| named == *fingerprint)
            && self.cache.path(fingerprint).is_dir()
    }

    pub(super) fn has(&self, fingerprint: &Fingerprint) -> bool {
        self.cache.path(fingerprint).is_dir() && self.manifest(fingerprint).is_some()
    }
}
