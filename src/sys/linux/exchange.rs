//! renameat2(2).
#![expect(
    unsafe_code,
    reason = "musl's libc has no function for renameat2, so no crate has a safe face for all targets"
)]

use std::ffi::CStr;

pub(super) fn exchange(one: &CStr, other: &CStr) -> libc::c_int {
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
