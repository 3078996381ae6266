//! Real-time scheduling for one thread.

use super::platform;
use std::io;

/// Gives the calling thread real-time priority, above all ordinary threads (Linux SCHED_RR; its children have ordinary
/// priority again). The setting ends with the thread. A tree killer thread needs it against a tree that forks faster than
/// an ordinary thread can kill.
///
/// # Errors
/// `PermissionDenied` without root rights; `Unsupported` on macOS.
pub fn use_realtime_priority() -> io::Result<()> {
    platform::use_realtime_priority()
}
