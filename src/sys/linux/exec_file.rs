//! Files that are used by their descriptors: an anonymous file, and a program that is executed through /proc/self/fd.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Opens a program without read permission, because it is executed and not read.
pub(in super::super) const OPEN_FOR_EXEC: i32 = libc::O_PATH;

/// An anonymous file in memory.
pub(in super::super) fn anonymous_file() -> io::Result<File> {
    Ok(memfd_create(c"stayd-handover", MFdFlags::MFD_CLOEXEC)?.into())
}

/// The path by which execve(2) finds an open file that has the descriptor `number` in the calling process (proc(5), fd).
#[expect(clippy::unnecessary_wraps, reason = "the macOS version can fail")]
pub(in super::super) fn executable_path(
    _file: &File,
    number: RawFd,
    _path: &Path,
) -> io::Result<PathBuf> {
    Ok(format!("/proc/self/fd/{number}").into())
}

/// Sets the process name to the file name of the program, so that tools find the process by name (proc(5), comm). execve(2)
/// sets it to the last component of the path, which is a descriptor number after a handover.
pub(in super::super) fn restore_process_name() {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|path| path.file_name());
    let name = name.and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(name) = name {
        // A wrong name only makes the process harder to find.
        let _ = nix::sys::prctl::set_name(&name);
    }
}
