//! Opens the folder of a path component by component, and finds out which users can change what the path means.
//!
//! A process of root must not create, change or remove a file by a path that another user can redirect: the user renames a
//! folder, or puts a symbolic link in its place, between two system calls.

use super::identity::{ROOT, euid};
use super::platform::filesystem::SEARCH_ONLY;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as the kernel follows in one path (path_resolution(7)).
pub(super) const LINKS_MAX: u32 = 40;

/// An open folder, reached without following a link that another user could change.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    changeable_by: Option<Changeable>,
}

/// The users that can change what a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changeable {
    /// The owner of a folder on the way.
    ByUser(u32),
    /// The group of a folder on the way, or every user.
    ByOthers,
}

impl Folder {
    /// Opens the folder at `path`, which must be absolute.
    ///
    /// # Errors
    /// A component does not exist or is not a folder; `FilesystemLoop` for too many links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = open_folder(None, OsStr::new("/"))?;
        let found = fstat(&root)?;
        let mut folder = Self {
            fd: root,
            changeable_by: changeable_by(found.st_uid, found.st_mode),
        };
        let mut links = 0;
        let mut rest: Vec<OsString> = components(path);
        while let Some(name) = rest.pop() {
            let found = fstatat(&folder.fd, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if is_link(&found) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::ELOOP.into());
                }
                let target = PathBuf::from(readlinkat(&folder.fd, name.as_os_str())?);
                // In a folder such as /tmp, which every user can write, the link's owner can replace it.
                folder.note(owner(&found));
                if target.is_absolute() {
                    folder.fd = open_folder(None, OsStr::new("/"))?;
                }
                rest.extend(components(&target));
                continue;
            }
            folder.fd = open_folder(Some(folder.fd.as_fd()), &name)?;
            let found = fstat(&folder.fd)?;
            folder.note(changeable_by(found.st_uid, found.st_mode));
        }
        Ok(folder)
    }

    /// Its descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The users besides root and the user of this process that can change what the path means; none: no other user can.
    #[must_use]
    pub const fn changeable_by(&self) -> Option<Changeable> {
        self.changeable_by
    }

    fn note(&mut self, changeable: Option<Changeable>) {
        self.changeable_by = self.changeable_by.or(changeable);
    }
}

/// Opens the folder at `path` and follows links, for a process that need not find out who can change the path. The process
/// needs only permission to search the folders above it.
///
/// # Errors
/// The folder does not exist, or is not a folder.
pub fn open_unchecked(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | SEARCH_ONLY;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// The components of `path` in reverse order; `..` stays, because the kernel resolves it in the folder that was reached.
fn components(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    parts.collect()
}

fn open_folder(parent: Option<BorrowedFd<'_>>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | SEARCH_ONLY;
    let opened = match parent {
        Some(parent) => openat(parent, name, flags, Mode::empty()),
        None => nix::fcntl::open(name, flags, Mode::empty()),
    };
    Ok(opened?)
}

pub(super) fn is_link(found: &FileStat) -> bool {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK
}

/// The owner of a file, if that is neither root nor the user of this process.
pub(super) fn owner(found: &FileStat) -> Option<Changeable> {
    foreign(found.st_uid)
}

fn foreign(uid: u32) -> Option<Changeable> {
    (uid != ROOT && uid != euid()).then_some(Changeable::ByUser(uid))
}

/// Which users besides root and the user of this process can change the entries of a folder with this owner and mode. In a
/// folder with the sticky bit each entry has to be checked by itself.
#[must_use]
pub fn changeable_by(uid: u32, mode: libc::mode_t) -> Option<Changeable> {
    let mode = Mode::from_bits_truncate(mode);
    // Root's group is no exception: with an ACL the bits of the group are the mask of all named users (acl(5)).
    let by_group = mode.contains(Mode::S_IWGRP);
    // With the sticky bit only an entry's owner, the folder's owner and root can rename or remove the entry (inode(7)).
    let is_sticky = mode.contains(Mode::S_ISVTX);
    let by_others = (by_group || mode.contains(Mode::S_IWOTH)) && !is_sticky;
    foreign(uid).or(by_others.then_some(Changeable::ByOthers))
}

#[cfg(test)]
mod tests {
    use super::{Changeable, Folder};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_folder_tells_whether_others_can_change_its_path() {
        let base = tempfile::tempdir().expect("a folder");
        let open = base.path().join("open");
        let inside = open.join("inside");
        fs::create_dir_all(&inside).expect("made");
        let changeable = |path| Folder::open(path).expect("opened").changeable_by();
        assert_eq!(changeable(&inside), None);
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("set");
        assert_eq!(changeable(&inside), Some(Changeable::ByOthers));
        assert_eq!(changeable(base.path()), None, "the folder above it");
        fs::set_permissions(&open, Permissions::from_mode(0o1777)).expect("set");
        assert_eq!(changeable(&inside), None, "sticky");
        let link = base.path().join("link");
        symlink(&inside, &link).expect("linked");
        assert_eq!(changeable(&link), None, "our own link");
        let ring = base.path().join("ring");
        symlink(&ring, &ring).expect("linked");
        let endless = Folder::open(&ring).expect_err("a link to itself");
        assert_eq!(endless.raw_os_error(), Some(libc::ELOOP));
        fs::set_permissions(&open, Permissions::from_mode(0o775)).expect("set");
        assert_eq!(changeable(&inside), Some(Changeable::ByOthers), "its group");
        assert!(Folder::open(&base.path().join("absent")).is_err());
    }
}
