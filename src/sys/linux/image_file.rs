//! Files known by their descriptors alone.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A program is executed, not read: a file that may only be executed is enough.
pub(in super::super) const OPEN_TO_EXECUTE: i32 = libc::O_PATH;

/// A file in memory.
pub(in super::super) fn nameless_file() -> io::Result<File> {
    Ok(memfd_create(c"stayd-handover", MFdFlags::MFD_CLOEXEC)?.into())
}

/// Where execve(2) finds the open `_file`, whose descriptor is `number` there (proc(5), fd).
#[expect(
    clippy::unnecessary_wraps,
    reason = "macOS can fail behind the same face"
)]
pub(in super::super) fn path_of_program(
    _file: &File,
    number: RawFd,
    _path: &Path,
) -> io::Result<PathBuf> {
    Ok(format!("/proc/self/fd/{number}").into())
}

/// execve(2) calls a process after the last part of the path: here, after a number. Whoever looks for us by name is to
/// find us (proc(5), comm).
pub(in super::super) fn go_by_the_name_of_our_file() {
    let ours = std::env::current_exe().ok();
    let name = ours.as_ref().and_then(|path| path.file_name());
    let name = name.and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(name) = name {
        // What it is called is a convenience.
        let _ = nix::sys::prctl::set_name(&name);
    }
}
