//! What a copy of a file needs from the system besides reading and writing.

use super::imp;
use std::fs::File;
use std::io;
use std::path::Path;

/// Makes `target`, which must not exist, a clone of `source`: another inode that shares the bytes until one of the two is
/// written (Linux: FICLONE, ioctl_ficlone(2); macOS: clonefile(2)). None where the two file systems cannot; then there is
/// no `target`.
///
/// # Errors
/// The system's refusal of anything else.
pub fn clone_file(source: &File, target: &Path) -> io::Result<Option<File>> {
    imp::copying::clone_file(source, target)
}

/// Gives `target` the attributes of `source` that belong to its content (macOS: extended attributes, a code signature
/// among them, but not the quarantine's). Nothing on Linux, where they belong to the file system's own business.
///
/// # Errors
/// The system's refusal.
pub fn copy_attributes(source: &File, target: &File) -> io::Result<()> {
    imp::copying::copy_attributes(source, target)
}

/// Whether the file system of `path` runs no programs (statvfs(3): ST_NOEXEC; macOS: MNT_NOEXEC in statfs(2)).
#[must_use]
pub fn forbids_execution(path: &Path) -> bool {
    imp::copying::forbids_execution(path)
}

/// Whether a browser has marked it as loaded from elsewhere, so that Gatekeeper asks before it runs. False on Linux.
#[must_use]
pub fn is_quarantined(path: &Path) -> bool {
    imp::copying::is_quarantined(path)
}

/// Hands the file's bytes to the disk, where [`settle`] alone would not do.
///
/// # Errors
/// The disk's refusal.
pub fn hand_over(file: &File) -> io::Result<()> {
    imp::copying::hand_over(file)
}

/// Returns when everything that was written on the file system of `folder` is on its disk (Linux: syncfs(2); macOS:
/// F_FULLFSYNC, fcntl(2)).
///
/// # Errors
/// The disk's refusal, of writes before this call too.
pub fn settle(folder: &File) -> io::Result<()> {
    imp::copying::settle(folder)
}

/// A number for this very mount of a file system that cannot be written, another one at each mount and after each boot; 0
/// where it can be written. Files of an image may have the same numbers and times as those of the image before it
/// (squashfs and ISO images that are built reproducibly), where a file system that is written stamps each change.
#[must_use]
pub fn read_only_mount(folder: &File) -> u64 {
    imp::copying::read_only_mount(folder).map_or(0, |mount| {
        let boot = super::identity::boot_id().unwrap_or_default();
        let words = format!("{mount} {boot}");
        // never the number that says "none"
        super::fnv::Fnv::of(words.as_bytes()).max(1)
    })
}
