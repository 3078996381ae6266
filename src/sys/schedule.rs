//! Being first in the queue while it matters.

use super::imp;
use std::io;

/// Puts the calling thread before all ordinary ones (Linux SCHED_RR; its children are ordinary again), for a thread
/// that kills a tree which forks faster than it is killed. Ends with the thread.
///
/// # Errors
/// `PermissionDenied` for anybody but root; `Unsupported` on macOS.
pub fn put_this_thread_first() -> io::Result<()> {
    imp::put_this_thread_first()
}
