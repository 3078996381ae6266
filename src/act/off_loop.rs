//! Runs a look that can block on a thread of its own, and stops waiting for it at a deadline.

use std::fmt;
use std::io;
use std::time::Duration;
use tokio::sync::oneshot;

/// Such a thread walks tables of the kernel and needs no more.
const STACK_BYTES: usize = 256 * 1024;

/// Why a look returned nothing.
#[derive(Debug)]
pub(crate) enum OffLoopError {
    /// The system gave no thread.
    NoThread(io::Error),
    /// The look did not return before the deadline.
    TimedOut(Duration),
}

/// Runs `look` on a new thread called `name` and returns what it returns.
///
/// A thread that misses the deadline is abandoned: nothing waits for it, and its result is dropped.
pub(crate) async fn off_loop<T: Send + 'static>(
    name: &str,
    within: Duration,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OffLoopError> {
    let (send, result) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        // Fails only after the deadline, when nothing waits for the result any more.
        let _ = send.send(look());
    });
    started.map_err(OffLoopError::NoThread)?;
    match tokio::time::timeout(within, result).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) | Err(_) => Err(OffLoopError::TimedOut(within)),
    }
}

impl fmt::Display for OffLoopError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThread(error) => write!(out, "there is no thread to look with: {error}"),
            Self::TimedOut(within) => write!(
                out,
                "a process did not show its state within {} s",
                within.as_secs()
            ),
        }
    }
}
