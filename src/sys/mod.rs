//! The operating system: the only `unsafe`, the only `cfg(target_os)`. Imports nothing of ours.
//!
//! One face, two files behind it: `linux` and `macos` offer the same functions. What one of them cannot
//! know is an `Option` or an `Unsupported` error, never a guess.

pub mod clock;
pub mod identity;
pub mod lock;
pub mod process;
pub mod reaper;
pub mod socket;
pub mod spawn;
