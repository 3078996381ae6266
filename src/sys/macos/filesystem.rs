//! Clones by clonefile(2), attributes by fcopyfile(3), sync by F_FULLFSYNC, exchange by renamex_np(2).
#![expect(unsafe_code, reason = "fcopyfile(3), fsync(2), renamex_np(2)")]

use nix::fcntl::OFlag;
use rustix::fs::CloneFlags;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Browsers set this attribute on downloaded files. The copy does not get it, because the user asked for the copy.
const QUARANTINE: &str = "com.apple.quarantine";

/// macOS has no O_PATH: a folder can be opened only with permission to read it.
pub(in super::super) const SEARCH_ONLY: OFlag = OFlag::O_RDONLY;

pub(in super::super) fn clone_file(source: &File, target: &Path) -> io::Result<Option<File>> {
    let cloned = rustix::fs::fclonefileat(source, rustix::fs::CWD, target, CloneFlags::empty());
    if cloned.is_err() {
        // Whatever the reason is, the caller copies and gets the error again if there is one.
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
    // The attribute may be missing already.
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

/// Writes to the drive without flushing its cache: [`sync`] flushes the cache once for all files.
pub(in super::super) fn flush_file(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    if unsafe { libc::fsync(file.as_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(in super::super) fn sync(folder: &File) -> io::Result<()> {
    // The standard library uses F_FULLFSYNC here.
    folder.sync_all()
}

pub(in super::super) fn read_only_mount_id(folder: &File) -> Option<String> {
    let state = rustix::fs::fstatfs(folder).ok()?;
    let read_only = state.f_flags & libc::MNT_RDONLY.unsigned_abs() != 0;
    let found = rustix::fs::fstat(folder).ok()?;
    read_only.then(|| format!("{} {:?}", found.st_dev, found.st_ctime))
}

pub(in super::super) fn exchange(one: &CStr, other: &CStr) -> libc::c_int {
    // SAFETY: both names are NUL-terminated and outlive the call.
    unsafe { libc::renamex_np(one.as_ptr(), other.as_ptr(), libc::RENAME_SWAP) }
}
