//! The operating system interface: the only module that contains `unsafe` code or `cfg(target_os)`.
//!
//! The files of this folder are the interface. The folders `linux` and `macos` implement it with the same functions;
//! `platform` is the one that is compiled. Where a system cannot provide an answer, the function returns an `Option` or
//! an `Unsupported` error, never a guess. Linux 5.9 or newer is required (close_range(2), pidfds).

pub mod cgroup;
pub mod clock;
pub mod datagram;
mod exec_args;
pub mod exit;
pub mod file_rights;
pub mod filesystem;
pub mod fnv;
pub mod folder;
pub mod folder_watch;
pub mod guarded_file;
pub mod handover;
pub mod identity;
pub mod isolation;
pub mod limits;
pub mod listen;
pub mod listen_fds;
pub mod lock;
pub mod memory;
mod pending_spawn;
pub mod pipe;
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(target_os = "macos", path = "macos/mod.rs")]
mod platform;
pub mod process;
pub mod program;
pub mod reaper;
pub mod reserve;
pub mod schedule;
pub mod signal;
pub mod socket;
pub mod socket_file;
pub mod spawn;
pub mod terminal;
pub mod timer;
pub mod user;

/// Converts the result of a libc call that returns -1 and sets errno on failure.
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(result)
}
