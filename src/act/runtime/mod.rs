//! Materialized runtimes: copies of a source on our own disk, known by the hash of what is in them.
//!
//! Everything here may hang with the disk it touches: it runs in a helper, or in the process of the person who asked.

pub mod by_hand;
pub mod cache;
pub mod check;
pub mod collect;
pub mod copy;
pub mod difference;
mod digest;
mod fitness;
pub(crate) mod in_use;
mod known;
mod links;
pub mod listing;
pub mod offer;
pub(crate) mod program_watch;
pub mod record;
mod request;
pub(crate) mod staleness;
pub mod status_board;
pub mod stock;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trouble;
mod upkeep;
pub mod walk;
mod way;

/// A number of bytes for a person: `340 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let steps = bytes.checked_ilog2().unwrap_or(0) as usize / 10;
    let steps = steps.min(UNITS.len() - 1);
    let shown = bytes as f64 / f64::powi(1024.0, i32::try_from(steps).unwrap_or(0));
    let digits = usize::from(steps > 0 && shown < 10.0);
    format!("{shown:.digits$} {}", UNITS[steps])
}

/// What was copied or read, for a person: `120 files, 340 MiB`.
#[must_use]
pub fn amount(files: usize, bytes: u64) -> String {
    format!("{}, {}", count(files), size(bytes))
}

/// `1 file`, `120 files`.
#[must_use]
pub fn count(files: usize) -> String {
    let word = if files == 1 { "file" } else { "files" };
    format!("{files} {word}")
}

/// Of the lock on the runtimes.
const LOCK_MODE: u32 = 0o600;
