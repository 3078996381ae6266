//! What has become of a copy.

use super::listing::{Entry, Kind, Listing};
use std::path::PathBuf;

/// What has become of a tree since it was listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Gone, or with other bytes, another mode or another kind.
    pub altered: Vec<PathBuf>,
    /// Not in the listing.
    pub added: Vec<PathBuf>,
}

impl Difference {
    /// How `now` differs from `then`. A file whose hash is missing on one side is judged by its stamp.
    #[must_use]
    pub fn between(then: &Listing, now: &Listing) -> Self {
        let mut difference = Self::default();
        let mut found = now.in_order();
        for entry in &then.entries {
            let same = found.at(&entry.path).filter(|found| is_same(entry, found));
            if same.is_none() {
                difference.altered.push(entry.path.clone());
            }
        }
        let mut known = then.in_order();
        for entry in &now.entries {
            if known.at(&entry.path).is_none() {
                difference.added.push(entry.path.clone());
            }
        }
        difference
    }
}

fn is_same(then: &Entry, now: &Entry) -> bool {
    match (&then.kind, &now.kind) {
        (
            Kind::File {
                hash: Some(then_is),
                ..
            },
            Kind::File {
                hash: Some(now_is), ..
            },
        ) => then_is == now_is && then.mode == now.mode,
        _ if then.is_file() => then.looks_like(now),
        _ => then.may_equal(now),
    }
}

#[cfg(test)]
mod tests {
    use super::super::listing::tests::{entry, file};
    use super::*;
    use std::path::Path;

    #[test]
    fn a_difference_names_what_was_altered_and_what_was_added() {
        let then = Listing::of(vec![entry("d", Kind::Folder), file("f", 1), file("g", 1)]);
        let mut touched = file("f", 1);
        touched.stamp.changed_nanos += 1;
        let now = Listing::of(vec![entry("d", Kind::Folder), touched, file("h", 1)]);
        let difference = Difference::between(&then, &now);
        assert_eq!(difference.altered, [Path::new("g")]);
        assert_eq!(difference.added, [Path::new("h")]);
    }
}
