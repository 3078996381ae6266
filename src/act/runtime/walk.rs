//! Lists a tree of files: names, kinds, modes and stamps. Reads no file.

use super::display::printable;
use super::error::SourceError;
use super::listing::{
    Entry, EntryKind, FileStamp, LINK_MODE, Listing, MODE_KEPT, STICKY, TreeStamp, TreeStamper,
};
use crate::sys::{filesystem, folder};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Greatest depth of nested folders. Each one uses a descriptor while it is read.
const DEPTH_MAX: usize = 100;
/// Greatest number of entries. A larger runtime is a mistake in `source`.
const ENTRIES_MAX: usize = 1_000_000;

/// Which folders of a tree are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folders {
    /// All.
    All,
    /// Only those that no user but root and that of this process can change; any other one is an error.
    Unchangeable,
}

/// Opens a folder for [`walk`].
///
/// # Errors
/// The errors of open(2).
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// The same for a folder that is open already, perhaps without permission to list it.
///
/// # Errors
/// The errors of openat(2).
pub(super) fn reopen_folder(folder: impl AsFd) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, c".", flags, Mode::empty())?.into())
}

/// Lists the tree below `root`. `path` is its name in messages. Blocks for as long as its disk does.
///
/// # Errors
/// The tree cannot be read, is too deep or too large, or contains sockets, pipes or devices.
pub(super) fn walk(root: &File, path: &Path) -> Result<Listing, SourceError> {
    walk_folders(root, path, Folders::All)
}

/// As [`walk`], in folders of this kind.
///
/// # Errors
/// As [`walk`], and for a folder of another kind.
pub(super) fn walk_folders(
    root: &File,
    path: &Path,
    folders: Folders,
) -> Result<Listing, SourceError> {
    let mut entries = Vec::new();
    let mut stamper = TreeStamper::new();
    visit_all(root, path, folders, &mut |found| {
        found.add_to(&mut stamper);
        entries.push(Entry {
            path: found.path.to_owned(),
            kind: found.kind,
            mode: found.mode,
            stamp: found.stamp,
        });
    })?;
    Ok(Listing {
        stamp: Some(stamper.finish()),
        ..Listing::of(entries)
    })
}

/// The stamp of the tree below `root`: the same as that of an earlier listing if no metadata changed since. Faster than
/// [`walk`], because it keeps no entries.
///
/// # Errors
/// As [`walk_folders`].
pub(super) fn tree_stamp(
    root: &File,
    path: &Path,
    folders: Folders,
) -> Result<TreeStamp, SourceError> {
    let mut stamper = TreeStamper::new();
    visit_all(root, path, folders, &mut |found| found.add_to(&mut stamper))?;
    Ok(stamper.finish())
}

/// An entry that a walk has found.
struct VisitedEntry<'a> {
    path: &'a Path,
    kind: EntryKind,
    mode: u32,
    stamp: FileStamp,
}

impl VisitedEntry<'_> {
    fn add_to(&self, stamper: &mut TreeStamper) {
        stamper.add(self.path, &self.kind, self.mode, &self.stamp);
    }
}

/// Calls `visit` for every entry: a folder before its content, and the content in the order of its names.
fn visit_all(
    root: &File,
    path: &Path,
    folders: Folders,
    visit: &mut dyn FnMut(VisitedEntry<'_>),
) -> Result<(), SourceError> {
    let mut walk = Walker {
        root: path,
        at: PathBuf::new(),
        entries: 0,
        mount: filesystem::read_only_mount_id(root),
        folders,
        visit,
    };
    walk.folder(root, 0)
}

struct Walker<'a> {
    root: &'a Path,
    /// The current entry, relative to the root.
    at: PathBuf,
    /// Entries found so far.
    entries: usize,
    /// See [`filesystem::read_only_mount_id`].
    mount: u64,
    folders: Folders,
    visit: &'a mut dyn FnMut(VisitedEntry<'_>),
}

