//! Listening TCP sockets, the processes that hold them, and the peer of a Unix socket.

use super::platform;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address that it listens on.
    pub addr: SocketAddr,
    /// Identifies the socket: on Linux the inode in `socket:[inode]`, on macOS the kernel's handle.
    pub inode: u64,
    /// The uid of its owner.
    pub uid: u32,
}

/// The listening TCP sockets on `port`, IPv4 and IPv6, of stayd's network namespace (Linux sock_diag(7)).
///
/// # Errors
/// The system's error; `NotFound` in a container without the inet_diag module.
pub fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    platform::socket::listeners(port)
}

/// Whether the process `pid` has the listener open.
///
/// # Errors
/// `NotFound` when the process has ended, `PermissionDenied` when stayd may not read its descriptors.
pub fn holds_listener(pid: i32, listener: &Listener) -> io::Result<bool> {
    platform::holds_listener(pid, listener)
}

/// Whether [`listeners`] includes the sockets of all users: always on Linux, only for root on macOS.
#[must_use]
pub fn lists_all_users() -> bool {
    platform::lists_all_users_listeners()
}

/// Any process that has the listener open. Skips processes whose descriptors stayd may not read. Searches all processes, so
/// it is only for messages to a user.
///
/// # Errors
/// The processes cannot be listed.
pub fn find_holder(listener: &Listener) -> io::Result<Option<i32>> {
    Ok(find_holders(listener, 1)?.pop())
}

/// The processes that have the listener open, at most `max`: a server that forks workers shares it with them. Otherwise as
/// [`find_holder`].
///
/// # Errors
/// The processes cannot be listed.
pub fn find_holders(listener: &Listener, max: usize) -> io::Result<Vec<i32>> {
    let all = super::process::all()?.into_iter();
    let holders = all.filter(|&pid| holds_listener(pid, listener).unwrap_or(false));
    Ok(holders.take(max).collect())
}

/// Credentials of a Unix socket's peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// uid
    pub uid: u32,
    /// gid
    pub gid: u32,
    /// pid, where the system reports it
    pub pid: Option<i32>,
}

/// The credentials of the process at the other end of a Unix socket (SO_PEERCRED, getpeereid).
///
/// # Errors
/// The socket is not a connected Unix socket.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    platform::socket::peer(socket)
}
