//! Listening TCP and Unix sockets by netlink (sock_diag(7)), and credentials of a Unix peer.
#![expect(unsafe_code, reason = "SO_PEERCRED")]

use super::super::check;
use super::super::socket::{Listener, Peer};
use super::sock_diag::{self, Diag, attribute, u32_at};
use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

const REQUEST_BYTES: usize = 56; // struct inet_diag_req_v2
const MESSAGE_BYTES: usize = 72; // struct inet_diag_msg
const INET_DIAG_SKV6ONLY: u16 = 11;
/// Any, and the loopback interface, over which the kernel sends what this machine sends to itself (LOOPBACK_IFINDEX in
/// include/net/flow.h).
const LOOPBACK_INTERFACES: [u32; 2] = [0, 1];

pub(in super::super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let diag = Diag::open()?;
    let mut found = dump(&diag, libc::AF_INET, port)?;
    found.extend(dump(&diag, libc::AF_INET6, port)?);
    Ok(found.into_iter().map(|entry| entry.listener).collect())
}

/// The listeners on the port of `address` that may take a connection to it over the loopback interface. Those of IPv6 are
/// not listed where none of them can: the kernel prefers an IPv4 socket that is bound to the very address.
pub(in super::super) fn candidates(address: SocketAddr) -> io::Result<Vec<Listener>> {
    let diag = Diag::open()?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        if family == libc::AF_INET && address.is_ipv6() {
            continue;
        }
        let entries = dump(&diag, family, address.port())?.into_iter();
        let on_loopback = entries.filter(|entry| LOOPBACK_INTERFACES.contains(&entry.interface));
        found.extend(on_loopback.map(|entry| entry.listener));
        if found
            .iter()
            .any(|one: &Listener| one.addr.ip() == address.ip())
        {
            break;
        }
    }
    Ok(found)
}

/// A listener as the kernel lists it.
struct Entry {
    listener: Listener,
    /// The index of the interface that it is bound to (SO_BINDTODEVICE); 0: any.
    interface: u32,
}

/// Lists the listeners of one address family on `port`. The kernel compares the family and the port of each listener itself
/// (inet_diag_dump_icsk in net/ipv4/inet_diag.c), so that it sends only those of the port, also where thousands of sockets
/// listen.
fn dump(diag: &Diag, family: i32, port: u16) -> io::Result<Vec<Entry>> {
    // The port is in network byte order, all other numbers are in host byte order (linux/inet_diag.h).
    let mut request = [0_u8; REQUEST_BYTES];
    request[0] = u8::try_from(family).map_err(io::Error::other)?;
    request[1] = u8::try_from(libc::IPPROTO_TCP).map_err(io::Error::other)?;
    request[4..8].copy_from_slice(&(1_u32 << sock_diag::LISTEN).to_ne_bytes());
    request[8..10].copy_from_slice(&port.to_be_bytes());
    let mut found = Vec::new();
    diag.dump(&request, |body| {
        found.extend(entry(body).filter(|each| each.listener.addr.port() == port));
    })?;
    Ok(found)
}

/// Parses `struct inet_diag_msg { family state timer retrans, sport dport src[4] dst[4] if cookie[2], expires rqueue wqueue uid
/// inode }` and the attributes after it.
fn entry(body: &[u8]) -> Option<Entry> {
    if body.len() < MESSAGE_BYTES {
        return None;
    }
    let ip = if i32::from(body[0]) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::from_octets(*body[8..12].as_array()?))
    } else {
        IpAddr::V6(Ipv6Addr::from_octets(*body[8..24].as_array()?))
    };
    // tcp_diag_get_info in net/ipv4/tcp_diag.c: of a listener, rqueue is the length of the queue and wqueue its limit
    let (waiting, backlog) = (u32_at(body, 56), u32_at(body, 60));
    let only_ipv6 = attribute(&body[MESSAGE_BYTES..], INET_DIAG_SKV6ONLY);
    let takes_ipv4 = only_ipv6.is_some_and(|value| value.first() == Some(&0));
    let listener = Listener {
        addr: SocketAddr::new(ip.to_canonical(), u16::from_be_bytes([body[4], body[5]])),
        uid: u32_at(body, 64),
        inode: u64::from(u32_at(body, 68)),
        is_dual_stack: ip == Ipv6Addr::UNSPECIFIED && takes_ipv4,
        is_full: waiting > backlog,
    };
    Some(Entry {
        listener,
        interface: u32_at(body, 40),
    })
}