impl Walker<'_> {
    fn full_path(&self) -> PathBuf {
        self.root.join(&self.at)
    }

    fn error(&self, action: &str, error: Errno) -> SourceError {
        SourceError::of_source(action, &self.full_path(), &error.into())
    }

    fn folder(&mut self, folder: &File, depth: usize) -> Result<(), SourceError> {
        if depth > DEPTH_MAX {
            return Err(SourceError::NotCopyable(format!(
                "cannot copy {}: its folders are nested more than {DEPTH_MAX} deep",
                printable(&self.full_path())
            )));
        }
        let reading = |error| self.error("read the folder", error);
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(folder).map_err(reading)? {
            let name = entry.map_err(reading)?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        // A file system returns them in any order.
        names.sort_unstable();
        for name in names {
            self.at.push(OsStr::from_bytes(name.as_bytes()));
            self.entry(folder, &name, depth)?;
            self.at.pop();
        }
        Ok(())
    }

    fn entry(&mut self, folder: &File, name: &CStr, depth: usize) -> Result<(), SourceError> {
        let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.error("read the metadata of", error))?;
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(SourceError::NotCopyable(format!(
                "cannot copy {}: it contains more than {ENTRIES_MAX} files; let `source` name the runtime alone",
                self.root.display()
            )));
        }
        let mode = number::<_, u32>(found.st_mode) & MODE_KEPT;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {
                let mode = mode & !STICKY; // it has no meaning there
                let bytes = number(found.st_size);
                self.visit(EntryKind::File { bytes, hash: None }, mode, &found);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new())
                    .map_err(|error| self.error("read the link", error))?;
                let target = OsStr::from_bytes(target.to_bytes()).into();
                self.visit(EntryKind::Link(target), LINK_MODE, &found);
            }
            FileType::Directory => {
                self.check_folder(&found)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(folder, name, flags, Mode::empty())
                    .map_err(|error| self.error("open the folder", error))?;
                self.visit(EntryKind::Folder, mode, &found);
                self.folder(&inner.into(), depth + 1)?;
            }
            kind => {
                return Err(SourceError::NotCopyable(format!(
                    "cannot copy {}: it is {}; a runtime can contain only files, folders and links: remove it from the source",
                    printable(&self.full_path()),
                    name_of(kind)
                )));
            }
        }
        Ok(())
    }

    /// The folder is of the kind that may be read. If it is, no other user can exchange it before it is opened.
    fn check_folder(&self, found: &Stat) -> Result<(), SourceError> {
        let changeable = match self.folders {
            Folders::All => None,
            Folders::Unchangeable => {
                folder::changeable_by(number(found.st_uid), number(found.st_mode))
            }
        };
        changeable.map_or(Ok(()), |changeable| {
            Err(SourceError::of_changeable(&self.full_path(), changeable))
        })
    }

    fn visit(&mut self, kind: EntryKind, mode: u32, found: &Stat) {
        (self.visit)(VisitedEntry {
            path: &self.at,
            kind,
            mode,
            stamp: stamp_of(found, self.mount),
        });
    }
}

/// The stamp and the length of an open file on `mount` (see [`filesystem::read_only_mount_id`]), to be compared with those
/// that a walk has found.
///
/// # Errors
/// The errors of fstat(2).
pub(super) fn stamp(file: impl AsFd, mount: u64) -> io::Result<(FileStamp, u64)> {
    let found = rustix::fs::fstat(file)?;
    Ok((stamp_of(&found, mount), number(found.st_size)))
}

fn stamp_of(found: &Stat, mount: u64) -> FileStamp {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
    FileStamp {
        inode: number::<_, u64>(found.st_ino) ^ mount,
        modified_nanos: nanos(number(found.st_mtime), number(found.st_mtime_nsec)),
        changed_nanos: nanos(number(found.st_ctime), number(found.st_ctime_nsec)),
    }
}

/// Converts a field of struct stat, whose width depends on the system. Real values always fit.
fn number<T: TryInto<U>, U: Default>(value: T) -> U {
    value.try_into().unwrap_or_default()
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::SystemTime;

    /// The stamp, checked to be that of the listing.
    fn stamp_of_tree(root: &Path) -> TreeStamp {
        let folder = open_folder(root).expect("a folder");
        let stamp = tree_stamp(&folder, root, Folders::All).expect("walked");
        assert_eq!(
            walk(&folder, root).expect("walked").stamp.as_ref(),
            Some(&stamp)
        );
        stamp
    }

    #[test]
    fn the_stamp_of_a_tree_shows_every_change_of_names_and_metadata() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).expect("a folder");
        for name in ["d/f", "d-e", "x"] {
            fs::write(at(name), "one").expect("a file");
        }
        symlink("x", at("link")).expect("a link");
        let long_ago = SystemTime::UNIX_EPOCH;
        let changes: [&dyn Fn() -> io::Result<()>; 8] = [
            &|| fs::write(at("d/f"), "longer"),
            &|| fs::set_permissions(at("x"), Permissions::from_mode(0o600)),
            &|| fs::set_permissions(at("d"), Permissions::from_mode(0o700)),
            &|| File::open(at("x"))?.set_modified(long_ago),
            &|| fs::rename(at("d/f"), at("d/g")),
            // The same bytes under the same name, on another inode.
            &|| fs::copy(at("x"), at("y")).and_then(|_| fs::rename(at("y"), at("x"))),
            &|| fs::remove_file(at("link")).and_then(|()| symlink("d-e", at("link"))),
            &|| fs::create_dir(at("empty")),
        ];
        let mut before = stamp_of_tree(dir.path());
        for (nth, change) in changes.iter().enumerate() {
            assert_eq!(stamp_of_tree(dir.path()), before);
            change().expect("changed");
            let after = stamp_of_tree(dir.path());
            assert_ne!(after, before, "change {nth}");
            before = after;
        }
        // A file that was created and removed again does not change it.
        fs::write(at("d/passing"), "").expect("a file");
        fs::remove_file(at("d/passing")).expect("removed");
        assert_eq!(stamp_of_tree(dir.path()), before);
    }
}
