//! A tree as it is: names, kinds, modes and stamps, without reading a file.

use super::listing::{Entry, Kind, Listing, MODE_KEPT, Stamp};
use super::trouble::Trouble;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Folders in folders; each holds a descriptor while it is read.
const DEPTH_MAX: usize = 100;
/// Things in a tree. A runtime that is larger is a mistake in `source`.
const ENTRIES_MAX: usize = 1_000_000;

/// Opens a folder to walk in it.
///
/// # Errors
/// What open(2) says.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// What is in the tree below `root`; blocks for as long as its disk does. `path` is for sentences.
///
/// # Errors
/// The source's trouble; a tree with sockets, pipes or devices, or without a file, is refused.
pub fn walk(root: &File, path: &Path) -> Result<Listing, Trouble> {
    let mut walk = Walk {
        root: path,
        entries: Vec::new(),
    };
    walk.folder(root, Path::new(""), 0)?;
    Ok(Listing::of(walk.entries))
}

struct Walk<'a> {
    root: &'a Path,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &File, path: &Path, depth: usize) -> Result<(), Trouble> {
        if depth > DEPTH_MAX {
            let place = self.root.join(path);
            return Err(Trouble::Refused(format!(
                "cannot copy {}: folders are more than {DEPTH_MAX} deep",
                place.display()
            )));
        }
        let reading = |error: rustix::io::Errno| {
            Trouble::of_source("read the folder", &self.root.join(path), &error.into())
        };
        let mut names: Vec<OsString> = Vec::new();
        for entry in Dir::read_from(folder).map_err(reading)? {
            let name = entry.map_err(reading)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        for name in names {
            self.thing(folder, &name, path.join(&name), depth)?;
        }
        Ok(())
    }

    fn thing(
        &mut self,
        folder: &File,
        name: &OsStr,
        path: PathBuf,
        depth: usize,
    ) -> Result<(), Trouble> {
        let place = self.root.join(&path);
        let seen = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Trouble::of_source("look at", &place, &error.into()))?;
        if self.entries.len() == ENTRIES_MAX {
            return Err(Trouble::Refused(format!(
                "cannot copy {}: it holds more than {ENTRIES_MAX} files; let `source` name the runtime alone",
                self.root.display()
            )));
        }
        let entry = |path, kind| Entry {
            path,
            kind,
            mode: number::<_, u32>(seen.st_mode) & MODE_KEPT,
            stamp: stamp_of(&seen),
        };
        match FileType::from_raw_mode(seen.st_mode) {
            FileType::RegularFile => {
                let bytes = number(seen.st_size);
                self.entries
                    .push(entry(path, Kind::File { bytes, hash: None }));
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new())
                    .map_err(|error| Trouble::of_source("read the link", &place, &error.into()))?;
                let target = OsStr::from_bytes(target.to_bytes()).into();
                let link = entry(path, Kind::Link(target));
                self.entries.push(Entry {
                    mode: MODE_KEPT,
                    ..link
                });
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner =
                    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|error| {
                        Trouble::of_source("open the folder", &place, &error.into())
                    })?;
                self.entries.push(entry(path.clone(), Kind::Folder));
                self.folder(&inner.into(), &path, depth + 1)?;
            }
            kind => {
                return Err(Trouble::Refused(format!(
                    "cannot copy {}: it is {}; a runtime holds files, folders and links: remove it from the source",
                    place.display(),
                    name_of(kind)
                )));
            }
        }
        Ok(())
    }
}

/// How an open file is told from the one that was walked over.
///
/// # Errors
/// What fstat(2) says.
pub fn stamp(file: impl AsFd) -> io::Result<(Stamp, u64)> {
    let seen = rustix::fs::fstat(file)?;
    Ok((stamp_of(&seen), number(seen.st_size)))
}

fn stamp_of(seen: &Stat) -> Stamp {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
    Stamp {
        inode: number(seen.st_ino),
        modified_nanos: nanos(number(seen.st_mtime), number(seen.st_mtime_nsec)),
        changed_nanos: nanos(number(seen.st_ctime), number(seen.st_ctime_nsec)),
    }
}

/// The systems' own widths differ; what does not fit is no number of a file.
fn number<T: TryInto<U>, U: Default>(value: T) -> U {
    value.try_into().unwrap_or_default()
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "neither file nor folder nor link",
    }
}
