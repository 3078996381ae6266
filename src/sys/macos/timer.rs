//! One-shot timers by kqueue(2) with EVFILT_TIMER. Never run on a Mac yet.

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Identifies the timer in its queue, which has only this one.
const IDENT: usize = 1;
const AT_ONCE: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[derive(Debug)]
pub(in super::super) struct Timer(Kqueue);

impl Timer {
    pub(in super::super) fn new() -> io::Result<Self> {
        Ok(Self(Kqueue::new()?))
    }

    pub(in super::super) fn set(&self, after: Duration) -> io::Result<()> {
        let millis = isize::try_from(after.as_millis()).map_err(io::Error::other)?;
        Ok(self.change(EvFlags::EV_ADD | EvFlags::EV_ONESHOT, millis)?)
    }

    pub(in super::super) fn clear(&self) -> io::Result<()> {
        match self.change(EvFlags::EV_DELETE, 0) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(in super::super) fn wait(&self) -> io::Result<()> {
        let mut events = [event(EvFlags::empty(), 0)];
        self.0.kevent(&[], &mut events, None)?;
        Ok(())
    }

    fn change(&self, flags: EvFlags, millis: isize) -> nix::Result<()> {
        self.0
            .kevent(&[event(flags, millis)], &mut [], Some(AT_ONCE))
            .map(drop)
    }
}

/// An event without a unit flag counts milliseconds.
fn event(flags: EvFlags, millis: isize) -> KEvent {
    KEvent::new(
        IDENT,
        EventFilter::EVFILT_TIMER,
        flags,
        FilterFlag::empty(),
        millis,
        0,
    )
}

/// macOS has no timer that is a descriptor; the caller uses the runtime's timers instead.
#[derive(Debug)]
pub(in super::super) enum NonBlockingTimer {}

impl NonBlockingTimer {
    pub(in super::super) fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn set(&self, _after: Duration) -> io::Result<()> {
        match *self {}
    }

    pub(in super::super) fn has_expired(&self) -> bool {
        match *self {}
    }

    pub(in super::super) fn as_raw_fd(&self) -> RawFd {
        match *self {}
    }
}
