//! Listening TCP sockets by netlink (sock_diag(7)), and credentials of a Unix peer.
#![expect(unsafe_code, reason = "a netlink socket, and SO_PEERCRED")]

use super::super::check;
use super::super::socket::{Listener, Peer};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// The buffer for one answer, about 300 sockets; the kernel sends as many answers as it needs.
const ANSWER_BYTES: usize = 32 * 1024;
/// The receive timeout. The kernel answers at once; the timeout only protects against a broken kernel.
const WAIT_SECONDS: libc::time_t = 1;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const TCP_LISTEN: u32 = 10;
const HEADER_BYTES: usize = 16; // struct nlmsghdr
const REQUEST_BYTES: usize = HEADER_BYTES + 56; // struct inet_diag_req_v2
const MESSAGE_BYTES: usize = 72; // struct inet_diag_msg

pub(in super::super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let socket = open()?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        send_request(&socket, family, port)?;
        while receive(&socket, port, &mut found)? == Answer::More {}
    }
    Ok(found)
}

fn open() -> io::Result<OwnedFd> {
    let wait = libc::timeval {
        tv_sec: WAIT_SECONDS,
        tv_usec: 0,
    };
    // SAFETY: the descriptor is new and no other code owns it; setsockopt reads one timeval, the local variable.
    unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let fd = check(libc::socket(
            libc::AF_NETLINK,
            kind,
            libc::NETLINK_SOCK_DIAG,
        ))?;
        let socket = OwnedFd::from_raw_fd(fd);
        check(libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const wait).cast(),
            libc::socklen_t::try_from(size_of_val(&wait)).map_err(io::Error::other)?,
        ))?;
        Ok(socket)
    }
}

/// Sends a dump request. All numbers are in host byte order except the port (linux/inet_diag.h).
fn send_request(socket: &OwnedFd, family: i32, port: u16) -> io::Result<()> {
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).map_err(io::Error::other)?;
    let length = u32::try_from(REQUEST_BYTES).map_err(io::Error::other)?;
    let mut request = [0_u8; REQUEST_BYTES];
    request[0..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[16] = u8::try_from(family).map_err(io::Error::other)?;
    request[17] = u8::try_from(libc::IPPROTO_TCP).map_err(io::Error::other)?;
    request[20..24].copy_from_slice(&(1_u32 << TCP_LISTEN).to_ne_bytes());
    request[24..26].copy_from_slice(&port.to_be_bytes());
    // SAFETY: sends REQUEST_BYTES from `request`.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            REQUEST_BYTES,
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Answer {
    More,
    Done,
}

/// Receives one answer and adds its listeners to `found`.
fn receive(socket: &OwnedFd, port: u16, found: &mut Vec<Listener>) -> io::Result<Answer> {
    let mut buffer = vec![0_u8; ANSWER_BYTES];
    // SAFETY: receives at most ANSWER_BYTES into `buffer`.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            ANSWER_BYTES,
            0,
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    parse(&buffer[..received], port, found)
}

/// Parses the messages of one answer.
fn parse(mut bytes: &[u8], port: u16, found: &mut Vec<Listener>) -> io::Result<Answer> {
    while bytes.len() >= HEADER_BYTES {
        let length = u32_at(bytes, 0) as usize;
        if length < HEADER_BYTES || length > bytes.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let body = &bytes[HEADER_BYTES..length];
        match i32::from(u16::from_ne_bytes([bytes[4], bytes[5]])) {
            libc::NLMSG_DONE => return Ok(Answer::Done),
            libc::NLMSG_ERROR if body.len() >= 4 => {
                let errno = u32_at(body, 0).cast_signed();
                return Err(io::Error::from_raw_os_error(-errno));
            }
            _ => found.extend(listener(body).filter(|each| each.addr.port() == port)),
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(Answer::More)
}

/// Parses `struct inet_diag_msg { family state timer retrans, sport dport src[4] dst[4] if cookie[2], expires rqueue wqueue uid inode }`
fn listener(body: &[u8]) -> Option<Listener> {
    if body.len() < MESSAGE_BYTES {
        return None;
    }
    let ip = if i32::from(body[0]) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::from_octets(*body[8..12].as_array()?))
    } else {
        IpAddr::V6(Ipv6Addr::from_octets(*body[8..24].as_array()?))
    };
    Some(Listener {
        addr: SocketAddr::new(ip, u16::from_be_bytes([body[4], body[5]])),
        uid: u32_at(body, 64),
        inode: u64::from(u32_at(body, 68)),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
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
    use std::os::fd::AsFd as _;

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

    #[test]
    fn a_truncated_answer_is_an_error_not_a_panic() {
        let mut message = [0_u8; 20];
        message[0..4].copy_from_slice(&400_u32.to_ne_bytes());
        assert!(parse(&message, 1, &mut Vec::new()).is_err());
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
