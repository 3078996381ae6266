//! Waiting for the end of a process that is not a child of stayd, and reading its exit status.
#![expect(unsafe_code, reason = "a descriptor is registered with the runtime")]

use super::platform;
use super::process::{self, Handle, Process};
use super::reaper::Status;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long to ask for the exit status. The kernel provides it while the process is a zombie and again after it was
/// reaped, but not in the short time in between.
const STATUS_DEADLINE: Duration = Duration::from_secs(1);
const STATUS_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How often to look whether a process has ended, where the system refuses a descriptor that would show it.
const END_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The answer to a query for the exit status of an ended process.
pub(super) enum ExitQuery {
    /// The exit status.
    Known(Status),
    /// The status is not available at this instant; ask again.
    NotYet,
    /// The system reports the status only to the parent.
    Never,
}

/// Owns its descriptor and never replaces it.
struct WatchedDescriptor(OwnedFd);

impl AsRawFd for WatchedDescriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Waits until the process of `handle` has ended and returns its exit status, or none where the system does not report it.
///
/// Linux reports the status of a zombie to a process with ptrace rights (proc(5), field 52), and since 6.15 to every holder
/// of a pidfd after the process was reaped. macOS reports it to processes of the same user.
///
/// # Errors
/// The process cannot be watched. The error does not mean that the process has ended.
pub async fn wait(handle: &Handle) -> io::Result<Option<Status>> {
    let watched = match platform::exit::watch(handle)? {
        Some(descriptor) => {
            let watched = WatchedDescriptor(descriptor);
            // SAFETY: `watched` keeps one descriptor open, and returns the same number each time, until it is dropped.
            let watched = unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) }?;
            drop(watched.readable().await?);
            Some(watched)
        }
        None => {
            poll_until_ended(handle.process).await;
            None
        }
    };
    let watched = watched.as_ref().map(|watched| &watched.get_ref().0);
    let query = async {
        loop {
            match platform::exit::query(handle.process, watched) {
                ExitQuery::Known(status) => return Some(status),
                ExitQuery::Never => return None,
                ExitQuery::NotYet => tokio::time::sleep(STATUS_POLL_INTERVAL).await,
            }
        }
    };
    let status = tokio::time::timeout(STATUS_DEADLINE, query).await;
    Ok(status.unwrap_or(None))
}

/// Returns when the process has ended, perhaps as a zombie.
async fn poll_until_ended(process: Process) {
    loop {
        match process::stat(process.pid) {
            Ok(stat) if stat.process == process && stat.is_alive() => {}
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            // A state that cannot be read proves nothing.
            Err(_) => {}
        }
        tokio::time::sleep(END_POLL_INTERVAL).await;
    }
}
