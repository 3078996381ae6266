//! Reads the configuration on a thread of its own: its disk may hang.

use crate::config::{self, Finding, Loaded};
use std::path::PathBuf;
use tokio::task::JoinHandle;

/// A read of the configuration that is under way.
pub(super) type ConfigReader = JoinHandle<Result<Loaded, Vec<Finding>>>;

/// Begins to read `file`.
pub(super) fn start_reading(file: PathBuf) -> ConfigReader {
    let variable = |name: &str| std::env::var(name).ok();
    tokio::task::spawn_blocking(move || config::load(&file, &variable))
}

/// Waits for the reader; forever if there is none.
pub(super) async fn config_read(reader: &mut Option<ConfigReader>) -> Result<Loaded, Vec<Finding>> {
    let Some(running) = reader else {
        return std::future::pending().await;
    };
    let read = running.await;
    *reader = None;
    // The join cannot fail: the task is never aborted, and a panic aborts the process.
    read.unwrap_or_else(|_join_error| Err(Vec::new()))
}
