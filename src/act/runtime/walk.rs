//! A tree as it is: names, kinds, modes and stamps, without reading a file.

use super::digest::Digest;
use super::listing::{Entry, Glance, Kind, Listing, MODE_KEPT, Stamp};
use super::text::shown;
use super::trouble::Trouble;
use crate::sys::filesystem;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Folders in folders; each holds a descriptor while it is read.
const DEPTH_MAX: usize = 100;
/// Things in a tree. A runtime that is larger is a mistake in `source`.
const THINGS_MAX: usize = 1_000_000;
/// Begins what is hashed for a glance.
const GLANCE_DOMAIN: &[u8] = b"stayd glance 1\0";

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
/// The source's trouble; a tree with sockets, pipes or devices is refused.
pub fn walk(root: &File, path: &Path) -> Result<Listing, Trouble> {
    let mut entries = Vec::new();
    let mut digest = Digest::new(GLANCE_DOMAIN);
    each(root, path, &mut |thing| {
        put(&mut digest, &thing);
        entries.push(Entry {
            path: thing.path.to_owned(),
            kind: thing.kind,
            mode: thing.mode,
            stamp: thing.stamp,
        });
    })?;
    Ok(Listing {
        glance: Some(Glance::of(digest)),
        ..Listing::of(entries)
    })
}

/// Whether anything looks changed, for a listing of the same tree has the same glance if nothing does. Remembers nothing
/// of what is there, so it is quicker than [`walk`].
///
/// # Errors
/// As [`walk`].
pub fn glance(root: &File, path: &Path) -> Result<Glance, Trouble> {
    let mut digest = Digest::new(GLANCE_DOMAIN);
    each(root, path, &mut |thing| put(&mut digest, &thing))?;
    Ok(Glance::of(digest))
}

/// Everything by which [`Entry::looks_like`] tells two things apart, and nothing else.
fn put(digest: &mut Digest, thing: &Thing<'_>) {
    digest.put_sized(thing.path.as_os_str().as_bytes());
    digest.put(&thing.mode.to_le_bytes());
    match &thing.kind {
        Kind::Folder => digest.put(b"d"),
        Kind::File { bytes, .. } => {
            digest.put(b"f");
            digest.put(&bytes.to_le_bytes());
            digest.put(&thing.stamp.inode.to_le_bytes());
            digest.put(&thing.stamp.modified_nanos.to_le_bytes());
            digest.put(&thing.stamp.changed_nanos.to_le_bytes());
        }
        Kind::Link(target) => {
            digest.put(b"l");
            digest.put_sized(target.as_os_str().as_bytes());
        }
    }
}

/// Something that a walk has come to.
struct Thing<'a> {
    path: &'a Path,
    kind: Kind,
    mode: u32,
    stamp: Stamp,
}

/// Shows everything to `visit`, a folder before what is in it, and that in the order of its names.
fn each(root: &File, path: &Path, visit: &mut dyn FnMut(Thing<'_>)) -> Result<(), Trouble> {
    let mut walk = Walk {
        root: path,
        at: PathBuf::new(),
        things: 0,
        mount: filesystem::read_only_mount_id(root),
        visit,
    };
    walk.folder(root, 0)
}

struct Walk<'a> {
    root: &'a Path,
    /// Where it is, below the root.
    at: PathBuf,
    things: usize,
    /// Of what is walked over.
    mount: u64,
    visit: &'a mut dyn FnMut(Thing<'_>),
}

