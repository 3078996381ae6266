//! Changes of the runtimes that the user asks for: importing one, and rolling back to an older one.

use super::cache::{LockedCache, Materialized};
use super::copy::Progress;
use super::error::SourceError;
use super::listing::Fingerprint;
use super::record::{self, RefusedRuntime};
use super::source::Source;
use std::collections::BTreeSet;
use std::path::Path;

/// The reason that is stored for a runtime that the user rolled back. `stayd runtime ls` shows it.
const ROLLED_BACK: &str = "rolled back by hand";

/// What a rollback did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The runtime that is refused from now on.
    pub from: Fingerprint,
    /// The runtime that the next instance is started from.
    pub to: Fingerprint,
}

impl LockedCache<'_> {
    /// Copies `source` with the permissions of this process. `service` runs from the copy until stayd itself can copy the
    /// source.
    ///
    /// # Errors
    /// As [`LockedCache::materialize`].
    pub fn import(
        &self,
        service: &str,
        source: &Path,
        progress: &Progress,
    ) -> Result<Materialized, SourceError> {
        // The user imports because stayd's view of the source may be wrong: read every file again.
        let dir = self.cache.services();
        record::forget_source_hashes(&dir, service).map_err(|error| {
            SourceError::of_copy("store the listing of the source in", &dir, &error)
        })?;
        let source = Source::read_as_caller(source);
        let mut made = self.materialize(service, &source, false, progress)?;
        if !self.is_intact(&made.fingerprint) {
            made = self.materialize(service, &source, true, progress)?;
        }
        self.change(service, |record| record.import(&made.fingerprint))?;
        Ok(made)
    }

    /// Marks as bad the runtime `running`, or else the one that the next instance would be started from, and also the present
    /// content of the source. Both are refused until the source changes. Returns `None` and changes nothing where no other
    /// runtime is good and intact.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn roll_back(
        &self,
        service: &str,
        running: Option<Fingerprint>,
        progress: &Progress,
    ) -> Result<Option<Rollback>, SourceError> {
        let record = self.cache.record(service);
        let Some(from) = running.or_else(|| record.next().cloned()) else {
            return Ok(None);
        };
        let mut others = record.usable_good().filter(|one| **one != from);
        let Some(to) = others.find(|one| self.is_intact(one)).cloned() else {
            return Ok(None);
        };
        // The source may have changed meanwhile. The user did not ask for that third runtime.
        let source = Source::read_as_caller(&record.source);
        let content = self.fingerprint_of(service, &source, progress).ok();
        let unwanted: BTreeSet<_> = content.into_iter().chain([from.clone()]).collect();
        let bad = unwanted.into_iter().filter(|one| *one != to);
        let bad: Vec<_> = bad
            .map(|fingerprint| RefusedRuntime {
                fingerprint,
                why: ROLLED_BACK.into(),
            })
            .collect();
        self.change(service, |record| {
            bad.into_iter().for_each(|one| record.mark_bad(one));
        })?;
        Ok(Some(Rollback { from, to }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{RuntimeOffer, RuntimeOperation, RuntimeReply, RuntimeRequest};
    use super::super::tests::Fixture;
    use super::*;
    use std::fs;

    impl Fixture {
        fn make_of(&self, data: &str) -> Fingerprint {
            self.write("data", data);
            self.make().expect("made").fingerprint
        }

        fn make_good(&self, data: &str) -> Fingerprint {
            let made = self.make_of(data);
            let locked = self.cache.lock().expect("locked");
            locked
                .change("s", |record| record.mark_good(&made))
                .expect("kept");
            made
        }

        fn offer(&self) -> RuntimeOffer {
            let operation = RuntimeOperation::Materialize {
                source: self.source(),
                keep: 9,
                user: None,
                program: None,
            };
            match self.ask(operation) {
                RuntimeReply::Offer(offer) => offer,
                other => panic!("{other:?}"),
            }
        }

        fn ask(&self, operation: RuntimeOperation) -> RuntimeReply {
            let request = RuntimeRequest {
                state: self.dir.path().join("state"),
                service: "s".into(),
                operation,
            };
            request.answer(&Progress::default()).expect("answered")
        }

        fn import(&self, data: &str) -> Fingerprint {
            self.write("data", data);
            let locked = self.cache.lock().expect("locked");
            let made = locked.import("s", &self.source(), &Progress::default());
            made.expect("made").fingerprint
        }

        fn roll_back(&self, running: Option<&Fingerprint>) -> Option<Rollback> {
            let locked = self.cache.lock().expect("locked");
            let progress = Progress::default();
            locked
                .roll_back("s", running.cloned(), &progress)
                .expect("tried")
        }

        /// Does `rest` while the source does not exist.
        fn without_source<T>(&self, rest: impl FnOnce() -> T) -> T {
            let elsewhere = self.dir.path().join("away");
            fs::rename(self.source(), &elsewhere).expect("moved");
            let outcome = rest();
            fs::rename(elsewhere, self.source()).expect("moved back");
            outcome
        }
    }

    #[test]
    fn an_imported_runtime_is_preferred_to_an_older_good_one_while_the_source_cannot_be_read() {
        let fixture = Fixture::new();
        let old = fixture.make_good("old");
        let imported = fixture.import("new");
        let offer = fixture.without_source(|| fixture.offer());
        assert_eq!(offer.source, Ok(imported.clone()));
        assert!(!offer.good, "the service was not ready under it");
        assert_eq!(offer.fallback, Some(old.clone()), "it can be rolled back");
        assert!(offer.warnings[0].contains("runtime import"), "{offer:?}");
        let question = RuntimeOperation::IsStale {
            source: fixture.source(),
            running: old,
            user: None,
        };
        let stale = fixture.without_source(|| fixture.ask(question));
        assert_eq!(stale, RuntimeReply::Stale(true));
    }

    #[test]
    fn an_import_ends_when_stayd_itself_has_copied_the_source() {
        let fixture = Fixture::new();
        let old = fixture.make_good("old");
        fixture.import("new");
        fixture.write("data", "newer");
        let newer = fixture.offer().source.expect("read");
        let record = fixture.cache.record("s");
        assert_eq!(
            (record.imported.as_ref(), record.next()),
            (None, Some(&newer))
        );
        let offer = fixture.without_source(|| fixture.offer());
        assert!(offer.source.is_err());
        assert_eq!(offer.fallback, Some(old), "the last good one");
    }

    #[test]
    fn an_import_ends_a_refusal_and_an_altered_import_is_not_used() {
        let fixture = Fixture::new();
        let old = fixture.make_good("old");
        let new = fixture.make_of("new");
        assert_eq!(
            fixture.roll_back(Some(&new)).map(|rollback| rollback.to),
            Some(old.clone())
        );
        assert_eq!(fixture.offer().refused, Some(new.clone()));
        assert_eq!(fixture.import("new"), new);
        assert_eq!(fixture.offer().refused, None);
        fixture.import("new");
        fs::write(fixture.cache.path(&new).join("data"), "bad").expect("written");
        let offer = fixture.without_source(|| fixture.offer());
        assert!(offer.source.is_err(), "{offer:?}");
        assert_eq!(offer.fallback, Some(old));
    }

    #[test]
    fn repeated_rollbacks_go_to_ever_older_good_runtimes_until_there_is_none() {
        let fixture = Fixture::new();
        let [one, two, three] = ["1", "2", "3"].map(|data| fixture.make_good(data));
        let rollback = fixture.roll_back(Some(&three)).expect("a rollback");
        assert_eq!((&rollback.from, &rollback.to), (&three, &two));
        let offer = fixture.offer();
        assert_eq!(offer.source, Ok(three.clone()));
        assert_eq!(offer.refused, Some(three.clone()));
        assert_eq!(offer.fallback, Some(two.clone()));
        // Without a claim, it starts from the runtime of the next instance.
        let rollback = fixture.roll_back(None).expect("a rollback");
        assert_eq!((&rollback.from, &rollback.to), (&two, &one));
        assert_eq!(fixture.offer().fallback, Some(one.clone()));
        assert_eq!(fixture.roll_back(Some(&one)), None, "no older one is good");
        assert_eq!(fixture.offer().fallback, Some(one), "nothing was changed");
    }

    #[test]
    fn a_rollback_ends_when_the_source_changes_and_skips_altered_runtimes() {
        let fixture = Fixture::new();
        let [one, two, three] = ["1", "2", "3"].map(|data| fixture.make_good(data));
        fs::write(fixture.cache.path(&two).join("data"), "bad").expect("written");
        let rollback = fixture.roll_back(Some(&three)).expect("a rollback");
        assert_eq!(rollback.to, one);
        assert_eq!(fixture.offer().refused, Some(three));
        fixture.write("data", "4");
        assert_eq!(fixture.offer().refused, None);
        fixture.write("data", "3");
        let again = fixture.offer();
        assert_eq!(again.refused, None, "a changed source ended the refusal");
        assert!(!again.good, "it must become ready again");
    }

    #[test]
    fn a_rollback_also_refuses_a_source_that_was_never_tried() {
        let fixture = Fixture::new();
        let old = fixture.make_good("old");
        let new = fixture.make_good("new");
        fixture.write("data", "never tried");
        let rollback = fixture.roll_back(Some(&new)).expect("a rollback");
        assert_eq!((&rollback.from, &rollback.to), (&new, &old));
        let offer = fixture.offer();
        assert_eq!(offer.fallback.as_ref(), Some(&old));
        assert_eq!(offer.refused.as_ref(), offer.source.as_ref().ok());
        fixture.write("data", "mended");
        assert_eq!(fixture.offer().refused, None, "the source changed");
    }

    #[test]
    fn an_import_reads_every_file_of_the_source() {
        let fixture = Fixture::new();
        let first = fixture.import("first");
        let services = fixture.cache.dir.join(".services");
        // As if the new content had the old stamps. A file system does not do that, but a replaced image of one can.
        let listing = record::read_source_listing(&services, "s").expect("read");
        let second = fixture.import("other");
        assert_ne!(first, second);
        record::write_source_listing(&services, "s", &listing).expect("kept");
        assert_eq!(fixture.import("other"), second);
    }

    #[test]
    fn after_a_lost_record_no_runtime_is_removed_and_a_warning_says_so() {
        let fixture = Fixture::new();
        let old = fixture.make_good("old");
        let new = fixture.make_good("new");
        let file = record::path(&fixture.cache.services(), "s");
        fs::write(&file, "").expect("emptied");
        let offer = fixture.without_source(|| fixture.offer());
        assert!(
            offer
                .warnings
                .iter()
                .any(|warning| warning.contains("cannot be read")),
            "{offer:?}"
        );
        let changed = fixture.make_of("newest");
        for _ in 0..2 {
            drop(fixture.offer());
        }
        for one in [&old, &new, &changed] {
            assert!(fixture.cache.path(one).exists(), "{one}");
        }
        let locked = fixture.cache.lock().expect("locked");
        locked
            .change("s", |record| record.mark_good(&changed))
            .expect("kept");
        assert!(!fixture.cache.record("s").lost);
    }

    #[test]
    fn an_altered_fallback_is_not_used_and_a_warning_names_it() {
        let fixture = Fixture::new();
        let good = fixture.make_good("good");
        fs::write(fixture.cache.path(&good).join("data"), "altered").expect("written");
        let offer = fixture.without_source(|| fixture.offer());
        assert_eq!(offer.fallback, None);
        let warning = format!("the runtime {good} was altered (data) and is not used");
        assert!(offer.warnings.contains(&warning), "{offer:?}");
    }
}
