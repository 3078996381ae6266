//! Sockets passed through execve(2) by descriptor number (LISTEN_FDS, sd_listen_fds(3)): received at start, or passed on.
#![expect(unsafe_code, reason = "descriptors by number: fcntl(2), dup2(2)")]

use super::check;
use super::listen::{Address, address_of};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the first descriptor that is passed on (sd_listen_fds(3)).
pub const FIRST_INHERITED: RawFd = 3;
/// A larger LISTEN_FDS is not a plausible number of sockets.
const COUNT_MAX: RawFd = 1024;
/// Set when the inherited sockets have an owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the listening sockets among the `count` descriptors that this process was started with, each with its index.
///
/// They are closed on exec from then on. A descriptor that is not a listening socket is left open. Only the first call
/// returns anything.
#[must_use]
pub fn take_inherited(count: RawFd) -> Vec<(usize, Address, OwnedFd)> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let numbers = (FIRST_INHERITED..).take(count.clamp(0, COUNT_MAX).unsigned_abs() as usize);
    let found = numbers.enumerate().filter_map(|(nth, number)| {
        let (address, socket) = listening(number)?;
        Some((nth, address, socket))
    });
    found.collect()
}

/// The descriptor `number` as a socket, if it listens. This is called once, before stayd listens anywhere, so a listening
/// socket must come from the process that started stayd.
fn listening(number: RawFd) -> Option<(Address, OwnedFd)> {
    // SAFETY: the call takes only numbers; it fails for a number that is not open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: the descriptor is open, as the call above has shown, and no code closes it before this function returns.
    let address = address_of(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: the socket listens, so the parent process passed it on, and no other code owns it; it is taken once.
    Some((address, unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Gives the sockets the numbers from `first` on and lets them survive execve(2).
///
/// No code owns them afterwards: the caller must call execve or end the process.
///
/// # Errors
/// No descriptor is available.
pub fn place_for_exec(sockets: Vec<OwnedFd>, first: RawFd) -> io::Result<()> {
    let above = first + RawFd::try_from(sockets.len()).map_err(io::Error::other)?;
    // First copy all of them above the target numbers, because the number of one socket may be the target of another.
    let copies = sockets.iter().map(|socket| {
        // SAFETY: the call takes only numbers; the result is a new descriptor that no other code owns.
        unsafe {
            let copy = libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above);
            check(copy).map(|copy| OwnedFd::from_raw_fd(copy))
        }
    });
    let copies = copies.collect::<io::Result<Vec<_>>>()?;
    // Close the originals before their numbers are reused: closing them later would close the new descriptors.
    drop(sockets);
    for (number, socket) in (first..).zip(&copies) {
        // SAFETY: the call takes only numbers. It replaces what had this number: LISTEN_FDS reserves these numbers for the
        // sockets.
        check(unsafe { libc::dup2(socket.as_raw_fd(), number) })?;
    }
    Ok(())
}
