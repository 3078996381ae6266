//! Materialized runtimes: copies of a source on our own disk, known by the hash of what is in them.
//!
//! Everything here may hang with the disk it touches: it runs in a helper, or in the process of the person who asked.

pub mod cache;
pub mod check;
pub mod collect;
pub mod copy;
pub mod difference;
mod fitness;
pub mod listing;
pub mod offer;
pub mod record;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trouble;
pub mod walk;
mod way;

/// Of the lock on the runtimes.
const LOCK_MODE: u32 = 0o600;