impl Walk<'_> {
    fn place(&self) -> PathBuf {
        self.root.join(&self.at)
    }

    fn trouble(&self, what: &str, error: Errno) -> Trouble {
        Trouble::of_source(what, &self.place(), &error.into())
    }

    fn folder(&mut self, folder: &File, depth: usize) -> Result<(), Trouble> {
        if depth > DEPTH_MAX {
            return Err(Trouble::Refused(format!(
                "cannot copy {}: folders are more than {DEPTH_MAX} deep",
                shown(&self.place())
            )));
        }
        let reading = |error| self.trouble("read the folder", error);
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(folder).map_err(reading)? {
            let name = entry.map_err(reading)?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        // A file system says them in any order.
        names.sort_unstable();
        for name in names {
            self.at.push(OsStr::from_bytes(name.as_bytes()));
            self.thing(folder, &name, depth)?;
            self.at.pop();
        }
        Ok(())
    }

    fn thing(&mut self, folder: &File, name: &CStr, depth: usize) -> Result<(), Trouble> {
        let seen = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.trouble("look at", error))?;
        self.things += 1;
        if self.things > THINGS_MAX {
            return Err(Trouble::Refused(format!(
                "cannot copy {}: it holds more than {THINGS_MAX} files; let `source` name the runtime alone",
                self.root.display()
            )));
        }
        let mode = number::<_, u32>(seen.st_mode) & MODE_KEPT;
        match FileType::from_raw_mode(seen.st_mode) {
            FileType::RegularFile => {
                let bytes = number(seen.st_size);
                self.show(Kind::File { bytes, hash: None }, mode, &seen);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new())
                    .map_err(|error| self.trouble("read the link", error))?;
                let target = OsStr::from_bytes(target.to_bytes()).into();
                self.show(Kind::Link(target), MODE_KEPT, &seen);
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(folder, name, flags, Mode::empty())
                    .map_err(|error| self.trouble("open the folder", error))?;
                self.show(Kind::Folder, mode, &seen);
                self.folder(&inner.into(), depth + 1)?;
            }
            kind => {
                return Err(Trouble::Refused(format!(
                    "cannot copy {}: it is {}; a runtime holds files, folders and links: remove it from the source",
                    shown(&self.place()),
                    name_of(kind)
                )));
            }
        }
        Ok(())
    }

    fn show(&mut self, kind: Kind, mode: u32, seen: &Stat) {
        (self.visit)(Thing {
            path: &self.at,
            kind,
            mode,
            stamp: stamp_of(seen, self.mount),
        });
    }
}

/// How an open file on `mount` (see [`filesystem::read_only_mount_id`]) is told from the one that was walked over.
///
/// # Errors
/// What fstat(2) says.
pub fn stamp(file: impl AsFd, mount: u64) -> io::Result<(Stamp, u64)> {
    let seen = rustix::fs::fstat(file)?;
    Ok((stamp_of(&seen, mount), number(seen.st_size)))
}

fn stamp_of(seen: &Stat, mount: u64) -> Stamp {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
    Stamp {
        inode: number::<_, u64>(seen.st_ino) ^ mount,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::SystemTime;

    /// At a glance, and by listing it all.
    fn seen(root: &Path) -> Glance {
        let folder = open_folder(root).expect("a folder");
        let glance = glance(&folder, root).expect("seen");
        assert_eq!(
            walk(&folder, root).expect("walked").glance.as_ref(),
            Some(&glance)
        );
        glance
    }

    #[test]
    fn a_glance_shows_every_change_that_can_be_seen_without_reading() {
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
            // the same bytes under the same name, on another inode
            &|| fs::copy(at("x"), at("y")).and_then(|_| fs::rename(at("y"), at("x"))),
            &|| fs::remove_file(at("link")).and_then(|()| symlink("d-e", at("link"))),
            &|| fs::create_dir(at("empty")),
        ];
        let mut before = seen(dir.path());
        for (nth, change) in changes.iter().enumerate() {
            assert_eq!(seen(dir.path()), before);
            change().expect("changed");
            let after = seen(dir.path());
            assert_ne!(after, before, "change {nth}");
            before = after;
        }
        // what came and went in a folder without a trace leaves none here
        fs::write(at("d/passing"), "").expect("a file");
        fs::remove_file(at("d/passing")).expect("removed");
        assert_eq!(seen(dir.path()), before);
    }
}
