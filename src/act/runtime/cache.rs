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
use super::fitness::{has_not_changed, is_a_runtime, lies_apart};
use super::listing::{Fingerprint, Listing, MODE_KEPT};
use super::record::{self, Record};
use super::trouble::Trouble;
use super::{text, walk};
use crate::act::dirs::state_dir::DIR_MODE;
use crate::act::failpoint::{Failpoint, reached};
use crate::sys::{filesystem, identity};
use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A source that changes while it is copied is copied again so many times.
const TRIES: usize = 3;
/// How copies under way begin, and those that were altered.
pub(super) const UNDER_WAY: &str = ".new-";
pub(super) const ALTERED: &str = ".altered-";
const LIST: &str = "list";

/// The folder of an instance's runtimes.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(super) dir: PathBuf,
}

/// The folder, and nobody else makes or removes anything in it, but while a source is read or copied.
#[derive(Debug)]
pub struct Held<'a> {
    pub(super) cache: &'a Cache,
    lock: File,
    /// The list that was read last: that a runtime is there, and what has become of it, is asked one after the other.
    pub(super) last_read: RefCell<Option<(Fingerprint, Rc<Listing>)>>,
}

/// A folder that a copy is made in. As long as its maker lives nobody sweeps it.
struct Stage {
    path: PathBuf,
    folder: File,
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
            lock,
            last_read: RefCell::default(),
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
        // What cannot be removed is told by whoever collects.
        drop(self.sweep());
        let unchanged = self.unchanged(service, source, progress);
        if let Some(fingerprint) = unchanged.filter(|one| !anew && self.is_listed(one)) {
            self.change(service, |record| record.found(source, &fingerprint))?;
            return Ok(Made {
                fingerprint,
                copied: None,
            });
        }
        let mut outcome = self.try_materialize(service, source, anew, progress);
        for _ in 1..TRIES {
            if !matches!(outcome, Err(Trouble::Unsteady(_))) {
                break;
            }
            outcome = self.try_materialize(service, source, anew, progress);
        }
        let made = outcome?;
        reached(Failpoint::Published);
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
        if let Some(fingerprint) = self.unchanged(service, source, progress) {
            return Ok(fingerprint);
        }
        let known = record::source_listing(&self.cache.services(), service).unwrap_or_default();
        let seen = self.aside(|| {
            let root = open_source(source, progress)?;
            let mut seen = read(&root, source, &known)?;
            copy::hash(Source::of(&root, source), &mut seen, progress)?;
            Ok(seen)
        })?;
        let unread = || Trouble::System(format!("cannot read all of {}", source.display()));
        let fingerprint = seen.fingerprint().ok_or_else(unread)?;
        self.keep_source(service, &known, seen);
        Ok(fingerprint)
    }

    /// Does what may take its time with a source; others may make and remove runtimes meanwhile.
    pub(super) fn aside<T>(&self, work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let trouble = |error| Trouble::of_copy("hold the runtimes in", &self.cache.dir, &error);
        self.lock.unlock().map_err(trouble)?;
        let outcome = work();
        self.lock.lock().map_err(trouble)?;
        outcome
    }

    fn try_materialize(
        &self,
        service: &str,
        path: &Path,
        anew: bool,
        progress: &Progress,
    ) -> Result<Made, Trouble> {
        let known = record::source_listing(&self.cache.services(), service).unwrap_or_default();
        let (root, mut seen) = self.aside(|| {
            let root = open_source(path, progress)?;
            lies_apart(path, &self.cache.dir)?;
            let mut seen = read(&root, path, &known)?;
            if known.may_equal(&seen) && !anew {
                copy::hash(Source::of(&root, path), &mut seen, progress)?;
            }
            Ok((root, seen))
        })?;
        let source = Source::of(&root, path);
        if let Some(fingerprint) = seen.fingerprint().filter(|one| !anew && self.has(one)) {
            self.keep_source(service, &known, seen);
            return Ok(Made {
                fingerprint,
                copied: None,
            });
        }
        let stage = self.stage()?;
        reached(Failpoint::CopyBegun);
        let copied = self
            .aside(|| {
                let before = seen.clone();
                copy::copy(source, &mut seen, &stage.path, progress)?;
                has_not_changed(source, &before)?;
                filesystem::sync(&stage.folder)
                    .map_err(|error| Trouble::of_copy("finish the copy", &stage.path, &error))
            })
            .and_then(|()| self.publish(source, &stage, &seen));
        let fingerprint = copied.inspect_err(|_| {
            // What cannot be removed is swept by the next copy.
            drop(copy::remove(&stage.path));
        })?;
        let size = seen.size();
        self.keep_source(service, &known, seen);
        Ok(Made {
            fingerprint,
            copied: Some(size),
        })
    }

    /// A folder for a copy.
    fn stage(&self) -> Result<Stage, Trouble> {
        let path = self.cache.fresh(UNDER_WAY);
        let made = DirBuilder::new().mode(DIR_MODE).create(&path);
        let folder = made
            .and_then(|()| walk::open_folder(&path))
            .and_then(|folder| {
                folder.lock()?;
                Ok(folder)
            });
        let folder = folder.map_err(|error| Trouble::of_copy("make the folder", &path, &error))?;
        Ok(Stage { path, folder })
    }

    /// Puts the whole copy into its place.
    fn publish(
        &self,
        source: Source<'_>,
        stage: &Stage,
        copied: &Listing,
    ) -> Result<Fingerprint, Trouble> {
        let Stage { path, folder } = stage;
        let trouble = |error| Trouble::of_copy("finish the copy", path, &error);
        let fingerprint = copied
            .fingerprint()
            .ok_or_else(|| trouble(io::ErrorKind::InvalidData.into()))?;
        let place = self.cache.path(&fingerprint);
        if self.has(&fingerprint) && self.check(&fingerprint)?.altered.is_empty() {
            copy::remove(path).map_err(trouble)?;
            return Ok(fingerprint);
        }
        reached(Failpoint::Copied);
        let mut manifest = walk::walk(folder, path)?;
        for (made, from) in manifest.entries.iter_mut().zip(&copied.entries) {
            made.kind = from.kind.clone();
        }
        self.set_aside(&place).map_err(trouble)?;
        self.list(&fingerprint, &manifest).map_err(trouble)?;
        reached(Failpoint::Listed);
        let mode = source
            .root
            .metadata()
            .map_err(trouble)?
            .permissions()
            .mode()
            & MODE_KEPT;
        folder
            .set_permissions(Permissions::from_mode(mode | DIR_MODE))
            .map_err(trouble)?;
        fs::rename(path, &place).map_err(trouble)?;
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
}

pub(super) fn open_source(path: &Path, progress: &Progress) -> Result<File, Trouble> {
    progress
        .knock(|| walk::open_folder(path))
        .map_err(|error| Trouble::of_source("open the runtime's source", path, &error))
}

/// What is in the source, with the hash of every file that looks as it did in `known`.
fn read(root: &File, path: &Path, known: &Listing) -> Result<Listing, Trouble> {
    let mut seen = walk::walk(root, path)?;
    is_a_runtime(&seen, path)?;
    seen.take_hashes_of(known);
    Ok(seen)
}
