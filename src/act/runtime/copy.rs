//! Reading a tree once: hashing it, and copying it on the way.
//!
//! Files are handed to as many threads as there are processors. Each file is read once: what is hashed is what was
//! written. A file that is not the one that was walked over ends it: the source is changing.

use super::listing::{Entry, Hash, Kind, Listing};
use super::text::shown;
use super::trouble::Trouble;
use super::walk;
use crate::sys::filesystem;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Read at once; BLAKE3 is quickest in pieces of at least 128 KiB.
const PIECE_BYTES: usize = 256 * 1024;
/// More threads only make the disk seek.
const THREADS_MAX: usize = 8;
/// Until a copy is whole nobody else reads it, and folders can be filled.
const MODE_UNDER_WAY: u32 = 0o700;
const FILE_MODE_UNDER_WAY: u32 = 0o600;

/// How far it is; may be read while it goes on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files that are done.
    pub files: AtomicUsize,
    /// Bytes that are done.
    pub bytes: AtomicU64,
    /// Bytes that are to be done, as far as is known; 0 as long as nothing is.
    pub bytes_in_all: AtomicU64,
    /// The source's disk has been asked, and has not answered at all yet.
    pub knocks: AtomicBool,
}

impl Progress {
    /// Does what asks the source's disk for the first time; as long as that is silent it can be told.
    pub(super) fn knock<T>(&self, work: impl FnOnce() -> T) -> T {
        self.knocks.store(true, Ordering::Relaxed);
        let outcome = work();
        self.knocks.store(false, Ordering::Relaxed);
        outcome
    }
}

/// A tree and how to name it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Opened with [`walk::open_folder`].
    pub root: &'a File,
    /// For sentences.
    pub path: &'a Path,
    /// Of the file system that it is on, see [`filesystem::read_only_mount_id`].
    pub mount: u64,
}

impl<'a> Source<'a> {
    /// The tree below `root`.
    #[must_use]
    pub fn of(root: &'a File, path: &'a Path) -> Self {
        let mount = filesystem::read_only_mount_id(root);
        Self { root, path, mount }
    }
}

/// Reads every file of `listing` that has no hash yet, and puts the hashes in.
///
/// # Errors
/// The first trouble with the source.
pub fn hash(source: Source<'_>, listing: &mut Listing, progress: &Progress) -> Result<(), Trouble> {
    let work = |entry: &Entry| {
        let mut file = open(source, entry)?;
        let reading =
            |error: io::Error| Trouble::of_source("read", &source.path.join(&entry.path), &error);
        let (hash, bytes) = each_piece(&mut file, progress, |_| Ok(())).map_err(reading)?;
        steady(source, entry, &file, bytes)?;
        Ok(hash)
    };
    let unread = |entry: &Entry| matches!(entry.kind, Kind::File { hash: None, .. });
    in_parallel(listing, unread, progress, work)
}

/// Copies everything of `listing` into the empty folder `target`, with fresh inodes, modes and times of modification, and
/// puts the hashes of what was copied into `listing`. A file is cloned where the file systems can.
///
/// # Errors
/// The first trouble with the source or the copy; what is in `target` then is of no use.
pub fn copy(
    source: Source<'_>,
    listing: &mut Listing,
    target: &Path,
    progress: &Progress,
) -> Result<(), Trouble> {
    let folders = || {
        listing
            .entries
            .iter()
            .filter(|one| one.kind == Kind::Folder)
    };
    for folder in folders() {
        let made = DirBuilder::new()
            .mode(MODE_UNDER_WAY)
            .create(target.join(&folder.path));
        made.map_err(|error| {
            Trouble::of_copy("make the folder", &target.join(&folder.path), &error)
        })?;
    }
    let links = listing
        .entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Link(to) => Some((&entry.path, to)),
            Kind::Folder | Kind::File { .. } => None,
        });
    for (link, to) in links {
        std::os::unix::fs::symlink(to, target.join(link))
            .map_err(|error| Trouble::of_copy("make the link", &target.join(link), &error))?;
    }
    let clones = AtomicBool::new(true);
    let is_file = |entry: &Entry| matches!(entry.kind, Kind::File { .. });
    in_parallel(listing, is_file, progress, |entry| {
        copy_file(source, entry, target, progress, &clones)
    })?;
    // From the inside out: a folder that nobody may write cannot be filled.
    for folder in listing
        .entries
        .iter()
        .rev()
        .filter(|one| one.kind == Kind::Folder)
    {
        let place = target.join(&folder.path);
        fs::set_permissions(&place, Permissions::from_mode(folder.mode))
            .map_err(|error| Trouble::of_copy("set the mode of", &place, &error))?;
    }
    Ok(())
}