pub(in super::super) fn nonblocking_stream(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(nix::sys::socket::socket(
        family,
        SockType::Stream,
        flags,
        None,
    )?)
}

pub(in super::super) fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = libc::socklen_t::try_from(size_of_val(&peer)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes, one ucred, into `peer`.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    })?;
    Ok(Peer {
        uid: peer.uid,
        gid: peer.gid,
        pid: (peer.pid > 0).then_some(peer.pid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::holds_listener;
    use std::net::TcpListener;
    use std::os::fd::{AsFd as _, FromRawFd as _};

    #[test]
    fn listeners_of_both_families_are_found_with_their_holder() -> io::Result<()> {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = TcpListener::bind(address)?;
            let addr = socket.local_addr()?;
            let found = listeners(addr.port())?;
            let own = found
                .iter()
                .find(|listener| listener.addr == addr)
                .expect("listed");
            assert_eq!(own.uid, crate::sys::identity::euid());
            assert!(holds_listener(crate::sys::identity::pid(), own)?);
            assert!(!holds_listener(1, own).unwrap_or(false));
            drop(socket);
            assert!(
                !listeners(addr.port())?
                    .iter()
                    .any(|listener| listener.addr == addr)
            );
        }
        Ok(())
    }

    /// Sockets that share a port although their addresses overlap.
    fn listen_at(address: SocketAddr, only_ipv6: bool) -> io::Result<TcpListener> {
        use std::os::fd::IntoRawFd as _;
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseport(true)?;
        if only_ipv6 {
            set_only_ipv6(socket.as_raw_fd())?;
        }
        socket.bind(address)?;
        // SAFETY: the descriptor is open, and nothing else owns it any more.
        let socket = unsafe { OwnedFd::from_raw_fd(socket.into_raw_fd()) };
        nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(1)?)?;
        Ok(socket.into())
    }

    fn set_only_ipv6(fd: i32) -> io::Result<()> {
        let value: libc::c_int = 1;
        let length = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
        let (level, option) = (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
        // SAFETY: the kernel reads one int, the local variable.
        check(unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) })?;
        Ok(())
    }

    fn inode(socket: &TcpListener) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        Ok(std::fs::metadata(path)?.ino())
    }

    /// Closes the one that the kernel chose, again and again, until it refuses.
    #[test]
    fn the_listener_that_a_connection_reaches_is_the_one_that_accepts_it() -> io::Result<()> {
        use crate::sys::socket::listeners_reached_at;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        for (to, order) in [
            ("127.0.0.1", [1, 2, 3, 4].as_slice()),
            ("0.0.0.0", &[1, 2, 3, 4]),
            ("::ffff:127.0.0.1", &[1, 2, 3, 4]),
            ("127.0.0.2", &[3, 4]),
            ("::1", &[5, 4]),
        ] {
            let mut open = Vec::new();
            for (number, address, only_ipv6) in [
                (4, "::", false),
                (3, "0.0.0.0", false),
                (5, "::1", false),
                (2, "::ffff:127.0.0.1", false),
                (1, "127.0.0.1", false),
            ] {
                let address = SocketAddr::new(address.parse().expect("an address"), port);
                open.push((number, listen_at(address, only_ipv6)?));
            }
            let to = SocketAddr::new(to.parse().expect("an address"), port);
            for expected in order {
                let reached = listeners_reached_at(to)?;
                let client = std::net::TcpStream::connect(to)?;
                let place = open.iter().position(|(number, _)| number == expected);
                let (_, listener) = open.remove(place.expect("still open"));
                listener.set_nonblocking(true)?;
                assert_eq!(listener.accept()?.1.port(), client.local_addr()?.port());
                let inodes: Vec<_> = reached.iter().map(|one| one.inode).collect();
                assert_eq!(inodes, [inode(&listener)?], "{to}: {reached:?}");
            }
            assert!(listeners_reached_at(to)?.is_empty(), "{to}");
            assert!(std::net::TcpStream::connect(to).is_err(), "{to}");
        }
        Ok(())
    }

    #[test]
    fn sockets_that_share_an_address_are_all_reached() -> io::Result<()> {
        use crate::sys::socket::listeners_reached_at;
        let first = listen_at("127.0.0.1:0".parse().expect("an address"), false)?;
        let address = first.local_addr()?;
        let second = listen_at(address, false)?;
        let mut reached: Vec<_> = listeners_reached_at(address)?
            .iter()
            .map(|one| one.inode)
            .collect();
        reached.sort_unstable();
        let mut open = [inode(&first)?, inode(&second)?];
        open.sort_unstable();
        assert_eq!(reached, open);
        Ok(())
    }

    #[test]
    fn a_queue_is_full_when_it_is_longer_than_the_backlog() -> io::Result<()> {
        use crate::sys::socket::listeners_reached_at;
        let listener = listen_at("127.0.0.1:0".parse().expect("an address"), false)?;
        let address = listener.local_addr()?;
        let is_full = || Ok::<_, io::Error>(listeners_reached_at(address)?[0].is_full);
        let _first = std::net::TcpStream::connect(address)?;
        assert!(!is_full()?);
        let _second = std::net::TcpStream::connect(address)?;
        assert!(is_full()?, "with a backlog of one, two connections wait");
        drop(listener.accept()?);
        assert!(!is_full()?);
        Ok(())
    }

    #[test]
    fn a_socket_that_takes_only_ipv6_is_not_reached_over_ipv4() -> io::Result<()> {
        use crate::sys::socket::listeners_reached_at;
        let listener = listen_at("[::]:0".parse().expect("an address"), true)?;
        let port = listener.local_addr()?.port();
        assert!(listeners_reached_at(([127, 0, 0, 1], port).into())?.is_empty());
        let reached = listeners_reached_at(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port))?;
        assert_eq!(reached[0].inode, inode(&listener)?);
        assert!(!reached[0].conflicts_with(Ipv4Addr::LOCALHOST.into()));
        assert!(reached[0].conflicts_with(Ipv6Addr::LOCALHOST.into()));
        Ok(())
    }

    #[test]
    fn a_listener_conflicts_with_the_addresses_that_the_kernel_refuses_beside_it() -> io::Result<()>
    {
        let addresses = [
            "127.0.0.1",
            "127.0.0.2",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
        ];
        let addresses = addresses.map(|address| address.parse::<IpAddr>().expect("an address"));
        for first in addresses {
            let held = TcpListener::bind((first, 0))?;
            let port = held.local_addr()?.port();
            let [listener] = listeners(port)?[..] else {
                panic!("one listener")
            };
            for second in addresses {
                let refused = TcpListener::bind((second, port)).is_err();
                assert_eq!(
                    listener.conflicts_with(second),
                    refused,
                    "{first}, {second}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn the_peer_of_a_socket_pair_is_this_process() -> io::Result<()> {
        let (one, _other) = std::os::unix::net::UnixStream::pair()?;
        let peer = peer(one.as_fd())?;
        assert_eq!(peer.pid, Some(crate::sys::identity::pid()));
        assert_eq!(peer.uid, crate::sys::identity::euid());
        Ok(())
    }
}
