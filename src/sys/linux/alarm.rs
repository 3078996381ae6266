//! timerfd_create(2).

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::time::Duration;

#[derive(Debug)]
pub(in super::super) struct Bell(TimerFd);

impl Bell {
    pub(in super::super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))
    }

    pub(in super::super) fn set(&self, after: Duration) -> io::Result<()> {
        let once = Expiration::OneShot(TimeSpec::from(after));
        Ok(self.0.set(once, TimerSetTimeFlags::empty())?)
    }

    /// How often it has rung since the last read; EAGAIN when it has not.
    pub(in super::super) fn has_rung(&self) -> bool {
        nix::unistd::read(&self.0, &mut [0; size_of::<u64>()]).is_ok()
    }

    pub(in super::super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
