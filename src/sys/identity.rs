//! Which boot, which pid namespace, which user this is.

use std::io;
use std::path::PathBuf;

/// This boot (Linux random/boot_id, macOS kern.bootsessionuuid).
pub fn boot_id() -> io::Result<String> {
    unimplemented!()
}
/// Inode of our pid namespace; 0 where there are none.
pub fn pid_namespace() -> u64 {
    unimplemented!()
}
/// Our pid.
pub fn pid() -> i32 {
    unimplemented!()
}
/// Our parent's pid.
pub fn parent_pid() -> i32 {
    unimplemented!()
}
/// Effective uid.
pub fn euid() -> u32 {
    unimplemented!()
}
/// Path of this very program, for starting helpers of the same version (/proc/self/exe survives a replaced file).
pub fn own_program() -> io::Result<PathBuf> {
    unimplemented!()
}
