//! The operating system: the only `unsafe`, the only `cfg(target_os)`. Imports nothing of ours.
//!
//! One face, two folders behind it: `linux` and `macos` offer the same functions. What one of them cannot
//! know is an `Option` or an `Unsupported` error, never a guess. Linux needs 5.9 (close_range(2), pidfds).

pub mod alarm;
pub mod cgroup;
pub mod clock;
pub mod copying;
pub mod datagram;
pub mod exchange;
pub mod exit;
mod flight;
pub mod fnv;
mod handed;
pub mod handover;
pub mod identity;
mod image;
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(target_os = "macos", path = "macos/mod.rs")]
mod imp;
pub mod listen;
pub mod lock;
pub mod memory;
pub mod pipe;
pub mod process;
pub mod program;
pub mod reaper;
pub mod schedule;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod timer;
pub mod user;

/// The result of a libc call that says -1 and sets errno.
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(result)
}
