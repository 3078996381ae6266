//! Listening sockets, the processes that hold them, and the peer of a Unix socket.

use super::platform;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrIn, SockaddrIn6, connect};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address that it listens on. An IPv4 address that an IPv6 socket is bound to (`::ffff:127.0.0.1`, as Java does it)
    /// stands here as IPv4.
    pub addr: SocketAddr,
    /// Identifies the socket: on Linux the inode in `socket:[inode]`, on macOS the kernel's handle.
    pub inode: u64,
    /// The uid of its owner.
    pub uid: u32,
    /// It listens on `[::]` and accepts IPv4 connections too (ipv6(7), IPV6_V6ONLY is off).
    pub is_dual_stack: bool,
    /// The queue of connections that it has not accepted is full, so that the kernel drops further ones. Linux: longer than
    /// the backlog of listen(2), which net.core.somaxconn limits (sk_acceptq_is_full in include/net/sock.h).
    pub is_full: bool,
}

impl Listener {
    /// Whether bind(2) of a socket to `address`, on the port of this listener, fails because of this listener. Assumes that
    /// the two do not share the port with SO_REUSEPORT, and that a socket of `[::]` accepts IPv4 connections too.
    #[must_use]
    pub fn conflicts_with(&self, address: IpAddr) -> bool {
        let (own, other) = (self.addr.ip(), address.to_canonical());
        if own.is_ipv4() == other.is_ipv4() {
            return own == other || own.is_unspecified() || other.is_unspecified();
        }
        // one of the two is IPv6: only if it takes IPv4 connections, it needs the port of the other family
        self.is_dual_stack || (other.is_ipv6() && other.is_unspecified())
    }

    /// How specific the address is for a connection to `ip`: the kernel prefers the lowest number. None if it does not take
    /// the connection.
    fn rank(&self, ip: IpAddr) -> Option<u8> {
        let own = self.addr.ip();
        if own == ip {
            Some(0)
        } else if own.is_unspecified() && own.is_ipv4() == ip.is_ipv4() {
            Some(1)
        } else {
            (self.is_dual_stack && ip.is_ipv4()).then_some(2)
        }
    }
}

/// The listening TCP sockets on `port`, IPv4 and IPv6, of stayd's network namespace (Linux sock_diag(7)).
///
/// # Errors
/// The system's error; `NotFound` in a container without the inet_diag module.
pub fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    platform::socket::listeners(port)
}

/// The listening sockets that a connection from this machine to `address` can reach: one, or all that share the address with
/// SO_REUSEPORT, among which the kernel chooses for each connection. Empty if the kernel refuses the connection.
///
/// The choice is the kernel's: the most specific address wins, and of two wildcards that of the connection's own family
/// (Linux inet_lookup_listener and compute_score in net/ipv4/inet_hashtables.c, net/ipv6/inet6_hashtables.c).
///
/// # Errors
/// As [`listeners`].
pub fn listeners_reached_at(address: SocketAddr) -> io::Result<Vec<Listener>> {
    let address = SocketAddr::new(destination(address.ip()), address.port());
    let candidates = platform::socket::candidates(address)?;
    Ok(most_specific(candidates, address.ip()))
}

/// The address that a connection to `ip` goes to: the kernel connects to the loopback address instead of a wildcard.
fn destination(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn most_specific(mut listeners: Vec<Listener>, ip: IpAddr) -> Vec<Listener> {
    let best = listeners.iter().filter_map(|one| one.rank(ip)).min();
    listeners.retain(|one| one.rank(ip).is_some() && one.rank(ip) == best);
    listeners
}

/// Whether `ip` is an address of this machine (of stayd's network namespace). Sends nothing: connect(2) on a datagram socket
/// only chooses a route, and towards an address of its own the kernel chooses that same address as the source. False also if
/// no descriptor is left.
#[must_use]
pub fn is_own_address(ip: IpAddr) -> bool {
    /// The discard service; any port would do.
    const PORT: u16 = 9;
    let ip = destination(ip);
    if ip.is_loopback() {
        return true;
    }
    let any = match ip {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(SocketAddr::new(ip, PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

/// Begins to connect to a TCP address. The stream does not block; it is writable when the connection is made or has failed,
/// and its error (SO_ERROR) says which.
///
/// # Errors
/// The system's error, where it is known at once.
pub fn begin_to_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = platform::socket::nonblocking_stream(family)?;
    let outcome = match address {
        SocketAddr::V4(address) => connect(socket.as_raw_fd(), &SockaddrIn::from(address)),
        SocketAddr::V6(address) => connect(socket.as_raw_fd(), &SockaddrIn6::from(address)),
    };
    match outcome {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process `pid` has the listener open.
///
/// # Errors
/// `NotFound` when the process has ended, `PermissionDenied` when stayd may not read its descriptors.
pub fn holds_listener(pid: i32, listener: &Listener) -> io::Result<bool> {
    Ok(!held_listeners(pid, &[*listener])?.is_empty())
}

/// Those of `listeners` that the process `pid` has open. Reads its descriptors once.
///
/// # Errors
/// As [`holds_listener`].
pub fn held_listeners(pid: i32, listeners: &[Listener]) -> io::Result<Vec<Listener>> {
    let sockets: Vec<u64> = listeners.iter().map(|one| one.inode).collect();
    let held = held_sockets(pid, &sockets)?;
    let held = listeners.iter().filter(|one| held.contains(&one.inode));
    Ok(held.copied().collect())
}

/// Those of `sockets`, each as in [`Listener::inode`], that the process `pid` has open. Reads its descriptors once.
///
/// # Errors
/// As [`holds_listener`].
pub fn held_sockets(pid: i32, sockets: &[u64]) -> io::Result<HashSet<u64>> {
    platform::held_sockets(pid, sockets)
}

/// The Unix sockets that a connection to `path` reaches, each as in [`Listener::inode`]; empty where no socket listens there.
/// The path leads to a file system, which can hang.
///
/// Linux compares the file that bind(2) created, in UNIX_DIAG_VFS (sock_diag(7)). macOS does not report that file: there all
/// sockets count whose path, as it was bound, leads to the file at `path` now. That includes an earlier socket of the same
/// path that is still open, and leaves out one that was bound by a relative path.
///
/// # Errors
/// The system's error; `NotFound` on a kernel without the module unix_diag.
pub fn listeners_at_path(path: &Path) -> io::Result<Vec<u64>> {
    platform::unix_socket::listeners_at_path(path)
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
