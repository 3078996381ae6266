//! proc_pidinfo(2), and how its errors and texts are read. Never run on a Mac yet.
#![expect(unsafe_code, reason = "proc_pidinfo(2)")]

use std::ffi::c_int;
use std::{io, mem};

/// Reads one libproc structure about `pid`.
///
/// # Safety
/// `T` must be the structure of `flavor`, and valid when all zero.
pub(super) unsafe fn info<T>(pid: i32, flavor: c_int, argument: u64) -> io::Result<T> {
    let size = c_int::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the caller guarantees the type; the kernel writes at most `size` bytes.
    unsafe {
        let mut found: T = mem::zeroed();
        let written = libc::proc_pidinfo(pid, flavor, argument, (&raw mut found).cast(), size);
        if written < size {
            return Err(gone());
        }
        Ok(found)
    }
}

/// The error of the last libproc call; `NotFound` for a process that has ended.
pub(super) fn gone() -> io::Error {
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return io::ErrorKind::NotFound.into();
    }
    error
}

/// The characters up to the first NUL.
pub(super) fn text(characters: &[libc::c_char]) -> String {
    let bytes = characters.iter().map(|each| each.cast_unsigned());
    let bytes: Vec<u8> = bytes.take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
