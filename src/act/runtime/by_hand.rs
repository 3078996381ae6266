//! What a person asks of the runtimes: bring one, go back to an older one.

use super::cache::{Held, Made};
use super::copy::Progress;
use super::listing::Fingerprint;
use super::record::{self, Refusal};
use super::trouble::Trouble;
use std::collections::BTreeSet;
use std::path::Path;

/// Why a runtime is refused that was good.
const BY_HAND: &str = "rolled back by hand";

/// A way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// What is refused from now on.
    pub from: Fingerprint,
    /// What the next life begins with.
    pub to: Fingerprint,
}

impl Held<'_> {
    /// Copies what `source` holds, with the rights of this process, and lets `service` run from it until stayd itself can
    /// copy its source.
    ///
    /// # Errors
    /// As [`Held::materialize`].
    pub fn import(
        &self,
        service: &str,
        source: &Path,
        progress: &Progress,
    ) -> Result<Made, Trouble> {
        // Whoever imports does not believe what stayd has seen.
        let dir = self.cache.services();
        record::distrust_source(&dir, service)
            .map_err(|error| Trouble::of_copy("remember the source in", &dir, &error))?;
        let mut made = self.materialize(service, source, false, progress)?;
        if !self.is_whole(&made.fingerprint) {
            made = self.materialize(service, source, true, progress)?;
        }
        self.change(service, |record| record.import(&made.fingerprint))?;
        Ok(made)
    }

    /// Refuses `running`, or what the next life would begin with, and what the source holds, until that is something else
    /// again. None, and nothing is changed, where there is no other that is good and whole.
    ///
    /// # Errors
    /// What the disk says.
    pub fn roll_back(
        &self,
        service: &str,
        running: Option<Fingerprint>,
        progress: &Progress,
    ) -> Result<Option<WayBack>, Trouble> {
        let record = self.cache.record(service);
        let Some(from) = running.or_else(|| record.next().cloned()) else {
            return Ok(None);
        };
        let mut others = record.still_good().filter(|one| **one != from);
        let Some(to) = others.find(|one| self.is_whole(one)).cloned() else {
            return Ok(None);
        };
        // What the source holds by now may be a third one, which nobody has asked for.
        let seen = self.fingerprint_of(service, &record.source, progress).ok();
        let unwanted: BTreeSet<_> = seen.into_iter().chain([from.clone()]).collect();
        let refusals = unwanted.into_iter().filter(|one| *one != to);
        let refusals: Vec<_> = refusals
            .map(|fingerprint| Refusal {
                fingerprint,
                why: BY_HAND.into(),
            })
            .collect();
        self.change(service, |record| {
            refusals.into_iter().for_each(|one| record.refuse(one));
        })?;
        Ok(Some(WayBack { from, to }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::offer::{Deed, Offered, RuntimeAsk, Said};
    use super::super::tests::Place;
    use super::*;
    use std::fs;

    impl Place {
        fn make_of(&self, data: &str) -> Fingerprint {
            self.write("data", data);
            self.make().expect("made").fingerprint
        }

        fn make_good(&self, data: &str) -> Fingerprint {
            let made = self.make_of(data);
            let held = self.cache.hold().expect("held");
            held.change("s", |record| record.praise(&made))
                .expect("kept");
            made
        }

        fn offer(&self) -> Offered {
            let deed = Deed::Offer {
                source: self.source(),
                keep: 9,
                others: false,
                look: None,
            };
            match self.ask(deed) {
                Said::Offered(offered) => offered,
                other => panic!("{other:?}"),
            }
        }

        fn ask(&self, deed: Deed) -> Said {
            let ask = RuntimeAsk {
                state: self.dir.path().join("state"),
                service: "s".into(),
                deed,
            };
            ask.answer(&Progress::default()).expect("answered")
        }

        fn import(&self, data: &str) -> Fingerprint {
            self.write("data", data);
            let held = self.cache.hold().expect("held");
            let made = held.import("s", &self.source(), &Progress::default());
            made.expect("made").fingerprint
        }

        fn roll_back(&self, running: Option<&Fingerprint>) -> Option<WayBack> {
            let held = self.cache.hold().expect("held");
            let progress = Progress::default();
            held.roll_back("s", running.cloned(), &progress)
                .expect("tried")
        }

        /// While it is away, `rest` is done.
        fn away<T>(&self, rest: impl FnOnce() -> T) -> T {
            let elsewhere = self.dir.path().join("away");
            fs::rename(self.source(), &elsewhere).expect("moved");
            let outcome = rest();
            fs::rename(elsewhere, self.source()).expect("moved back");
            outcome
        }
    }

    #[test]
    fn what_was_imported_wins_over_an_older_good_one_while_the_source_cannot_be_read() {
        let place = Place::new();
        let old = place.make_good("old");
        let brought = place.import("new");
        let offered = place.away(|| place.offer());
        assert_eq!(offered.source, Ok(brought.clone()));
        assert!(!offered.good, "nobody has become ready under it");
        assert_eq!(offered.fallback, Some(old.clone()), "it can be rolled back");
        assert!(
            offered.warnings[0].contains("runtime import"),
            "{offered:?}"
        );
        let running = old;
        let source = place.source();
        let stale = place.away(|| place.ask(Deed::Compare { source, running }));
        assert_eq!(stale, Said::Stale(true));
    }

    #[test]
    fn an_import_ends_when_stayd_itself_has_copied_the_source() {
        let place = Place::new();
        let old = place.make_good("old");
        place.import("new");
        place.write("data", "newer");
        let newer = place.offer().source.expect("read");
        let record = place.cache.record("s");
        assert_eq!(
            (record.imported.as_ref(), record.next()),
            (None, Some(&newer))
        );
        let offered = place.away(|| place.offer());
        assert!(offered.source.is_err());
        assert_eq!(offered.fallback, Some(old), "the last good one");
    }

    #[test]
    fn an_import_lifts_a_refusal_and_one_that_was_altered_is_not_used() {
        let place = Place::new();
        let old = place.make_good("old");
        let new = place.make_of("new");
        assert_eq!(
            place.roll_back(Some(&new)).map(|way| way.to),
            Some(old.clone())
        );
        assert_eq!(place.offer().refused, Some(new.clone()));
        assert_eq!(place.import("new"), new);
        assert_eq!(place.offer().refused, None);
        place.import("new");
        fs::write(place.cache.path(&new).join("data"), "bad").expect("written");
        let offered = place.away(|| place.offer());
        assert!(offered.source.is_err(), "{offered:?}");
        assert_eq!(offered.fallback, Some(old));
    }

    #[test]
    fn rollbacks_go_back_one_after_the_other_until_there_is_nothing_good() {
        let place = Place::new();
        let [one, two, three] = ["1", "2", "3"].map(|data| place.make_good(data));
        let way = place.roll_back(Some(&three)).expect("a way");
        assert_eq!((&way.from, &way.to), (&three, &two));
        let offered = place.offer();
        assert_eq!(offered.source, Ok(three.clone()));
        assert_eq!(offered.refused, Some(three.clone()));
        assert_eq!(offered.fallback, Some(two.clone()));
        // without a claim: what the next life would begin with
        let way = place.roll_back(None).expect("a way");
        assert_eq!((&way.from, &way.to), (&two, &one));
        assert_eq!(place.offer().fallback, Some(one.clone()));
        assert_eq!(place.roll_back(Some(&one)), None, "there is nothing before");
        assert_eq!(place.offer().fallback, Some(one), "and nothing has changed");
    }

    #[test]
    fn a_rollback_ends_when_the_source_holds_something_else_and_passes_by_what_is_not_whole() {
        let place = Place::new();
        let [one, two, three] = ["1", "2", "3"].map(|data| place.make_good(data));
        fs::write(place.cache.path(&two).join("data"), "bad").expect("written");
        let way = place.roll_back(Some(&three)).expect("a way");
        assert_eq!(way.to, one);
        assert_eq!(place.offer().refused, Some(three));
        place.write("data", "4");
        assert_eq!(place.offer().refused, None);
        place.write("data", "3");
        let again = place.offer();
        assert_eq!(again.refused, None, "it was asked for anew");
        assert!(!again.good, "and has to become ready again");
    }

    #[test]
    fn a_rollback_goes_to_no_third_one_that_nobody_has_asked_for() {
        let place = Place::new();
        let old = place.make_good("old");
        let new = place.make_good("new");
        place.write("data", "never tried");
        let way = place.roll_back(Some(&new)).expect("a way back");
        assert_eq!((&way.from, &way.to), (&new, &old));
        let offered = place.offer();
        assert_eq!(offered.fallback.as_ref(), Some(&old));
        assert_eq!(offered.refused.as_ref(), offered.source.as_ref().ok());
        place.write("data", "mended");
        assert_eq!(place.offer().refused, None, "it holds something else");
    }

    #[test]
    fn an_import_believes_its_own_eyes() {
        let place = Place::new();
        let first = place.import("first");
        let services = place.cache.dir.join(".services");
        // as if it had been seen with these very stamps: what no file system would do, a replaced image of one does
        let seen = record::source_listing(&services, "s").expect("seen");
        let second = place.import("other");
        assert_ne!(first, second);
        record::keep_source_listing(&services, "s", &seen).expect("kept");
        assert_eq!(place.import("other"), second);
    }

    #[test]
    fn where_what_was_remembered_is_lost_nothing_is_removed_and_that_is_said() {
        let place = Place::new();
        let old = place.make_good("old");
        let new = place.make_good("new");
        let file = record::path(&place.cache.services(), "s");
        fs::write(&file, "").expect("emptied");
        let offered = place.away(|| place.offer());
        assert!(
            offered
                .warnings
                .iter()
                .any(|warning| warning.contains("cannot be read")),
            "{offered:?}"
        );
        let changed = place.make_of("newest");
        for _ in 0..2 {
            drop(place.offer());
        }
        for one in [&old, &new, &changed] {
            assert!(place.cache.path(one).exists(), "{one}");
        }
        let held = place.cache.hold().expect("held");
        held.change("s", |record| record.praise(&changed))
            .expect("kept");
        assert!(!place.cache.record("s").lost);
    }

    #[test]
    fn who_is_passed_over_is_named() {
        let place = Place::new();
        let good = place.make_good("good");
        fs::write(place.cache.path(&good).join("data"), "altered").expect("written");
        let offered = place.away(|| place.offer());
        assert_eq!(offered.fallback, None);
        let named =
            format!("the runtime {good} was changed behind our back (data) and is not used");
        assert!(offered.warnings.contains(&named), "{offered:?}");
    }
}
