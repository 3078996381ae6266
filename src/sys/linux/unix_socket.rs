//! The Unix sockets that listen at a path, by netlink (sock_diag(7)).
//!
//! The kernel keeps for each socket the path that was given to bind(2), and the file that bind(2) created. Only the file
//! shows what a connection reaches: two sockets that were bound to a path one after the other have the same path, and it may
//! be relative to any folder.

use super::sock_diag::{self, Diag, attribute, u32_at};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

const REQUEST_BYTES: usize = 24; // struct unix_diag_req
const MESSAGE_BYTES: usize = 16; // struct unix_diag_msg
const UDIAG_SHOW_VFS: u32 = 2;
const UNIX_DIAG_VFS: u16 = 1;
const VFS_BYTES: usize = 8; // struct unix_diag_vfs
/// The width of a minor number in the kernel's own form of a device number (linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// A file as the kernel identifies it in UNIX_DIAG_VFS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KernelFile {
    /// Its inode, of which the kernel reports 32 bits (sk_diag_dump_vfs in net/unix/diag.c).
    inode: u32,
    /// The device of its file system, in the kernel's own form.
    device: u32,
}

/// The inodes of the sockets that listen at `path`, as in `socket:[inode]`. The path leads to a file system, which can hang.
pub(in super::super) fn listeners_at_path(path: &Path) -> io::Result<Vec<u64>> {
    let file = match KernelFile::at(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut request = [0_u8; REQUEST_BYTES];
    request[0] = u8::try_from(libc::AF_UNIX).map_err(io::Error::other)?;
    request[4..8].copy_from_slice(&(1_u32 << sock_diag::LISTEN).to_ne_bytes());
    request[12..16].copy_from_slice(&UDIAG_SHOW_VFS.to_ne_bytes());
    let mut found = Vec::new();
    Diag::open()?.dump(&request, |body| {
        found.extend(entry(body).and_then(|(socket, bound)| (bound == file).then_some(socket)));
    })?;
    Ok(found)
}

/// Parses `struct unix_diag_msg { family type state pad, inode, cookie[2] }` and the attribute with the file after it. None
/// for a socket without a file.
fn entry(body: &[u8]) -> Option<(u64, KernelFile)> {
    if body.len() < MESSAGE_BYTES {
        return None;
    }
    let file = attribute(&body[MESSAGE_BYTES..], UNIX_DIAG_VFS)?;
    (file.len() >= VFS_BYTES).then(|| {
        let file = KernelFile {
            inode: u32_at(file, 0),
            device: u32_at(file, 4),
        };
        (u64::from(u32_at(body, 4)), file)
    })
}

impl KernelFile {
    /// The file at `path`. What stat(2) reports can differ: btrfs has a device number for each subvolume there, and overlayfs
    /// reports files of its lower layers. /proc has the numbers that the kernel itself uses.
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)?;
        let meta = file.metadata()?;
        let read = |table: &str| fs::read_to_string(table).unwrap_or_default();
        let info = read(&format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
        let device = field(&info, "mnt_id:")
            .and_then(|mount| device_of_mount(&read("/proc/self/mountinfo"), mount));
        let (major, minor) =
            device.unwrap_or_else(|| (libc::major(meta.dev()), libc::minor(meta.dev())));
        // Linux before 5.14 has no inode in fdinfo.
        let inode = field(&info, "ino:").unwrap_or_else(|| meta.ino());
        Ok(Self {
            inode: low_bits(inode),
            device: major << MINOR_BITS | minor,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel truncates it too"
)]
const fn low_bits(inode: u64) -> u32 {
    inode as u32
}

/// The number after `name` in a text of "name: number" lines.
fn field(info: &str, name: &str) -> Option<u64> {
    let rest = info.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().parse().ok()
}

/// The device of the file system of a mount. proc(5), mountinfo: `id parent major:minor root mount-point …`.
fn device_of_mount(mounts: &str, id: u64) -> Option<(u32, u32)> {
    let is_it =
        |line: &&str| line.split(' ').next().and_then(|first| first.parse().ok()) == Some(id);
    let line = mounts.lines().find(is_it)?;
    let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::pid;
    use crate::sys::socket::held_sockets;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_socket_that_a_path_leads_to_is_found_and_an_earlier_one_of_that_path_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, link) = (dir.path().join("s"), dir.path().join("link"));
        let at = |path: &Path| listeners_at_path(path).expect("listed");
        assert!(at(&path).is_empty());
        let first = UnixListener::bind(&path).expect("bound");
        let [of_first] = at(&path)[..] else {
            panic!("one listener")
        };
        fs::remove_file(&path).expect("removed");
        assert!(at(&path).is_empty());
        let second = UnixListener::bind(&path).expect("bound");
        let [of_second] = at(&path)[..] else {
            panic!("one listener")
        };
        assert_ne!(of_first, of_second);
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert_eq!(at(&link), [of_second]);
        let held = || held_sockets(pid(), &[of_first, of_second]).expect("held");
        assert_eq!(held().len(), 2);
        drop(first);
        assert_eq!(held().into_iter().collect::<Vec<_>>(), [of_second]);
        drop(second);
        assert!(at(&path).is_empty(), "only the file is left");
    }

    #[test]
    fn a_mount_has_the_device_of_its_file_system() {
        let mounts = "22 27 0:21 / /proc rw - proc proc rw\n27 1 254:3 / / rw - ext4 /dev/vda rw\n";
        assert_eq!(device_of_mount(mounts, 27), Some((254, 3)));
        assert_eq!(device_of_mount(mounts, 2), None);
        let info = "pos:\t0\nflags:\t012000000\nmnt_id:\t27\nino:\t992240\n";
        assert_eq!(
            (field(info, "mnt_id:"), field(info, "ino:")),
            (Some(27), Some(992_240))
        );
    }

    #[test]
    fn a_message_without_a_file_or_too_short_is_skipped() {
        assert_eq!(entry(&[0; MESSAGE_BYTES]), None);
        assert_eq!(entry(&[0; MESSAGE_BYTES - 1]), None);
        let short = [[0; MESSAGE_BYTES].as_slice(), &[8, 0, 1, 0, 1, 0, 0, 0]].concat();
        assert_eq!(entry(&short), None);
    }
}
