//! Runs work that can block on a thread of its own, and stops waiting for it after a timeout.

use crate::sys::signal;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;

/// The stack size of such a thread, which only reads tables of the kernel.
const STACK_BYTES: usize = 256 * 1024;

/// Why the work returned nothing.
#[derive(Debug)]
pub(crate) enum OffLoopError {
    /// The system cannot create a thread.
    NoThread(io::Error),
    /// The work did not return within this time.
    TimedOut(Duration),
}

/// Runs `work` on a new thread called `name` and returns what it returns.
///
/// After `within` the thread is abandoned: nothing waits for it, and its result is dropped.
pub(crate) async fn off_loop<T: Send + 'static>(
    name: &str,
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OffLoopError> {
    let result = on_thread(name, work).map_err(OffLoopError::NoThread)?;
    match tokio::time::timeout(within, result).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) | Err(_) => Err(OffLoopError::TimedOut(within)),
    }
}

/// Runs `work` on a new thread called `name`, for as long as it takes. Its result comes through the returned channel.
///
/// # Errors
/// The system cannot create a thread.
pub(crate) fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (send, result) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .stack_size(STACK_BYTES);
    thread.spawn(move || {
        signal::block_all(); // the loop handles signals
        // Fails only when nothing waits for the result any more.
        let _ = send.send(work());
    })?;
    Ok(result)
}

/// Runs work off the loop, one piece after the other: work that hangs holds one thread, however often it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneAtATime(Arc<Mutex<()>>);

impl OneAtATime {
    /// As [`off_loop`], after the work before has ended. The wait for that counts.
    pub(crate) async fn off_loop<T: Send + 'static>(
        &self,
        name: &str,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OffLoopError> {
        let until = Instant::now() + within;
        let turn = Arc::clone(&self.0).lock_owned();
        let turn = tokio::time::timeout_at(until, turn).await;
        let turn = turn.map_err(|_| OffLoopError::TimedOut(within))?;
        let work = move || {
            let _turn = turn;
            work()
        };
        off_loop(name, until - Instant::now(), work).await
    }
}

impl fmt::Display for OffLoopError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThread(error) => write!(out, "cannot create a thread for it: {error}"),
            Self::TimedOut(within) => write!(
                out,
                "a process did not show its state within {} s",
                within.as_secs()
            ),
        }
    }
}
