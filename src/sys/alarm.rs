//! One wake-up at a moment.
//!
//! The runtime's own timers sit in a wheel, and a far one wakes the process each time that it is moved to a finer
//! ring: two or three wake-ups instead of one. So the next deadline of all is a descriptor of the kernel's.
#![expect(unsafe_code, reason = "a descriptor is registered with the runtime")]

use super::imp;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An alarm; unset at first. It counts the time in which the machine does not sleep.
#[derive(Debug)]
pub struct Alarm(AsyncFd<Bell>);

/// Owns its descriptor, and never exchanges it.
#[derive(Debug)]
struct Bell(imp::alarm::Bell);

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Alarm {
    /// One of its own, in the runtime that it is made in.
    ///
    /// # Errors
    /// No descriptor is to be had; `Unsupported` where the system has no such thing.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new() -> io::Result<Self> {
        let bell = Bell(imp::alarm::Bell::new()?);
        // SAFETY: the bell keeps one descriptor open, and says the same each time, until it is dropped.
        let bell = unsafe { AsyncFd::register_with_interest(bell, Interest::READABLE) };
        Ok(Self(bell?))
    }

    /// Rings once, `after` from now, instead of whenever it was set to ring before.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        // zero would unset it
        self.0.get_ref().0.set(after.max(Duration::from_nanos(1)))
    }

    /// Returns when it has rung, which it tells once.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn rung(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            if self.0.get_ref().0.has_rung() {
                return Ok(());
            }
            // it had rung, and was set anew since
            ready.clear_ready();
        }
    }
}
