//! Materialized runtimes: copies of a service's source on our own disk, named by a hash of their content.
//!
//! Functions that touch a disk block for as long as that disk does. They run in a helper process or in the process of
//! the user's command, never in the loop. The part that runs in the loop's process is in [`in_use`], [`program_watch`] and
//! [`status_board`].

mod build;
pub mod cache;
pub mod copy;
mod display;
pub mod error;
pub mod gc;
pub mod import_rollback;
pub(crate) mod in_use;
pub mod inventory;
pub mod listing;
mod listing_file;
pub(crate) mod program_watch;
pub mod record;
pub mod request;
pub mod source;
pub(crate) mod staleness;
pub mod status_board;
#[cfg(test)]
mod tests;
mod using;
mod verify;
mod walk;

pub use display::{file_count, files_and_bytes, list_paths, size};