fn copy_file(
    source: Source<'_>,
    entry: &Entry,
    target: &Path,
    progress: &Progress,
    clones: &AtomicBool,
) -> Result<Hash, Trouble> {
    let (from, to) = (source.path.join(&entry.path), target.join(&entry.path));
    let reading = |error: io::Error| Trouble::of_source("read", &from, &error);
    let writing = |error: io::Error| Trouble::of_copy("write", &to, &error);
    let mut file = open(source, entry)?;
    let cloned = if clones.load(Ordering::Relaxed) {
        filesystem::clone_file(&file, &to).map_err(writing)?
    } else {
        None
    };
    let (made, hash, bytes) = if let Some(mut cloned) = cloned {
        let (hash, bytes) = each_piece(&mut cloned, progress, |_| Ok(())).map_err(reading)?;
        (cloned, hash, bytes)
    } else {
        clones.store(false, Ordering::Relaxed);
        let mut made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE_UNDER_WAY)
            .open(&to)
            .map_err(writing)?;
        let mut refused = None;
        let read = each_piece(&mut file, progress, |piece| {
            put(&mut made, piece).inspect_err(|error| {
                refused = Some(Trouble::of_copy("write", &to, error));
            })
        });
        let (hash, bytes) = read.map_err(|error| refused.unwrap_or_else(|| reading(error)))?;
        made.set_len(bytes).map_err(writing)?; // a hole at the end was not written either
        filesystem::copy_attributes(&file, &made).map_err(writing)?;
        (made, hash, bytes)
    };
    steady(source, entry, &file, bytes)?;
    finish(entry, &made).map_err(writing)?;
    Ok(hash)
}

/// What is nothing but zeros becomes a hole: a file that was sparse does not fill the disk.
fn put(made: &mut File, piece: &[u8]) -> io::Result<()> {
    if piece.iter().any(|&byte| byte != 0) {
        return made.write_all(piece);
    }
    let length = i64::try_from(piece.len()).map_err(io::Error::other)?;
    made.seek(SeekFrom::Current(length)).map(drop)
}

/// Programs compare times of modification (Python its bytecode's), so a copy has its source's.
fn finish(entry: &Entry, made: &File) -> io::Result<()> {
    let modified = Timespec {
        tv_sec: entry.stamp.modified_nanos.div_euclid(1_000_000_000),
        tv_nsec: entry.stamp.modified_nanos.rem_euclid(1_000_000_000),
    };
    let times = Timestamps {
        last_access: modified,
        last_modification: modified,
    };
    rustix::fs::futimens(made, &times)?;
    made.set_permissions(Permissions::from_mode(entry.mode))?;
    filesystem::flush_file(made)
}

fn open(source: Source<'_>, entry: &Entry) -> Result<File, Trouble> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(source.root, &entry.path, flags, Mode::empty());
    opened.map(File::from).map_err(|error| {
        let place = source.path.join(&entry.path);
        Trouble::of_source("open", &place, &error.into())
    })
}

/// It is still the file that was walked over, and was read to its end.
fn steady(source: Source<'_>, entry: &Entry, file: &File, read: u64) -> Result<(), Trouble> {
    let place = source.path.join(&entry.path);
    let (stamp, bytes) = walk::stamp(file, source.mount)
        .map_err(|error| Trouble::of_source("look at", &place, &error))?;
    if stamp == entry.stamp && bytes == read {
        return Ok(());
    }
    Err(Trouble::Unsteady(format!(
        "cannot copy {}: it changes while it is read",
        shown(&place)
    )))
}

/// Hands every piece of the file to `take`, and says the hash and the length of all.
fn each_piece(
    file: &mut File,
    progress: &Progress,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Hash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut sum = 0;
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&piece[..count]);
        take(&piece[..count])?;
        sum += count as u64;
        progress.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok((*hasher.finalize().as_bytes(), sum))
}

/// Does `work` for each file that `wanted` wants, and puts the hash that comes of it into the listing. After a trouble
/// nothing more is begun.
fn in_parallel(
    listing: &mut Listing,
    wanted: impl Fn(&Entry) -> bool,
    progress: &Progress,
    work: impl Fn(&Entry) -> Result<Hash, Trouble> + Sync,
) -> Result<(), Trouble> {
    let mut files: Vec<&mut Entry> = listing
        .entries
        .iter_mut()
        .filter(|one| wanted(one))
        .collect();
    let length = |one: &&mut Entry| match one.kind {
        Kind::File { bytes, .. } => bytes,
        Kind::Folder | Kind::Link(_) => 0,
    };
    let ahead: u64 = files.iter().map(length).sum();
    let done = progress.bytes.load(Ordering::Relaxed);
    progress.bytes_in_all.store(done + ahead, Ordering::Relaxed);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(files.len());
    let queue = Mutex::new(files.iter_mut());
    let trouble = Mutex::new(None);
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let run = || {
        while let Some(entry) = next() {
            match work(entry) {
                Ok(found) => {
                    if let Kind::File { hash, .. } = &mut entry.kind {
                        *hash = Some(found);
                    }
                    progress.files.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    if let Ok(mut trouble) = trouble.lock() {
                        trouble.get_or_insert(error);
                    }
                    // The others find the queue empty.
                    while next().is_some() {}
                    return;
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    match trouble.into_inner().ok().flatten() {
        Some(trouble) => Err(trouble),
        None => Ok(()),
    }
}

/// Removes a tree of ours, folders that nobody may write included.
///
/// # Errors
/// What could not be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let root = walk::open_folder(path)?;
            let listing = walk::walk(&root, path).map_err(io::Error::other)?;
            for folder in listing
                .entries
                .iter()
                .filter(|one| one.kind == Kind::Folder)
            {
                let mode = Mode::from_raw_mode(0o700);
                rustix::fs::chmodat(&root, &folder.path, mode, AtFlags::empty())?;
            }
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
