//! renamex_np(2).
#![expect(unsafe_code, reason = "renamex_np has no safe face")]

use std::ffi::CStr;

pub(super) fn exchange(one: &CStr, other: &CStr) -> libc::c_int {
    // SAFETY: both names are NUL-terminated and outlive the call.
    unsafe { libc::renamex_np(one.as_ptr(), other.as_ptr(), libc::RENAME_SWAP) }
}
