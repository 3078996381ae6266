//! Cloning and flushing through rustix.

use rustix::fs::{AtFlags, StatVfsMountFlags, StatxFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Until its own mode is set.
const MODE_UNDER_WAY: u32 = 0o600;

pub(in super::super) fn clone_file(source: &File, target: &Path) -> io::Result<Option<File>> {
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(MODE_UNDER_WAY)
        .open(target)?;
    match rustix::fs::ioctl_ficlone(&made, source) {
        Ok(()) => Ok(Some(made)),
        // Whatever the reason is, a copy will find it out; only room may be what is wanting for good.
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

pub(in super::super) fn hand_over(_file: &File) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn settle(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// statx(2): numbers of mounts are used again, unless the one that Linux has had since 6.8 is asked for.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

pub(in super::super) fn read_only_mount(folder: &File) -> Option<String> {
    let state = rustix::fs::fstatvfs(folder).ok()?;
    if !state.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return None;
    }
    let wanted = StatxFlags::MNT_ID | MNT_ID_UNIQUE;
    let seen = rustix::fs::statx(folder, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    Some(format!(
        "{}:{} {} {}",
        seen.stx_dev_major, seen.stx_dev_minor, state.f_fsid, seen.stx_mnt_id
    ))
}
