//! Detects that the loop is stalled, and logs where.
//!
//! A kernel timer is armed when the loop's thread becomes busy and disarmed when it becomes idle, so an idle stayd never
//! wakes. A thread of its own waits for the timer. It only logs: a stalled loop sends no WATCHDOG=1 either, and the parent
//! supervisor decides whether to end stayd.

use crate::act::evidence;
use crate::sys::identity;
use crate::sys::signal;
use crate::sys::timer::Timer;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A loop that works on one event for this long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// Reading a few files and logging a line needs little stack.
const STACK_BYTES: usize = 128 * 1024;

/// Watches the main thread, on which the loop runs.
#[derive(Debug)]
pub(super) struct StallDetector {
    timer: Timer,
    /// Counts the events that the loop has begun to work on.
    progress: AtomicU64,
    /// `progress` when the timer was armed.
    progress_when_armed: AtomicU64,
    is_idle: AtomicBool,
}

impl StallDetector {
    /// Starts the thread that waits for the timer.
    ///
    /// # Errors
    /// The system has no timer or no thread left.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let detector = Arc::new(Self {
            timer: Timer::new()?,
            progress: AtomicU64::new(0),
            progress_when_armed: AtomicU64::new(0),
            is_idle: AtomicBool::new(false),
        });
        let watching = Arc::clone(&detector);
        thread::Builder::new()
            .name("stall".into())
            .stack_size(STACK_BYTES)
            .spawn(move || watching.wait_for_stalls())?;
        Ok(detector)
    }

    /// The loop's thread has work.
    pub(super) fn busy(&self) {
        self.is_idle.store(false, Ordering::SeqCst);
        self.progress();
        self.arm();
    }

    /// The loop works on the next event.
    pub(super) fn progress(&self) {
        self.progress.fetch_add(1, Ordering::SeqCst);
    }

    /// The loop's thread has no work.
    pub(super) fn idle(&self) {
        self.is_idle.store(true, Ordering::SeqCst);
        // If disarming fails, the thread reads `is_idle` and does nothing.
        let _ = self.timer.clear();
    }

    fn arm(&self) {
        let progress = self.progress.load(Ordering::SeqCst);
        self.progress_when_armed.store(progress, Ordering::SeqCst);
        // If arming fails, only a log line is missing.
        let _ = self.timer.set(STALLED_AFTER);
    }

    fn wait_for_stalls(&self) {
        // Only the loop's thread takes signals. This thread survives until execve(2) in an upgrade.
        signal::block_all();
        while self.timer.wait().is_ok() {
            if self.is_idle.load(Ordering::SeqCst) {
                continue;
            }
            let progress = self.progress.load(Ordering::SeqCst);
            if progress == self.progress_when_armed.load(Ordering::SeqCst) {
                log_stall();
            } else {
                // Busy, but not stalled.
                self.arm();
            }
        }
    }
}

fn log_stall() {
    let place = evidence::describe_main_thread(identity::pid());
    tracing::error!(
        "stayd itself has been stalled for {} s, {}; it probes and kills nothing until it continues",
        STALLED_AFTER.as_secs(),
        place.unwrap_or_else(|| "at an unknown place".into())
    );
}
