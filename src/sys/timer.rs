//! A timer of the kernel's that a thread waits for: setting it costs a system call, and nobody wakes up before it goes off.

use super::imp;
use std::io;
use std::time::Duration;

/// One timer, counted in awake time. One thread waits for it, others may set and clear it.
#[derive(Debug)]
pub struct Timer(imp::Timer);

impl Timer {
    /// One that is not set.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub fn new() -> io::Result<Self> {
        imp::Timer::new().map(Self)
    }

    /// Goes off once, `after` from now; an earlier setting is forgotten.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        self.0.set(after)
    }

    /// Does not go off.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn clear(&self) -> io::Result<()> {
        self.0.clear()
    }

    /// Blocks until it goes off.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn wait(&self) -> io::Result<()> {
        self.0.wait()
    }
}
