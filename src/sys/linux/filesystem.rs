//! Clones, sync and mount flags by rustix; exchange by renameat2(2).
#![expect(
    unsafe_code,
    reason = "musl's libc has no function for renameat2, so no crate offers a safe one for all targets"
)]

use nix::fcntl::OFlag;
use rustix::fs::{AtFlags, StatVfsMountFlags, StatxFlags};
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The mode of the copy until the caller sets the final one.
const TEMPORARY_MODE: u32 = 0o600;

/// Opens a folder without permission to read it: its entries can be reached, not listed (open(2), O_PATH).
pub(in super::super) const SEARCH_ONLY: OFlag = OFlag::O_PATH;

pub(in super::super) fn clone_file(source: &File, target: &Path) -> io::Result<Option<File>> {
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(TEMPORARY_MODE)
        .open(target)?;
    match rustix::fs::ioctl_ficlone(&made, source) {
        Ok(()) => Ok(Some(made)),
        // Only a full disk also prevents a copy. For any other reason the caller copies, and gets the error again if there
        // is one.
        Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
        Err(_) => {
            std::fs::remove_file(target)?;
            Ok(None)
        }
    }
}

pub(in super::super) fn copy_attributes(_source: &File, _target: &File) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn forbids_execution(path: &Path) -> bool {
    let flags = rustix::fs::statvfs(path).map(|found| found.f_flag);
    flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOEXEC))
}

pub(in super::super) const fn is_quarantined(_path: &Path) -> bool {
    false
}

pub(in super::super) fn flush_file(_file: &File) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn sync(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// statx(2): the kernel reuses mount ids, except those that this flag (Linux 6.8) asks for.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

pub(in super::super) fn read_only_mount_id(folder: &File) -> Option<String> {
    let state = rustix::fs::fstatvfs(folder).ok()?;
    if !state.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return None;
    }
    let wanted = StatxFlags::MNT_ID | MNT_ID_UNIQUE;
    let found = rustix::fs::statx(folder, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    Some(format!(
        "{}:{} {} {}",
        found.stx_dev_major, found.stx_dev_minor, state.f_fsid, found.stx_mnt_id
    ))
}

pub(in super::super) fn exchange(one: &CStr, other: &CStr) -> libc::c_int {
    // SAFETY: both names are NUL-terminated and outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result == 0 { 0 } else { -1 }
}
