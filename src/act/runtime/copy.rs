//! Hashes the files of a tree, and copies them.
//!
//! As many threads as there are processors take the files one by one. Each file is read once, so the hash is that of the
//! bytes that were written. If a file does not have the metadata from the listing, the source is changing and the work
//! ends with an error.

use super::display::printable;
use super::error::SourceError;
use super::listing::{Entry, EntryKind, FileHash, Listing};
use super::source::Source;
use super::walk;
use crate::sys::filesystem;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Bytes per read. BLAKE3 is fastest on pieces of at least 128 KiB.
const PIECE_BYTES: usize = 256 * 1024;
/// More threads would only make the disk seek.
const THREADS_MAX: usize = 8;
/// Modes while a copy is incomplete: no other user can read it, and folders can be filled.
const UNFINISHED_DIR_MODE: u32 = 0o700;
const UNFINISHED_FILE_MODE: u32 = 0o600;

/// The progress of a copy. Other threads may read it meanwhile.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files that are done.
    pub files: AtomicUsize,
    /// Bytes that are done.
    pub bytes: AtomicU64,
    /// All bytes that must be read; 0 as long as that is not known.
    pub bytes_total: AtomicU64,
    /// The first access to the source's disk has not returned yet.
    pub waits_for_disk: AtomicBool,
}

impl Progress {
    /// Does `work`, the first access to the source's disk, and sets the flag meanwhile.
    pub(super) fn waiting_for_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        self.waits_for_disk.store(true, Ordering::Relaxed);
        let outcome = work();
        self.waits_for_disk.store(false, Ordering::Relaxed);
        outcome
    }
}

/// An open tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenTree<'a> {
    /// Opened with [`Source::open`] or [`walk::open_folder`].
    pub(super) root: &'a File,
    /// Its path, and the rights with which it is read.
    pub(super) source: &'a Source,
    /// See [`filesystem::read_only_mount_id`].
    pub(super) mount: u64,
}

impl<'a> OpenTree<'a> {
    /// The tree below `root`, the open folder of `source`.
    pub(super) fn of(root: &'a File, source: &'a Source) -> Self {
        let mount = filesystem::read_only_mount_id(root);
        Self {
            root,
            source,
            mount,
        }
    }

    fn path_of(&self, entry: &Entry) -> PathBuf {
        self.source.path().join(&entry.path)
    }
}

/// Reads every file of `listing` that has no hash yet, and sets the hashes.
///
/// # Errors
/// The first file that cannot be read or that changed.
pub(super) fn hash(
    source: OpenTree<'_>,
    listing: &mut Listing,
    progress: &Progress,
) -> Result<(), SourceError> {
    let work = |entry: &Entry| {
        let mut file = open(source, entry)?;
        let reading =
            |error: io::Error| SourceError::of_source("read", &source.path_of(entry), &error);
        let (hash, bytes) = each_piece(&mut file, progress, |_| Ok(())).map_err(reading)?;
        check_same_file(source, entry, &file, bytes)?;
        Ok(hash)
    };
    let unread = |entry: &Entry| matches!(entry.kind, EntryKind::File { hash: None, .. });
    in_parallel(listing, unread, progress, work)
}

/// Copies all entries of `listing` into the empty folder `target`, to new inodes with the same modes and modification
/// times, and sets the hashes in `listing`. Files are cloned where the file system supports it.
///
/// # Errors
/// The first file that cannot be read or written, or that changed. The content of `target` is incomplete then.
pub(super) fn copy(
    source: OpenTree<'_>,
    listing: &mut Listing,
    target: &Path,
    progress: &Progress,
) -> Result<(), SourceError> {
    let folders = || {
        listing
            .entries
            .iter()
            .filter(|one| one.kind == EntryKind::Folder)
    };
    for folder in folders() {
        let made = DirBuilder::new()
            .mode(UNFINISHED_DIR_MODE)
            .create(target.join(&folder.path));
        made.map_err(|error| {
            SourceError::of_copy("make the folder", &target.join(&folder.path), &error)
        })?;
    }
    let links = listing
        .entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            EntryKind::Link(to) => Some((&entry.path, to)),
            EntryKind::Folder | EntryKind::File { .. } => None,
        });
    for (link, to) in links {
        std::os::unix::fs::symlink(to, target.join(link))
            .map_err(|error| SourceError::of_copy("make the link", &target.join(link), &error))?;
    }
    let clones = AtomicBool::new(true);
    let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
    in_parallel(listing, is_file, progress, |entry| {
        copy_file(source, entry, target, progress, &clones)
    })?;
    // Innermost folders first: a folder without write permission cannot be filled.
    for folder in listing
        .entries
        .iter()
        .rev()
        .filter(|one| one.kind == EntryKind::Folder)
    {
        let place = target.join(&folder.path);
        fs::set_permissions(&place, Permissions::from_mode(folder.mode))
            .map_err(|error| SourceError::of_copy("set the mode of", &place, &error))?;
    }
    Ok(())
}

