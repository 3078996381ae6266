//! execve(2) ends every other thread, and waits for one that is stuck in the kernel for as long as it is stuck.

use crate::sys::process::{self, State, Thread};
use crate::sys::{clock, identity};
use std::time::Duration;

/// Threads that were told to end have done so by then.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// More threads than these are not looked at.
const THREADS_MAX: usize = 256;
/// Threads that only wait, for work or for a timer of ours: they can be cut off. The runtime's own begin so.
const IDLE: [&str; 3] = ["stall", "voice", "tokio-"];
/// Threads that are told to end when everything is left.
const ENDING: [&str; 5] = ["journal", "output", "relief", "screen", "spawn"];

/// What a thread does that must not be cut off now; none when there is no such thread. Those that are told to end count
/// when they have been `told`, or are stuck.
pub(super) fn in_the_way(told: bool) -> Option<String> {
    let threads = process::threads(identity::pid(), THREADS_MAX).unwrap_or_default();
    threads.into_iter().find_map(|thread| keeps(&thread, told))
}

fn keeps(thread: &Thread, told: bool) -> Option<String> {
    let Thread {
        tid, comm, state, ..
    } = thread;
    let named = |names: &[&str]| names.iter().any(|name| comm.starts_with(name));
    if *state == State::Uninterruptible {
        return Some(format!("the thread {comm} is stuck in the system"));
    }
    // macOS gives the first thread no name.
    let is_ours = *tid == identity::pid() || comm.is_empty() || comm == "main";
    let may_be = is_ours || named(&IDLE) || (!told && named(&ENDING));
    (!may_be).then(|| format!("the thread {comm} is at work"))
}

/// Waits until nobody is in the way of execve(2), two seconds at most.
///
/// # Errors
/// Who is.
pub(super) fn wait_until_alone() -> Result<(), String> {
    let until = clock::sample().awake + ENDED_WITHIN;
    while let Some(why) = in_the_way(true) {
        if clock::sample().awake >= until {
            return Err(why);
        }
        clock::sleep(LOOK_EVERY);
    }
    Ok(())
}
