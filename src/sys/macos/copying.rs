//! clonefile(2), fcopyfile(3), F_FULLFSYNC.
#![expect(unsafe_code, reason = "fcopyfile(3), fsync(2)")]

use rustix::fs::CloneFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Set by browsers on what they have loaded: a copy that a person has asked for is trusted by that person.
const QUARANTINE: &str = "com.apple.quarantine";

pub(in super::super) fn clone_file(source: &File, target: &Path) -> io::Result<Option<File>> {
    let cloned = rustix::fs::fclonefileat(source, rustix::fs::CWD, target, CloneFlags::empty());
    if cloned.is_err() {
        // Whatever the reason is, a copy will find it out.
        return Ok(None);
    }
    let _ = rustix::fs::removexattr(target, QUARANTINE);
    Ok(Some(OpenOptions::new().read(true).open(target)?))
}

pub(in super::super) fn copy_attributes(source: &File, target: &File) -> io::Result<()> {
    // SAFETY: both descriptors are open; a null state asks for the defaults.
    let result = unsafe {
        libc::fcopyfile(
            source.as_raw_fd(),
            target.as_raw_fd(),
            std::ptr::null_mut(),
            libc::COPYFILE_XATTR,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // One that has none is as good as one that has lost it.
    let _ = rustix::fs::fremovexattr(target, QUARANTINE);
    Ok(())
}

pub(in super::super) fn forbids_execution(path: &Path) -> bool {
    let flags = rustix::fs::statfs(path).map(|found| found.f_flags);
    flags.is_ok_and(|flags| flags & libc::MNT_NOEXEC.unsigned_abs() != 0)
}

pub(in super::super) fn is_quarantined(path: &Path) -> bool {
    let mut value = [0; 1024];
    rustix::fs::getxattr(path, QUARANTINE, &mut value[..]).is_ok()
}

/// To the drive, not through its cache: [`settle`] does that once for all.
pub(in super::super) fn hand_over(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    if unsafe { libc::fsync(file.as_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(in super::super) fn settle(folder: &File) -> io::Result<()> {
    // std asks with F_FULLFSYNC
    folder.sync_all()
}

pub(in super::super) fn read_only_mount(folder: &File) -> Option<String> {
    let state = rustix::fs::fstatfs(folder).ok()?;
    let read_only = state.f_flags & libc::MNT_RDONLY.unsigned_abs() != 0;
    let seen = rustix::fs::fstat(folder).ok()?;
    read_only.then(|| format!("{} {:?}", seen.st_dev, seen.st_ctime))
}
