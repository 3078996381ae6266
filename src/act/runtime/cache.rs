//! STATE/runtime: the copies, each under its fingerprint, and what each held when it was made.
//!
//! A copy is made beside its place and renamed into it when it is whole and on the disk: there is never half a runtime.
//! Nothing is ever written into one that is there, for a program may be running from it.
//!
//! ```text
//! STATE/runtime/FINGERPRINT/        a copy
//! STATE/runtime/FINGERPRINT.list    what it held when it was made
//! STATE/runtime/.services/          what is remembered of each service
//! STATE/runtime/.new-PID-N/         a copy under way; swept by the next one
//! STATE/runtime/.altered-PID-N/     was changed behind our back; collected when nobody uses it
//! ```

use super::copy::{self, Progress, Source};
use super::fitness::{has_not_changed, is_a_runtime};
use super::listing::{Fingerprint, Kind, Listing, MODE_KEPT};
use super::record::{self, Record};
use super::trouble::Trouble;
use super::{text, walk};
use crate::act::state_dir::DIR_MODE;
use crate::act::step::{Step, reached};
use crate::sys::{clock, copying, identity};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// A source that changes while it is copied is copied again so many times.
const TRIES: usize = 3;
/// File systems stamp changes with a clock that may stand still for this long (exFAT: 2 s).
const STAMPS_AGREE: Duration = Duration::from_secs(3);
/// How copies under way begin, and those that were altered.
const UNDER_WAY: &str = ".new-";
pub(super) const ALTERED: &str = ".altered-";
const LIST: &str = "list";

/// The folder of an instance's runtimes.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(super) dir: PathBuf,
}

/// The folder, and nobody else makes or removes anything in it.
#[derive(Debug)]
pub struct Held<'a> {
    pub(super) cache: &'a Cache,
    _lock: File,
}

/// What came of looking at a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The runtime that the source holds.
    pub fingerprint: Fingerprint,
    /// Files and bytes that were copied; none where the runtime was there already.
    pub copied: Option<(usize, u64)>,
}

impl Cache {
    /// The runtimes of the instance that keeps its state in `state`.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self {
            dir: state.join("runtime"),
        }
    }

    /// Where a runtime is, or would be.
    #[must_use]
    pub fn path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(fingerprint.as_str())
    }

    /// What is remembered of `service`.
    #[must_use]
    pub fn record(&self, service: &str) -> Record {
        record::read(&self.services(), service)
    }

    /// All runtimes that are there, whole or not.
    ///
    /// # Errors
    /// When the folder cannot be read; one that is not there has none.
    pub fn all(&self) -> io::Result<Vec<Fingerprint>> {
        let mut all: Vec<Fingerprint> = self
            .names()?
            .iter()
            .filter_map(|name| Fingerprint::parse(name))
            .collect();
        all.sort_unstable();
        Ok(all)
    }

    /// What a runtime held when it was made.
    #[must_use]
    pub fn manifest(&self, fingerprint: &Fingerprint) -> Option<Listing> {
        let listing = text::read(&fs::read_to_string(self.list(fingerprint)).ok()?)?;
        (listing.fingerprint().as_ref() == Some(fingerprint)).then_some(listing)
    }

    /// Waits until nobody else makes or removes runtimes here. Makes the folder where it is missing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn hold(&self) -> Result<Held<'_>, Trouble> {
        let trouble = |error| Trouble::of_copy("hold the runtimes in", &self.dir, &error);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(self.services());
        let path = self.dir.join(".lock");
        let lock = made.and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(super::LOCK_MODE)
                .open(&path)
        });
        // On a disk that may not be written any more what is there can be used all the same.
        let lock = lock.or_else(|error| File::open(&path).map_err(|_| trouble(error)))?;
        lock.lock().map_err(trouble)?;
        Ok(Held {
            cache: self,
            _lock: lock,
        })
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name =
            |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        entries.map(name).collect()
    }

    pub(super) fn services(&self) -> PathBuf {
        self.dir.join(".services")
    }

    pub(super) fn list(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(format!("{fingerprint}.{LIST}"))
    }

    fn has(&self, fingerprint: &Fingerprint) -> bool {
        self.path(fingerprint).is_dir() && self.manifest(fingerprint).is_some()
    }

    /// A name that nobody has.
    fn fresh(&self, beginning: &str) -> PathBuf {
        let name = |nth: u32| {
            self.dir
                .join(format!("{beginning}{}-{nth}", identity::pid()))
        };
        (0..)
            .map(name)
            .find(|path| !path.exists())
            .unwrap_or_else(|| name(u32::MAX))
    }
}

