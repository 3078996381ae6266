//! STATE/runtime: the folder of the copies, its lock, and the records of the services.
//!
//! A copy is made in a folder of its own and renamed to its final name when it is complete and on the disk, so that there
//! is never half a runtime. Nothing is ever written into an existing runtime, because a program may be running from it.
//!
//! ```text
//! STATE/runtime/FINGERPRINT/        a copy
//! STATE/runtime/FINGERPRINT.list    its manifest: what it contained when it was made
//! STATE/runtime/.services/          a record and a listing of the source for each service
//! STATE/runtime/.new-PID-N/         an unfinished copy; a later materialization removes it
//! STATE/runtime/.altered-PID-N/     a copy that was altered; removed when no process uses it
//! STATE/runtime/.lock               held while runtimes are made or removed
//! ```

use super::copy;
use super::error::SourceError;
use super::listing::{Fingerprint, Listing, MODE_KEPT};
use super::record::{self, RuntimeRecord};
use super::{listing_file, walk};
use crate::act::dirs::state_dir::DIR_MODE;
use crate::sys::identity;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Prefix of the names of unfinished copies.
pub(super) const UNFINISHED: &str = ".new-";
/// Prefix of the names of copies that were altered and replaced.
pub(super) const ALTERED: &str = ".altered-";
/// Ending of the names of manifests.
const LIST: &str = "list";
/// Mode of the lock file.
const LOCK_MODE: u32 = 0o600;
/// The name of the folder that contains all state folders, unless the user chose another folder.
const STATE_ROOT_NAME: &str = "stayd";
/// Search permission for group and others: with it they can open files by name, but not list the folder.
const SEARCH: u32 = 0o011;
/// The same for the group alone.
const SEARCH_OF_GROUP: u32 = 0o010;

/// The folder of one stayd's runtimes.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(super) dir: PathBuf,
}

/// The folder with its lock held: no other process makes or removes anything in it, except during
/// [`LockedCache::without_lock`].
#[derive(Debug)]
pub struct LockedCache<'a> {
    pub(super) cache: &'a Cache,
    lock: File,
    /// The manifest that was read last, because callers ask about the same runtime several times in a row.
    last_read: RefCell<Option<(Fingerprint, Rc<Listing>)>>,
}

/// The runtime that corresponds to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Materialized {
    /// The fingerprint of the source's content.
    pub fingerprint: Fingerprint,
    /// Files and bytes that were copied; `None` where the runtime existed already.
    pub copied: Option<(usize, u64)>,
}

impl Cache {
    /// The cache in the state folder `state`.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self {
            dir: state.join("runtime"),
        }
    }

    /// The path of a runtime, whether it exists or not.
    #[must_use]
    pub fn path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(fingerprint.as_str())
    }

    /// The record of `service`.
    #[must_use]
    pub fn record(&self, service: &str) -> RuntimeRecord {
        record::read(&self.services(), service)
    }

    /// All runtimes that exist, intact or not.
    ///
    /// # Errors
    /// The folder cannot be read. A folder that does not exist contains none.
    pub fn all(&self) -> io::Result<Vec<Fingerprint>> {
        let mut all: Vec<Fingerprint> = self
            .names()?
            .iter()
            .filter_map(|name| Fingerprint::parse(name))
            .collect();
        all.sort_unstable();
        Ok(all)
    }

    /// What a runtime contained when it was made; `None` where that is not known.
    pub(super) fn manifest(&self, fingerprint: &Fingerprint) -> Option<Listing> {
        let text = fs::read_to_string(self.manifest_path(fingerprint)).ok()?;
        let listing = listing_file::read(&text)?;
        (listing.fingerprint().as_ref() == Some(fingerprint)).then_some(listing)
    }

    /// Takes the lock, and waits while another process holds it. Creates the folder if it does not exist.
    ///
    /// # Errors
    /// The folder or the lock file cannot be created or opened.
    pub fn lock(&self) -> Result<LockedCache<'_>, SourceError> {
        let failed = |error| SourceError::of_copy("lock the runtimes in", &self.dir, &error);
        let created = DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(self.services());
        let path = self.dir.join(".lock");
        let lock = created.and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(LOCK_MODE)
                .open(&path)
        });
        // Existing runtimes can still be used on a disk that has become read-only.
        let lock = lock.or_else(|error| File::open(&path).map_err(|_| failed(error)))?;
        lock.lock().map_err(failed)?;
        Ok(LockedCache {
            cache: self,
            lock,
            last_read: RefCell::default(),
        })
    }

    /// Lets other users pass through the folders above the copies, and nothing else, because a service of another user runs
    /// from there. Where the user chose the state folder, only that folder is changed and none above it.
    ///
    /// # Errors
    /// The mode of one of our folders cannot be changed.
    pub(super) fn allow_search(&self) -> io::Result<()> {
        let state = self.dir.parent().unwrap_or(&self.dir);
        let above = state
            .parent()
            .filter(|above| above.file_name() == Some(OsStr::new(STATE_ROOT_NAME)));
        for folder in [Some(self.dir.as_path()), Some(state), above]
            .into_iter()
            .flatten()
        {
            add_search(folder)?;
        }
        Ok(())
    }

    /// Lets the group `gid` pass through the root of a copy, and no other user. Where another group may pass already, because
    /// services of two users have the same runtime, every user may pass from then on.
    ///
    /// # Errors
    /// The group or the mode cannot be changed.
    pub(super) fn allow_search_in_copy(
        &self,
        fingerprint: &Fingerprint,
        gid: u32,
    ) -> io::Result<()> {
        let folder = self.path(fingerprint);
        let found = folder.metadata()?;
        let is_open = found.permissions().mode() & SEARCH_OF_GROUP != 0;
        match (is_open, found.gid() == gid) {
            (true, true) => Ok(()),
            (true, false) => add_search(&folder),
            (false, _) => {
                chown(&folder, None, Some(gid))?;
                fs::set_permissions(folder, Permissions::from_mode(DIR_MODE | SEARCH_OF_GROUP))
            }
        }
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

    /// The folder of the services' records.
    pub(super) fn services(&self) -> PathBuf {
        self.dir.join(".services")
    }

    /// The path of a runtime's manifest.
    pub(super) fn manifest_path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(format!("{fingerprint}.{LIST}"))
    }

    /// An unused path that begins with `prefix`.
    pub(super) fn unused_path(&self, prefix: &str) -> PathBuf {
        let name = |nth: u32| self.dir.join(format!("{prefix}{}-{nth}", identity::pid()));
        (0..)
            .map(name)
            .find(|path| !path.exists())
            .unwrap_or_else(|| name(u32::MAX))
    }
}

