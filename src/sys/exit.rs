//! The end of a process that is not our child.
#![expect(unsafe_code, reason = "a descriptor is registered with the runtime")]

use super::imp;
use super::process::Handle;
use super::reaper::Status;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a process ended is told between its end and its reaping, or after that; not in the moment between.
const TELLING_DEADLINE: Duration = Duration::from_secs(1);
const TELLING_PAUSE: Duration = Duration::from_millis(5);

/// What the system says of the end of a process.
pub(super) enum Telling {
    /// How it ended.
    ServiceMessage(Status),
    /// It says so in a moment.
    NotYet,
    /// It has said it to the parent alone.
    Never,
}

/// Owns its descriptor, and never exchanges it.
struct Watched(OwnedFd);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Returns when the process of `handle` has ended: how, or none when the system does not tell strangers. Linux tells
/// whoever may trace it while it is a zombie (proc(5), field 52), and every holder of a pidfd after that since 6.15;
/// macOS tells its user.
///
/// # Errors
/// The process cannot be watched; nothing is said about its end.
pub async fn of(handle: &Handle) -> io::Result<Option<Status>> {
    let watched = Watched(imp::exit::watch(handle)?);
    // SAFETY: keeps one descriptor open, and says the same each time, until it is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) }?;
    drop(watched.readable().await?);
    let telling = async {
        loop {
            match imp::exit::told(handle.process, &watched.get_ref().0) {
                Telling::ServiceMessage(status) => return Some(status),
                Telling::Never => return None,
                Telling::NotYet => tokio::time::sleep(TELLING_PAUSE).await,
            }
        }
    };
    let told = tokio::time::timeout(TELLING_DEADLINE, telling).await;
    Ok(told.unwrap_or(None))
}
