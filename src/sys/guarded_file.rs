//! Opens a file for reading, where root must not be led to a file that the reader of the content may not read.

use super::file_rights::{self, HAS_FILE_RIGHTS};
use super::folder::{Changeable, Folder, LINKS_MAX, is_link, owner};
use super::identity::{ROOT, euid};
use super::spawn::User;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fstatat};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Write permission for group and others.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// Opens `path` for reading, without waiting for the writer of a pipe. The content goes to a process of `reader`; none: of the
/// user of this process.
///
/// A process of root uses its own rights only if no other user can change what the path means. Otherwise it opens the file
/// with the rights of `reader`, through whatever links there are: the reader could do the same.
///
/// # Errors
/// The system's error; `PermissionDenied` with a sentence where another user can change the path or the file and the content is
/// for root, or where a single thread cannot have the rights of another user (macOS).
pub fn open(path: &Path, reader: Option<&User>) -> io::Result<File> {
    if euid() != ROOT {
        return open_as_we_are(path);
    }
    let place = Place::of(path)?;
    match (place.changeable_by, reader) {
        (None, Some(_)) => place.open(),
        (None, None) => only_of_root(path, place.open()?),
        (Some(_), Some(reader)) if HAS_FILE_RIGHTS => {
            file_rights::on_own_thread(reader, || open_as_we_are(path))
        }
        (Some(changeable), _) => Err(refused(path, changeable)),
    }
}

fn open_as_we_are(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Where a path leads: an open folder, and the name of a file in it that is no symbolic link.
struct Place {
    folder: OwnedFd,
    name: OsString,
    /// The users besides root that can change what the path means.
    changeable_by: Option<Changeable>,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let mut path = std::path::absolute(path)?;
        let mut changeable_by = None;
        for _ in 0..LINKS_MAX {
            let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
            let folder = Folder::open(parent)?;
            changeable_by = changeable_by.or(folder.changeable_by());
            let folder = folder.into_fd();
            let found = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if !is_link(&found) {
                return Ok(Self {
                    folder,
                    name: name.to_owned(),
                    changeable_by,
                });
            }
            // In a folder such as /tmp, which every user can write, the link's owner can replace it.
            changeable_by = changeable_by.or(owner(&found));
            path = parent.join(PathBuf::from(readlinkat(&folder, name)?));
        }
        Err(Errno::ELOOP.into())
    }

    fn open(&self) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(&self.folder, self.name.as_os_str(), flags, Mode::empty())?;
        Ok(opened.into())
    }
}

/// Passes on a file that only root can write: its content goes to a process of root.
fn only_of_root(path: &Path, file: File) -> io::Result<File> {
    let found = file.metadata()?;
    if found.uid() != ROOT {
        return Err(refused_file(
            path,
            &format!("belongs to uid {}", found.uid()),
        ));
    }
    if found.mode() & GROUP_OR_OTHERS_WRITE != 0 {
        let mode = found.mode() & 0o7777;
        return Err(refused_file(
            path,
            &format!("can be written by other users (mode {mode:o})"),
        ));
    }
    Ok(file)
}

fn refused_file(path: &Path, what: &str) -> io::Error {
    let message = format!(
        "{} {what}, and its content would go to a process of root; let root own it, with mode 0600",
        path.display()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

fn refused(path: &Path, changeable: Changeable) -> io::Error {
    let user = match changeable {
        Changeable::ByUser(uid) => format!("user {uid}"),
        Changeable::ByOthers => "every user or a group".to_owned(),
    };
    let or_else = if HAS_FILE_RIGHTS {
        ", or set `user` to the owner of the folder"
    } else {
        ""
    };
    let message = format!(
        "{user} can change the path {}, and could lead root to another file; use a file in a folder of root{or_else}",
        path.display()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{User, open};
    use crate::sys::identity::{ROOT, euid};
    use std::fs::{self, Permissions};
    use std::io::{self, Read as _};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::path::Path;

    const READER: u32 = 65534;

    fn read(path: &Path, reader: Option<&User>) -> io::Result<String> {
        let mut text = String::new();
        open(path, reader)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    #[ignore = "needs root"]
    fn a_user_leads_root_to_no_file_that_the_user_cannot_read() {
        assert_eq!(euid(), ROOT, "run as root");
        let reader = User {
            uid: READER,
            gid: READER,
            groups: Vec::new(),
        };
        let base = tempfile::tempdir().expect("a folder");
        fs::set_permissions(base.path(), Permissions::from_mode(0o755)).expect("set");
        let of_root = base.path().join("of-root");
        fs::write(&of_root, "secret").expect("written");
        fs::set_permissions(&of_root, Permissions::from_mode(0o600)).expect("set");
        assert_eq!(
            read(&of_root, Some(&reader)).expect("root chose it"),
            "secret"
        );
        assert_eq!(read(&of_root, None).expect("of root alone"), "secret");

        let home = base.path().join("home");
        fs::create_dir(&home).expect("made");
        let (own, link) = (home.join("own"), home.join("link"));
        fs::write(&own, "own").expect("written");
        symlink(&of_root, &link).expect("linked");
        for path in [&home, &own] {
            chown(path, Some(READER), Some(READER)).expect("given");
        }
        assert_eq!(read(&own, Some(&reader)).expect("its own"), "own");
        let error = read(&link, Some(&reader)).expect_err("a link to a file of root");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        for path in [&own, &link] {
            let error = read(path, None).expect_err("for a process of root");
            assert!(error.to_string().contains("could lead root"), "{error}");
        }

        let shared = base.path().join("shared");
        fs::write(&shared, "x").expect("written");
        fs::set_permissions(&shared, Permissions::from_mode(0o666)).expect("set");
        let error = read(&shared, None).expect_err("others can write it");
        assert!(error.to_string().contains("mode 666"), "{error}");
    }
}
