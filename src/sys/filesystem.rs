//! File system operations that the standard library does not offer: clones, attributes, atomic exchange, sync, mount flags.

use super::platform;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes `target`, which must not exist, a clone of `source`: another inode that shares the data until one of the two is
/// written (Linux: FICLONE, ioctl_ficlone(2); macOS: clonefile(2)). Returns none where the file systems cannot clone; in
/// that case `target` does not exist afterwards.
///
/// # Errors
/// The system refuses for any other reason.
pub fn clone_file(source: &File, target: &Path) -> io::Result<Option<File>> {
    platform::filesystem::clone_file(source, target)
}

/// Copies the attributes of `source` that belong to its content to `target` (macOS: extended attributes, including a code
/// signature, without the quarantine mark). Does nothing on Linux, where extended attributes belong to the file system.
///
/// # Errors
/// The system refuses the attributes.
pub fn copy_attributes(source: &File, target: &File) -> io::Result<()> {
    platform::filesystem::copy_attributes(source, target)
}

/// Whether programs on the file system of `path` cannot be executed (statvfs(3): ST_NOEXEC; macOS: MNT_NOEXEC in
/// statfs(2)).
#[must_use]
pub fn forbids_execution(path: &Path) -> bool {
    platform::filesystem::forbids_execution(path)
}

/// Whether a browser has marked the file as downloaded, so that Gatekeeper asks before it runs. Always false on Linux.
#[must_use]
pub fn is_quarantined(path: &Path) -> bool {
    platform::filesystem::is_quarantined(path)
}

/// Writes the file's data to the drive where [`sync`] alone is not sufficient (macOS). Does nothing on Linux.
///
/// # Errors
/// The drive refuses the write.
pub fn flush_file(file: &File) -> io::Result<()> {
    platform::filesystem::flush_file(file)
}

/// Returns when all data written to the file system of `folder` is on its disk (Linux: syncfs(2); macOS: F_FULLFSYNC,
/// fcntl(2)).
///
/// # Errors
/// The disk refused a write, perhaps one made before this call.
pub fn sync(folder: &File) -> io::Result<()> {
    platform::filesystem::sync(folder)
}

/// Identifies this mount of a read-only file system: the number differs for each mount and after each boot. Returns 0 for
/// a writable file system.
///
/// Files of a read-only image may have the same inode numbers and times as those of the previous image (squashfs and ISO
/// images are built reproducibly). A writable file system stamps each change, so its files need no such number.
#[must_use]
pub fn read_only_mount_id(folder: &File) -> u64 {
    platform::filesystem::read_only_mount_id(folder).map_or(0, |mount| {
        let boot = super::identity::boot_id().unwrap_or_default();
        let words = format!("{mount} {boot}");
        // 0 means "writable".
        super::fnv::Fnv::of(words.as_bytes()).max(1)
    })
}

/// Exchanges the names of two files in one step: a process that opens either name finds one complete file or the other.
///
/// # Errors
/// `NotFound` when one of the files is missing; otherwise the system's error, for example where the file system cannot
/// exchange names.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    super::check(platform::filesystem::exchange(&name(one)?, &name(other)?)).map(drop)
}