impl LockedCache<'_> {
    /// Applies `edit` to the record of `service` and writes it if it changed.
    ///
    /// # Errors
    /// The record cannot be written.
    pub(super) fn change(
        &self,
        service: &str,
        edit: impl FnOnce(&mut RuntimeRecord),
    ) -> Result<(), SourceError> {
        let dir = self.cache.services();
        let before = record::read(&dir, service);
        let mut record = before.clone();
        edit(&mut record);
        if record == before {
            return Ok(());
        }
        record::write(&dir, service, &record).map_err(|error| {
            SourceError::of_copy("store the record of the runtimes in", &dir, &error)
        })
    }

    /// Releases the lock, does `work`, and takes the lock again. For slow work with a source, so that other processes can
    /// make and remove runtimes meanwhile.
    pub(super) fn without_lock<T>(
        &self,
        work: impl FnOnce() -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let failed = |error| SourceError::of_copy("lock the runtimes in", &self.cache.dir, &error);
        self.lock.unlock().map_err(failed)?;
        let outcome = work();
        self.lock.lock().map_err(failed)?;
        outcome
    }

    /// What a runtime contained when it was made; as [`Cache::manifest`], but does not read the same file twice in a row.
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

    /// Writes a runtime's manifest.
    pub(super) fn write_manifest(
        &self,
        fingerprint: &Fingerprint,
        manifest: &Listing,
    ) -> io::Result<()> {
        self.last_read.take();
        let text = listing_file::write(manifest);
        record::replace_file(&self.cache.manifest_path(fingerprint), text.as_bytes())
    }

    /// Whether a runtime exists and has a manifest. Reads only the ends of the manifest and does not check the runtime.
    pub(super) fn is_listed(&self, fingerprint: &Fingerprint) -> bool {
        let stamped = listing_file::read_stamp_of(&self.cache.manifest_path(fingerprint));
        stamped.is_some_and(|(_, named)| named == *fingerprint)
            && self.cache.path(fingerprint).is_dir()
    }

    /// Whether a runtime exists and its whole manifest can be read.
    pub(super) fn has(&self, fingerprint: &Fingerprint) -> bool {
        self.cache.path(fingerprint).is_dir() && self.manifest(fingerprint).is_some()
    }

    /// Removes unfinished copies of processes that have ended. Returns each path with the bytes of its files, or with the
    /// reason why it still exists; a later sweep tries again.
    pub(super) fn sweep(&self) -> Vec<(PathBuf, io::Result<u64>)> {
        let names = self.cache.names().unwrap_or_default().into_iter();
        let unfinished = names.filter(|name| name.starts_with(UNFINISHED));
        let paths = unfinished.map(|name| self.cache.dir.join(name));
        // The process that makes a copy holds a lock on its folder.
        let is_abandoned = |folder: File| folder.try_lock().is_ok();
        let abandoned = paths.filter(|path| walk::open_folder(path).is_ok_and(is_abandoned));
        let swept = abandoned.map(|path| {
            let bytes = bytes_in(&path);
            let removed = copy::remove(&path).map(|()| bytes);
            (path, removed)
        });
        swept.collect()
    }
}

/// The bytes of all files in a tree; 0 where it cannot be read.
pub(super) fn bytes_in(path: &Path) -> u64 {
    let listing = walk::open_folder(path)
        .ok()
        .map(|root| walk::walk(&root, path));
    listing
        .and_then(Result::ok)
        .map_or(0, |listing| listing.size().1)
}

/// Adds [`SEARCH`] to the mode of `folder`, if it is ours.
fn add_search(folder: &Path) -> io::Result<()> {
    let found = folder.metadata()?;
    let mode = found.permissions().mode() & MODE_KEPT;
    if found.uid() != identity::euid() || mode | SEARCH == mode {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(mode | SEARCH))
}
