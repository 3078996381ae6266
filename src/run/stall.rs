//! Notices that the loop stands still, and says where.
//!
//! A timer of the kernel's is set when the loop's thread wakes up and cleared when it rests, so an idle stayd wakes for
//! nothing. The thread that waits for it does nothing else. It ends nobody: a loop that stands still sends no WATCHDOG=1
//! either, and ending us is for who watches us.

use crate::act::evidence;
use crate::sys::identity;
use crate::sys::signal;
use crate::sys::timer::Timer;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A loop that stays on one thing for so long stands still.
const STILL_AFTER: Duration = Duration::from_secs(2);
/// Reading a few files and saying a sentence needs little stack.
const STACK_BYTES: usize = 128 * 1024;

/// Watches the main thread, which is the loop's.
#[derive(Debug)]
pub(super) struct StallWatch {
    timer: Timer,
    /// How many things the loop has begun.
    begun: AtomicU64,
    /// The same, when the timer was set.
    when_set: AtomicU64,
    rests: AtomicBool,
}

impl StallWatch {
    /// Starts the thread that waits.
    ///
    /// # Errors
    /// The system gives no timer or no thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self {
            timer: Timer::new()?,
            begun: AtomicU64::new(0),
            when_set: AtomicU64::new(0),
            rests: AtomicBool::new(false),
        });
        let watching = Arc::clone(&watch);
        thread::Builder::new()
            .name("stall".into())
            .stack_size(STACK_BYTES)
            .spawn(move || watching.wait_for_stalls())?;
        Ok(watch)
    }

    /// The loop's thread has something to do.
    pub(super) fn wakes(&self) {
        self.rests.store(false, Ordering::SeqCst);
        self.goes_on();
        self.set();
    }

    /// It has come to the next thing.
    pub(super) fn goes_on(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// It has nothing to do.
    pub(super) fn rests(&self) {
        self.rests.store(true, Ordering::SeqCst);
        // A timer that goes off nonetheless finds it resting.
        let _ = self.timer.clear();
    }

    fn set(&self) {
        let begun = self.begun.load(Ordering::SeqCst);
        self.when_set.store(begun, Ordering::SeqCst);
        // Were it refused, only a sentence would be missing.
        let _ = self.timer.set(STILL_AFTER);
    }

    fn wait_for_stalls(&self) {
        // Signals are for the loop's thread: this one outlives it when another version takes over.
        signal::block_all();
        while self.timer.wait().is_ok() {
            if self.rests.load(Ordering::SeqCst) {
                continue;
            }
            if self.begun.load(Ordering::SeqCst) == self.when_set.load(Ordering::SeqCst) {
                say();
            } else {
                self.set(); // busy, and getting on
            }
        }
    }
}

fn say() {
    let place = evidence::whereabouts(identity::pid());
    tracing::error!(
        "stayd itself has stood still for {} s, {}; nothing is probed or ended until it goes on",
        STILL_AFTER.as_secs(),
        place.unwrap_or_else(|| "and nobody can tell where".into())
    );
}
