//! timerfd_create(2).

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::time::Duration;

#[derive(Debug)]
pub(in super::super) struct Timer(TimerFd);

impl Timer {
    pub(in super::super) fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        Ok(Self(timer))
    }

    pub(in super::super) fn set(&self, after: Duration) -> io::Result<()> {
        let once = Expiration::OneShot(after.into());
        Ok(self.0.set(once, TimerSetTimeFlags::empty())?)
    }

    pub(in super::super) fn clear(&self) -> io::Result<()> {
        Ok(self.0.unset()?)
    }

    pub(in super::super) fn wait(&self) -> io::Result<()> {
        Ok(self.0.wait()?)
    }
}
