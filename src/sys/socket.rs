//! Who listens where, who is at the other end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address.
    pub addr: SocketAddr,
    /// Socket inode (Linux `socket:[inode]`); 0 on macOS, where `holder` is looked up directly.
    pub inode: u64,
    /// Owner.
    pub uid: u32,
}

/// Listening TCP sockets on `port`, IPv4 and IPv6 (Linux sock_diag(7)).
pub fn listeners(_port: u16) -> io::Result<Vec<Listener>> {
    unimplemented!()
}
/// Whether `pid` has the listener open.
pub fn holds_listener(_pid: i32, _listener: &Listener) -> io::Result<bool> {
    unimplemented!()
}
/// Any process that has the listener open: searches all of /proc, so only for telling a person.
pub fn find_holder(_listener: &Listener) -> io::Result<Option<i32>> {
    unimplemented!()
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
pub fn peer(_socket: BorrowedFd<'_>) -> io::Result<Peer> {
    unimplemented!()
}
