//! Two files that change names with each other in one step.

#[cfg_attr(target_os = "linux", path = "linux/exchange.rs")]
#[cfg_attr(target_os = "macos", path = "macos/exchange.rs")]
mod imp;

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Exchanges the names of two files: whoever opens one of them sees the one or the other, whole.
///
/// # Errors
/// `NotFound` when one is missing; the system's own answer where the file system cannot do it.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    super::check(imp::exchange(&name(one)?, &name(other)?)).map(drop)
}
