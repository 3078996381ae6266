//! Which boot, which pid namespace, which user this is.

use super::imp;
use std::io;
use std::path::PathBuf;

/// This boot (Linux random/boot_id, macOS kern.bootsessionuuid).
///
/// # Errors
/// `/proc` (the sysctl) cannot be read.
pub fn boot_id() -> io::Result<String> {
    imp::boot_id()
}

/// Inode of our pid namespace; 0 where there are none.
pub fn pid_namespace() -> u64 {
    imp::pid_namespace()
}

/// Our pid.
pub fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Our parent's pid.
pub fn parent_pid() -> i32 {
    nix::unistd::getppid().as_raw()
}

/// Effective uid.
pub fn euid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Path of this very program, for starting helpers of the same version (/proc/self/exe survives a replaced file).
///
/// # Errors
/// The system does not tell (macOS only).
pub fn own_program() -> io::Result<PathBuf> {
    imp::own_program()
}
