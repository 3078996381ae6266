//! The identity of this boot and of this process: boot id, pid namespace, pids, uid, program path.

use super::platform;
use std::io;
use std::path::PathBuf;

/// The id of this boot (Linux random/boot_id, macOS kern.bootsessionuuid).
///
/// # Errors
/// `/proc` (the sysctl) cannot be read.
pub fn boot_id() -> io::Result<String> {
    platform::boot_id()
}

/// The inode of the pid namespace of this process; 0 where the system has no namespaces.
pub fn pid_namespace() -> u64 {
    platform::pid_namespace()
}

/// The pid of this process.
pub fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// The pid of the parent process.
pub fn parent_pid() -> i32 {
    nix::unistd::getppid().as_raw()
}

/// The user id of root.
pub const ROOT: u32 = 0;

/// The effective uid.
pub fn euid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A path that executes the running program, for starting helpers of the same version (/proc/self/exe stays valid when
/// the file is replaced).
///
/// # Errors
/// The system does not report the path (macOS only).
pub fn own_program() -> io::Result<PathBuf> {
    platform::own_program()
}
