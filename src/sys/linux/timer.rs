//! One-shot timers by timerfd_create(2).

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::time::Duration;

#[derive(Debug)]
pub(in super::super) struct Timer(TimerFd);

impl Timer {
    pub(in super::super) fn new() -> io::Result<Self> {
        create(TimerFlags::TFD_CLOEXEC).map(Self)
    }

    pub(in super::super) fn set(&self, after: Duration) -> io::Result<()> {
        set_once(&self.0, after)
    }

    pub(in super::super) fn clear(&self) -> io::Result<()> {
        Ok(self.0.unset()?)
    }

    pub(in super::super) fn wait(&self) -> io::Result<()> {
        Ok(self.0.wait()?)
    }
}

#[derive(Debug)]
pub(in super::super) struct NonBlockingTimer(TimerFd);

impl NonBlockingTimer {
    pub(in super::super) fn new() -> io::Result<Self> {
        create(TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK).map(Self)
    }

    pub(in super::super) fn set(&self, after: Duration) -> io::Result<()> {
        set_once(&self.0, after)
    }

    /// Consumes the expiry. The read fails with EAGAIN when the timer has not expired since the last read.
    pub(in super::super) fn has_expired(&self) -> bool {
        nix::unistd::read(&self.0, &mut [0; size_of::<u64>()]).is_ok()
    }

    pub(in super::super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

fn create(flags: TimerFlags) -> io::Result<TimerFd> {
    Ok(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?)
}

fn set_once(timer: &TimerFd, after: Duration) -> io::Result<()> {
    let once = Expiration::OneShot(TimeSpec::from(after));
    Ok(timer.set(once, TimerSetTimeFlags::empty())?)
}
