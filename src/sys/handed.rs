//! Sockets that pass through execve(2) by number: those that came with our start, and those that go on with an exec.
#![expect(unsafe_code, reason = "descriptors by number: fcntl(2), dup2(2)")]

use super::check;
use super::listen::{Address, FIRST, address_of};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// More would be no list of sockets.
const COUNT_MAX: RawFd = 1024;
/// Whatever was handed over has an owner by now.
static TAKEN: AtomicBool = AtomicBool::new(false);

pub(super) fn inherited(count: RawFd) -> Vec<(usize, Address, OwnedFd)> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let numbers = (FIRST..).take(count.clamp(0, COUNT_MAX).unsigned_abs() as usize);
    let found = numbers.enumerate().filter_map(|(nth, number)| {
        let (address, socket) = listening(number)?;
        Some((nth, address, socket))
    });
    found.collect()
}

/// Nothing of our own listens when this is asked for the first and only time, so what listens came with our start.
fn listening(number: RawFd) -> Option<(Address, OwnedFd)> {
    // SAFETY: numbers only; one that is not open is refused.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: it is open, as the call above has shown, and nobody closes it before this function returns.
    let address = address_of(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: it listens, so whoever started us has handed it over, and it is taken once.
    Some((address, unsafe { OwnedFd::from_raw_fd(number) }))
}

pub(super) fn hand_on(sockets: Vec<OwnedFd>, first: RawFd) -> io::Result<()> {
    let above = first + RawFd::try_from(sockets.len()).map_err(io::Error::other)?;
    // All are lifted first, for one socket's number may be another's place.
    let lifted = sockets.iter().map(|socket| {
        // SAFETY: numbers only; the result is a new descriptor that nobody else owns.
        unsafe {
            let copy = libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above);
            check(copy).map(|copy| OwnedFd::from_raw_fd(copy))
        }
    });
    let lifted = lifted.collect::<io::Result<Vec<_>>>()?;
    // Before their numbers are given anew: closing them later would close what is put there.
    drop(sockets);
    for (number, socket) in (first..).zip(&lifted) {
        // SAFETY: numbers only. What had this number is replaced: by the contract of LISTEN_FDS these are the sockets'.
        check(unsafe { libc::dup2(socket.as_raw_fd(), number) })?;
    }
    Ok(())
}
