//! Listening sockets that others have open, too: shut down by them, or taken from them.
#![expect(unsafe_code, reason = "poll(2), pidfd_getfd(2)")]

use super::super::check;
use super::super::listen::{Address, address_of};
use super::super::process::Process;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// What is given to a process is among its lowest descriptors; a server may have tens of thousands.
const LOOKED_AT_MAX: usize = 4096;

/// A socket that receives nothing any more says so (POLLRDHUP); one with a backlog does not.
pub(in super::super) fn is_deaf(socket: BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one pollfd of ours is read and written; it returns at once.
    let found = unsafe { libc::poll(&raw mut asked, 1, 0) };
    found == 1 && asked.revents & (libc::POLLRDHUP | libc::POLLHUP) != 0
}

pub(in super::super) fn fetch(
    process: Process,
    wanted: &[Address],
) -> io::Result<Vec<(Address, OwnedFd)>> {
    let Some(pidfd) = super::open_handle(process)? else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut numbers = super::tables::socket_numbers(process.pid)?;
    numbers.sort_unstable();
    numbers.truncate(LOOKED_AT_MAX);
    let mut found: Vec<(Address, OwnedFd)> = Vec::new();
    for number in numbers {
        if found.len() == wanted.len() {
            break;
        }
        let Some(socket) = take(&pidfd, number)? else {
            continue;
        };
        let address = address_of(socket.as_fd()).filter(|address| wanted.contains(address));
        if let Some(address) = address
            && found.iter().all(|(known, _)| *known != address)
        {
            found.push((address, socket));
        }
    }
    Ok(found)
}

/// None when it was closed meanwhile.
fn take(pidfd: &OwnedFd, number: RawFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: numbers only; the result is a new descriptor, closed on exec, that nobody else owns.
    let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let taken = i32::try_from(taken).map_err(io::Error::other)?;
    match check(taken) {
        // SAFETY: as above.
        Ok(taken) => Ok(Some(unsafe { OwnedFd::from_raw_fd(taken) })),
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Only launchd has sockets by name.
pub(in super::super) const fn activated(_name: &str) -> Vec<OwnedFd> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::listen::bind;
    use crate::sys::process::stat;

    #[test]
    fn a_socket_is_fetched_by_its_address_from_whoever_has_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::Tcp(taken.local_addr().expect("bound"));
        drop(taken);
        let socket = bind(&address, None).expect("bound");
        let us = stat(crate::sys::identity::pid()).expect("alive").process;
        let other = Address::Unix("/nowhere".into());
        let found = fetch(us, &[other, address.clone()]).expect("fetched");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, address);
        assert_ne!(found[0].1.as_raw_fd(), socket.as_raw_fd());
        let nobody = Process {
            pid: us.pid,
            start_time: us.start_time + 1,
        };
        assert_eq!(
            fetch(nobody, &[address]).expect_err("another one").kind(),
            io::ErrorKind::NotFound
        );
    }
}
