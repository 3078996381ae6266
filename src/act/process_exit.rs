//! Whether a process still runs, and how it ended.

use crate::decide::event::Exit;
use crate::sys::identity;
use crate::sys::process::{self, Process};
use crate::sys::reaper::Status;
use std::time::Duration;

/// An init that waits for its orphans takes milliseconds; after this time a zombie counts as gone.
const REAPING_GRACE: Duration = Duration::from_millis(100);
/// PostgreSQL also waits for an init that reaps its orphans only every few seconds.
const REAPING_DEADLINE: Duration = Duration::from_secs(5);
const REAPING_PAUSE: Duration = Duration::from_millis(5);

/// How a reaped process ended, as an event says it.
pub(crate) const fn exit_of(status: Status) -> Exit {
    match status {
        Status::Code(code) => Exit::Code(code),
        Status::Signal(number) => Exit::Signal(number),
    }
}

/// Whether the process runs and is not stayd itself. No other process has stayd's number, whatever a claim says.
pub(crate) fn still_runs(process: Process) -> bool {
    let is_it = |stat: process::Stat| stat.process == process && stat.is_alive();
    process.pid != identity::pid() && process::stat(process.pid).is_ok_and(is_it)
}

/// Waits until the parent of an ended process has reaped it.
///
/// A zombie holds no port and no lock; only its number is taken. PostgreSQL does not start while it finds the number of its
/// predecessor in use (`CreateLockFile` in miscinit.c), so for it stayd waits longer. For any other program the next
/// instance waits no longer than a prompt init takes.
pub(crate) async fn reaped_by_its_parent(ended: Process) {
    let zombie = || {
        let stat = process::stat(ended.pid).ok()?;
        (stat.process == ended).then_some(stat)
    };
    let checks_numbers = zombie().is_some_and(|stat| stat.comm == "postgres");
    let gone = async {
        while zombie().is_some() {
            tokio::time::sleep(REAPING_PAUSE).await;
        }
    };
    let within = if checks_numbers {
        REAPING_DEADLINE
    } else {
        REAPING_GRACE
    };
    // A parent that never reaps is not waited for.
    let _ = tokio::time::timeout(within, gone).await;
}
