//! Whether a process still runs, and how it ended.

use crate::decide::event::Exit;
use crate::sys::identity;
use crate::sys::process::{self, Process};
use crate::sys::reaper::Status;
use std::time::Duration;

/// An init that reaps its orphans at once takes milliseconds; after this time a zombie counts as gone.
const REAPING_GRACE: Duration = Duration::from_millis(100);
/// The same for PostgreSQL, long enough for an init that reaps its orphans only every few seconds.
const REAPING_TIMEOUT: Duration = Duration::from_secs(5);
const REAPING_PAUSE: Duration = Duration::from_millis(5);

/// Converts the exit status of a reaped process to that of an event.
pub(crate) const fn exit_of(status: Status) -> Exit {
    match status {
        Status::Code(code) => Exit::Code(code),
        Status::Signal(number) => Exit::Signal(number),
    }
}

/// Whether the process runs and is not stayd itself, even if a claim names stayd's pid.
pub(crate) fn still_runs(process: Process) -> bool {
    let is_it = |stat: process::Stat| stat.process == process && stat.is_alive();
    process.pid != identity::pid() && process::stat(process.pid).is_ok_and(is_it)
}

/// Waits until the parent of an ended process has reaped it.
///
/// A zombie holds no port and no lock; only its pid is taken. PostgreSQL does not start while the pid of its predecessor
/// exists (`CreateLockFile` in miscinit.c), so stayd waits longer for it. For any other program stayd waits no longer than a
/// prompt init takes.
pub(crate) async fn wait_until_reaped(ended: Process) {
    let zombie = || {
        let stat = process::stat(ended.pid).ok()?;
        (stat.process == ended).then_some(stat)
    };
    let checks_pid = zombie().is_some_and(|stat| stat.comm == "postgres");
    let gone = async {
        while zombie().is_some() {
            tokio::time::sleep(REAPING_PAUSE).await;
        }
    };
    let within = if checks_pid {
        REAPING_TIMEOUT
    } else {
        REAPING_GRACE
    };
    // Do not wait for a parent that never reaps.
    let _ = tokio::time::timeout(within, gone).await;
}
