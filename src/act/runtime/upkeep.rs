//! What is remembered of the runtimes, and what copies leave behind.

use super::cache::{Held, UNDER_WAY};
use super::collect::bytes_in;
use super::listing::{Kind, Listing};
use super::record::{self, Record};
use super::trouble::Trouble;
use super::{copy, walk};
use crate::sys::clock;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

/// File systems stamp changes with a clock that may stand still for this long (exFAT: 2 s).
const STAMPS_AGREE: Duration = Duration::from_secs(3);

impl Held<'_> {
    /// Changes what is remembered of `service`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn change(&self, service: &str, edit: impl FnOnce(&mut Record)) -> Result<(), Trouble> {
        let dir = self.cache.services();
        let before = record::read(&dir, service);
        let mut record = before.clone();
        edit(&mut record);
        if record == before {
            return Ok(());
        }
        record::write(&dir, service, &record)
            .map_err(|error| Trouble::of_copy("remember the runtimes in", &dir, &error))
    }

    /// Removes what copies have left that did not come to their end. Returns what that was, and how many bytes its files
    /// had, or why it is there still: that is left to the next sweep.
    pub(super) fn sweep(&self) -> Vec<(PathBuf, io::Result<u64>)> {
        let names = self.cache.names().unwrap_or_default().into_iter();
        let stages = names.filter(|name| name.starts_with(UNDER_WAY));
        let places = stages.map(|name| self.cache.dir.join(name));
        // One that is under way is locked.
        let is_left = |folder: File| folder.try_lock().is_ok();
        let left = places.filter(|place| walk::open_folder(place).is_ok_and(is_left));
        let swept = left.map(|place| {
            let bytes = bytes_in(&place);
            let removed = copy::remove(&place).map(|()| bytes);
            (place, removed)
        });
        swept.collect()
    }

    /// Remembers how the source was. A file that was changed just now might change again without another stamp: it is
    /// read again next time. Without all this the source is only read again.
    pub(super) fn keep_source(&self, service: &str, known: &Listing, mut seen: Listing) {
        let now = clock::sample()
            .wall
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let sure = now.saturating_sub(STAMPS_AGREE).as_nanos();
        for entry in &mut seen.entries {
            let latest = entry.stamp.changed_nanos.max(entry.stamp.modified_nanos);
            if let Kind::File { hash, .. } = &mut entry.kind
                && u128::try_from(latest).is_ok_and(|latest| latest > sure)
            {
                *hash = None;
                seen.glance = None;
            }
        }
        if seen != *known {
            drop(record::keep_source_listing(
                &self.cache.services(),
                service,
                &seen,
            ));
        }
    }
}
