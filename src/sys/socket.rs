//! Who listens where, who is at the other end.

use super::imp;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address.
    pub addr: SocketAddr,
    /// What tells it from others: Linux the inode in `socket:[inode]`, macOS the kernel's handle.
    pub inode: u64,
    /// Owner.
    pub uid: u32,
}

/// Listening TCP sockets on `port`, IPv4 and IPv6, of our network namespace (Linux sock_diag(7)).
///
/// # Errors
/// The system's refusal: a container without the inet_diag module says `NotFound`.
pub fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    imp::diag::listeners(port)
}

/// Whether `pid` has the listener open.
///
/// # Errors
/// `NotFound` when `pid` has gone, `PermissionDenied` when its descriptors are not shown to us.
pub fn holds_listener(pid: i32, listener: &Listener) -> io::Result<bool> {
    imp::holds_listener(pid, listener)
}

/// Whether [`listeners`] lists everybody's sockets: Linux always, macOS for root alone.
#[must_use]
pub fn lists_everybodys() -> bool {
    imp::lists_everybodys_listeners()
}

/// Any process that has the listener open: searches all processes, so only for telling a person. Those that hide
/// their descriptors from us are passed over.
///
/// # Errors
/// The processes cannot be listed.
pub fn find_holder(listener: &Listener) -> io::Result<Option<i32>> {
    Ok(find_holders(listener, 1)?.pop())
}

/// The processes that have the listener open (one that forks workers shares it with them), `max` at most. As
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
    /// pid, where told
    pub pid: Option<i32>,
}

/// Who connected (SO_PEERCRED, getpeereid).
///
/// # Errors
/// Not a connected Unix socket.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    imp::diag::peer(socket)
}
