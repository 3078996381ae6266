//! One-shot kernel timers: one for a thread that blocks, one for a task of the async runtime.
//!
//! Both count awake time (they stop while the machine sleeps), and setting one costs one system call. An idle process is
//! not woken before its timer expires.
#![expect(unsafe_code, reason = "a descriptor is registered with the runtime")]

use super::platform;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer that one thread waits for; other threads may set and clear it.
#[derive(Debug)]
pub struct Timer(platform::timer::Timer);

impl Timer {
    /// Creates a timer that is not set.
    ///
    /// # Errors
    /// No descriptor is available.
    pub fn new() -> io::Result<Self> {
        platform::timer::Timer::new().map(Self)
    }

    /// Lets the timer expire once, `after` from now; this replaces an earlier setting.
    ///
    /// # Errors
    /// The system refuses the setting.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        self.0.set(after)
    }

    /// Unsets the timer: it does not expire.
    ///
    /// # Errors
    /// The system refuses the setting.
    pub fn clear(&self) -> io::Result<()> {
        self.0.clear()
    }

    /// Blocks the calling thread until the timer expires.
    ///
    /// # Errors
    /// The system refuses the wait.
    pub fn wait(&self) -> io::Result<()> {
        self.0.wait()
    }
}

/// A timer that a task of the async runtime waits for; not set at first.
///
/// The runtime keeps its own timers in a wheel. A distant timer wakes the process each time the runtime moves it to a
/// finer level: two or three wake-ups instead of one. A kernel timer wakes the process once.
#[derive(Debug)]
pub struct AsyncTimer(AsyncFd<TimerDescriptor>);

/// Owns the timer's descriptor and never replaces it.
#[derive(Debug)]
struct TimerDescriptor(platform::timer::NonBlockingTimer);

impl AsRawFd for TimerDescriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsyncTimer {
    /// Creates a timer in the current runtime.
    ///
    /// # Errors
    /// No descriptor is available; `Unsupported` where the system has no such timer (macOS).
    ///
    /// # Panics
    /// When called outside a runtime.
    pub fn new() -> io::Result<Self> {
        let timer = TimerDescriptor(platform::timer::NonBlockingTimer::new()?);
        // SAFETY: the timer keeps one descriptor open, and returns the same number each time, until it is dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Self(timer?))
    }

    /// Lets the timer expire once, `after` from now; this replaces an earlier setting.
    ///
    /// # Errors
    /// The system refuses the setting.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        // A duration of zero would unset the timer.
        self.0.get_ref().0.set(after.max(Duration::from_nanos(1)))
    }

    /// Returns when the timer has expired; each expiry is reported once.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn expired(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            if self.0.get_ref().0.has_expired() {
                return Ok(());
            }
            // The timer had expired and was set again since.
            ready.clear_ready();
        }
    }
}
