//! Decides whether the other threads allow execve(2) now.
//!
//! execve(2) ends every other thread. If one is stuck in the kernel, execve(2) waits as long as the thread is stuck.

use crate::sys::process::{self, State, Thread};
use crate::sys::{clock, identity};
use std::time::Duration;

/// Time for the threads in [`ENDING`] to end.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// The time between two checks.
const CHECK_EVERY: Duration = Duration::from_millis(2);
/// Threads that are checked at most.
const THREADS_MAX: usize = 256;
/// Names of threads that only wait for work or for a timer, or whose work the next version does again, so execve(2) may end
/// them. `tokio-` begins the names of the runtime's threads.
const IDLE: [&str; 4] = ["notify", "stall", "stderr", "tokio-"];
/// Names of threads that this version ends shortly before execve(2).
const ENDING: [&str; 5] = ["journal", "output", "disk-stall", "stdout", "spawn"];

/// Why a thread does not allow execve(2) now; `None` if every thread does. Threads that this version ends before it
/// are in the way only if they are stuck, or if they `should_have_ended`.
pub(super) fn blocker(should_have_ended: bool) -> Option<String> {
    let threads = process::threads(identity::pid(), THREADS_MAX).unwrap_or_default();
    threads
        .into_iter()
        .find_map(|thread| blocks(&thread, should_have_ended))
}

fn blocks(thread: &Thread, should_have_ended: bool) -> Option<String> {
    let Thread {
        tid, comm, state, ..
    } = thread;
    let named = |names: &[&str]| names.iter().any(|name| comm.starts_with(name));
    if *state == State::Uninterruptible {
        return Some(format!("the thread {comm} is stuck in the kernel"));
    }
    // On macOS the main thread has no name.
    let is_main = *tid == identity::pid() || comm.is_empty() || comm == "main";
    let may_end = is_main || named(&IDLE) || (!should_have_ended && named(&ENDING));
    (!may_end).then(|| format!("the thread {comm} has work in progress"))
}

/// Waits until every thread allows execve(2), [`ENDED_WITHIN`] at most.
///
/// # Errors
/// The reason why a thread does not.
pub(super) fn wait_for_threads() -> Result<(), String> {
    let until = clock::sample().awake + ENDED_WITHIN;
    while let Some(why) = blocker(true) {
        if clock::sample().awake >= until {
            return Err(why);
        }
        clock::sleep(CHECK_EVERY);
    }
    Ok(())
}