fn copy_file(
    source: OpenTree<'_>,
    entry: &Entry,
    target: &Path,
    progress: &Progress,
    clones: &AtomicBool,
) -> Result<FileHash, SourceError> {
    let (from, to) = (source.path_of(entry), target.join(&entry.path));
    let reading = |error: io::Error| SourceError::of_source("read", &from, &error);
    let writing = |error: io::Error| SourceError::of_copy("write", &to, &error);
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
            .mode(UNFINISHED_FILE_MODE)
            .open(&to)
            .map_err(writing)?;
        let mut write_error = None;
        let read = each_piece(&mut file, progress, |piece| {
            write_piece(&mut made, piece).inspect_err(|error| {
                write_error = Some(SourceError::of_copy("write", &to, error));
            })
        });
        let (hash, bytes) = read.map_err(|error| write_error.unwrap_or_else(|| reading(error)))?;
        // A hole at the end was not written.
        made.set_len(bytes).map_err(writing)?;
        filesystem::copy_attributes(&file, &made).map_err(writing)?;
        (made, hash, bytes)
    };
    check_same_file(source, entry, &file, bytes)?;
    finish(entry, &made).map_err(writing)?;
    Ok(hash)
}

/// Writes a piece. A piece of zeros becomes a hole, so that the copy of a sparse file does not fill the disk.
fn write_piece(made: &mut File, piece: &[u8]) -> io::Result<()> {
    if piece.iter().any(|&byte| byte != 0) {
        return made.write_all(piece);
    }
    let length = i64::try_from(piece.len()).map_err(io::Error::other)?;
    made.seek(SeekFrom::Current(length)).map(drop)
}

/// Sets the metadata of a copied file. Programs compare modification times (Python: those of its bytecode), so the copy
/// keeps that of its source.
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

fn open(source: OpenTree<'_>, entry: &Entry) -> Result<File, SourceError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(source.root, &entry.path, flags, Mode::empty());
    let opened = source.source.with_rights(open)?;
    opened.map(File::from).map_err(|error| {
        let place = source.path_of(entry);
        source.source.error("open", &place, &error.into())
    })
}

/// The file still has the metadata from the listing, and was read to its end.
fn check_same_file(
    source: OpenTree<'_>,
    entry: &Entry,
    file: &File,
    read: u64,
) -> Result<(), SourceError> {
    let place = source.path_of(entry);
    let (stamp, bytes) = walk::stamp(file, source.mount)
        .map_err(|error| SourceError::of_source("read the metadata of", &place, &error))?;
    if stamp == entry.stamp && bytes == read {
        return Ok(());
    }
    Err(SourceError::Changing(format!(
        "cannot copy {}: it changes while it is read",
        printable(&place)
    )))
}

/// Passes every piece of the file to `take`. Returns the hash and the length of the file.
fn each_piece(
    file: &mut File,
    progress: &Progress,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(FileHash, u64)> {
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

/// Does `work` for each file that `wanted` selects, and sets the hash that it returns. After an error no more files are
/// started.
fn in_parallel(
    listing: &mut Listing,
    wanted: impl Fn(&Entry) -> bool,
    progress: &Progress,
    work: impl Fn(&Entry) -> Result<FileHash, SourceError> + Sync,
) -> Result<(), SourceError> {
    let mut files: Vec<&mut Entry> = listing
        .entries
        .iter_mut()
        .filter(|one| wanted(one))
        .collect();
    let length = |one: &&mut Entry| match one.kind {
        EntryKind::File { bytes, .. } => bytes,
        EntryKind::Folder | EntryKind::Link(_) => 0,
    };
    let remaining: u64 = files.iter().map(length).sum();
    let done = progress.bytes.load(Ordering::Relaxed);
    progress
        .bytes_total
        .store(done + remaining, Ordering::Relaxed);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(files.len());
    let queue = Mutex::new(files.iter_mut());
    let first_error = Mutex::new(None);
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let run = || {
        while let Some(entry) = next() {
            match work(entry) {
                Ok(found) => {
                    if let EntryKind::File { hash, .. } = &mut entry.kind {
                        *hash = Some(found);
                    }
                    progress.files.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    if let Ok(mut first) = first_error.lock() {
                        first.get_or_insert(error);
                    }
                    // Empty the queue, so that the other threads stop.
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
    match first_error.into_inner().ok().flatten() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Removes a tree of ours, including folders without write permission. A tree that does not exist is no error.
///
/// # Errors
/// Something in it cannot be removed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let root = walk::open_folder(path)?;
            let listing = walk::walk(&root, path).map_err(io::Error::other)?;
            for folder in listing
                .entries
                .iter()
                .filter(|one| one.kind == EntryKind::Folder)
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