impl Held<'_> {
    /// The runtime that `source` holds, copied if it is not there. `anew`: copied although it is there, because it is not
    /// what it was; the other is set aside.
    ///
    /// # Errors
    /// The source's trouble, or the copy's; everything that was there is there still.
    pub fn materialize(
        &self,
        service: &str,
        source: &Path,
        anew: bool,
        progress: &Progress,
    ) -> Result<Made, Trouble> {
        self.sweep();
        let mut outcome = self.try_materialize(service, source, anew, progress);
        for _ in 1..TRIES {
            if !matches!(outcome, Err(Trouble::Unsteady(_))) {
                break;
            }
            outcome = self.try_materialize(service, source, anew, progress);
        }
        let made = outcome?;
        reached(Step::Published);
        self.change(service, |record| record.found(source, &made.fingerprint))?;
        Ok(made)
    }

    /// What `source` holds, without a copy: only what has changed since it was last read is read.
    ///
    /// # Errors
    /// The source's trouble.
    pub fn fingerprint_of(
        &self,
        service: &str,
        source: &Path,
        progress: &Progress,
    ) -> Result<Fingerprint, Trouble> {
        let root = walk::open_folder(source)
            .map_err(|error| Trouble::of_source("open the runtime's source", source, &error))?;
        let path = source;
        let mut seen = walk::walk(&root, path)?;
        is_a_runtime(&seen, path)?;
        let known = record::source_listing(&self.cache.services(), service).unwrap_or_default();
        seen.take_hashes_of(&known);
        copy::hash(Source { root: &root, path }, &mut seen, progress)?;
        let unread = || Trouble::System(format!("cannot read all of {}", path.display()));
        let fingerprint = seen.fingerprint().ok_or_else(unread)?;
        self.keep_source(service, &known, seen);
        Ok(fingerprint)
    }

    fn try_materialize(
        &self,
        service: &str,
        path: &Path,
        anew: bool,
        progress: &Progress,
    ) -> Result<Made, Trouble> {
        let root = walk::open_folder(path)
            .map_err(|error| Trouble::of_source("open the runtime's source", path, &error))?;
        let source = Source { root: &root, path };
        let mut seen = walk::walk(&root, path)?;
        is_a_runtime(&seen, path)?;
        let before = seen.clone();
        let known = record::source_listing(&self.cache.services(), service);
        let known = known.unwrap_or_default();
        seen.take_hashes_of(&known);
        if known.may_equal(&seen) && !anew {
            copy::hash(source, &mut seen, progress)?;
            if let Some(fingerprint) = seen.fingerprint().filter(|one| self.cache.has(one)) {
                self.keep_source(service, &known, seen);
                return Ok(Made {
                    fingerprint,
                    copied: None,
                });
            }
        }
        let stage = self.stage()?;
        reached(Step::CopyBegun);
        let copied = copy::copy(source, &mut seen, &stage, progress)
            .and_then(|()| has_not_changed(source, &before))
            .and_then(|()| self.publish(source, &stage, &seen));
        let fingerprint = copied.inspect_err(|_| {
            // What cannot be removed is swept by the next copy.
            drop(copy::remove(&stage));
        })?;
        let size = seen.size();
        self.keep_source(service, &known, seen);
        Ok(Made {
            fingerprint,
            copied: Some(size),
        })
    }

    /// A folder for a copy.
    fn stage(&self) -> Result<PathBuf, Trouble> {
        let stage = self.cache.fresh(UNDER_WAY);
        let made = DirBuilder::new().mode(DIR_MODE).create(&stage);
        made.map_err(|error| Trouble::of_copy("make the folder", &stage, &error))?;
        Ok(stage)
    }

    /// Puts the whole copy into its place.
    fn publish(
        &self,
        source: Source<'_>,
        stage: &Path,
        copied: &Listing,
    ) -> Result<Fingerprint, Trouble> {
        let trouble = |error| Trouble::of_copy("finish the copy", stage, &error);
        let fingerprint = copied
            .fingerprint()
            .ok_or_else(|| trouble(io::ErrorKind::InvalidData.into()))?;
        let place = self.cache.path(&fingerprint);
        if self.cache.has(&fingerprint) && self.check(&fingerprint)?.altered.is_empty() {
            copy::remove(stage).map_err(trouble)?;
            return Ok(fingerprint);
        }
        reached(Step::Copied);
        let root = walk::open_folder(stage).map_err(trouble)?;
        let mut manifest = walk::walk(&root, stage)?;
        for (made, from) in manifest.entries.iter_mut().zip(&copied.entries) {
            made.kind = from.kind.clone();
        }
        copying::settle(&root).map_err(trouble)?;
        self.set_aside(&place).map_err(trouble)?;
        record::replace(
            &self.cache.list(&fingerprint),
            text::write(&manifest).as_bytes(),
        )
        .map_err(trouble)?;
        reached(Step::Listed);
        let mode = source
            .root
            .metadata()
            .map_err(trouble)?
            .permissions()
            .mode()
            & MODE_KEPT;
        root.set_permissions(Permissions::from_mode(mode | DIR_MODE))
            .map_err(trouble)?;
        fs::rename(stage, &place).map_err(trouble)?;
        walk::open_folder(&self.cache.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(trouble)?;
        Ok(fingerprint)
    }

    /// A program may be running from it: it keeps its files, under another name.
    fn set_aside(&self, place: &Path) -> io::Result<()> {
        match fs::rename(place, self.cache.fresh(ALTERED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

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

    /// Removes what copies have left that did not come to their end. What cannot be removed is left to the next.
    fn sweep(&self) {
        let names = self.cache.names().unwrap_or_default();
        for name in names.iter().filter(|name| name.starts_with(UNDER_WAY)) {
            drop(copy::remove(&self.cache.dir.join(name)));
        }
    }

    /// Remembers how the source was. A file that was changed just now might change again without another stamp: it is
    /// read again next time. Without all this the source is only read again.
    fn keep_source(&self, service: &str, known: &Listing, mut seen: Listing) {
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
