//! Listening TCP sockets by libproc, and credentials of a Unix peer. Never run on a Mac yet.
//!
//! macOS has no list of sockets that an ordinary user may read. The functions search the descriptors of all processes that
//! stayd may read: those of other users only as root.
#![expect(unsafe_code, reason = "getpeereid(3), getsockopt(2)")]

use super::super::check;
use super::super::socket::{Listener, Peer};
use super::descriptors::{describe, descriptors, u32_at, u64_at};
use super::process;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use std::collections::{BTreeMap, HashSet};
use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

const SOCKET_INFO: c_int = 3; // PROC_PIDFDSOCKETINFO
pub(super) const SOCKET_BYTES: usize = 792; // struct socket_fdinfo; offsets as in `descriptors`
pub(super) const HANDLE: usize = 160;
const QUEUE_LENGTH: usize = 194; // short soi_qlen
const QUEUE_LIMIT: usize = 198; // short soi_qlimit
pub(super) const KIND: usize = 256;
const LOCAL_PORT: usize = 268;
const VERSION: usize = 288;
const LOCAL_ADDRESS: usize = 312;
const LOCAL_IPV4: usize = 324;
const TCP_STATE: usize = 344;

const KIND_TCP: u32 = 2; // SOCKINFO_TCP
const STATE_LISTEN: u32 = 1; // TSI_S_LISTEN
const VERSION_IPV4: u8 = 1; // INI_IPV4
const VERSION_IPV6: u8 = 2; // INI_IPV6; a socket that accepts both has both

/// The sockets that `pid` has open, each as `struct socket_fdinfo`.
pub(super) fn sockets(pid: i32) -> io::Result<Vec<[u8; SOCKET_BYTES]>> {
    let descriptors = descriptors(pid)?;
    let sockets = descriptors
        .iter()
        .filter(|each| each.proc_fdtype == libc::PROX_FDTYPE_SOCKET.unsigned_abs())
        .filter_map(|each| describe(pid, each.proc_fd, SOCKET_INFO));
    Ok(sockets.collect())
}

/// The listening TCP sockets that `pid` has open.
fn listening(pid: i32) -> io::Result<Vec<Listener>> {
    let uid = process::uid(pid)?;
    let sockets = sockets(pid)?;
    let listening = sockets.iter().filter_map(|socket| listener(socket, uid));
    Ok(listening.collect())
}

fn listener(socket: &[u8; SOCKET_BYTES], uid: u32) -> Option<Listener> {
    if u32_at(socket, KIND) != KIND_TCP || u32_at(socket, TCP_STATE) != STATE_LISTEN {
        return None;
    }
    let ip = if socket[VERSION] & VERSION_IPV6 == 0 {
        IpAddr::V4(Ipv4Addr::from_octets(*socket[LOCAL_IPV4..].first_chunk()?))
    } else {
        IpAddr::V6(Ipv6Addr::from_octets(
            *socket[LOCAL_ADDRESS..].first_chunk()?,
        ))
    };
    let port = u16::from_be_bytes(*socket[LOCAL_PORT..].first_chunk()?);
    let number = |at: usize| Some(i16::from_ne_bytes(*socket[at..].first_chunk()?));
    Some(Listener {
        addr: SocketAddr::new(ip.to_canonical(), port),
        inode: u64_at(socket, HANDLE),
        uid,
        is_dual_stack: ip == Ipv6Addr::UNSPECIFIED && socket[VERSION] & VERSION_IPV4 != 0,
        is_full: number(QUEUE_LENGTH)? >= number(QUEUE_LIMIT)?,
    })
}

pub(in super::super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let mut found = BTreeMap::new(); // one socket can be open in many processes
    for pid in process::all()? {
        let listening = listening(pid).unwrap_or_default();
        let on_port = listening
            .into_iter()
            .filter(|each| each.addr.port() == port);
        found.extend(on_port.map(|each| (each.inode, each)));
    }
    Ok(found.into_values().collect())
}

/// The listeners on the port of `address`: whether one takes a connection to it is decided by its address alone.
pub(in super::super) fn candidates(address: SocketAddr) -> io::Result<Vec<Listener>> {
    listeners(address.port())
}

pub(in super::super) fn lists_all_users_listeners() -> bool {
    super::super::identity::euid() == 0
}

pub(in super::super) fn held_sockets(pid: i32, wanted: &[u64]) -> io::Result<HashSet<u64>> {
    let open: HashSet<u64> = sockets(pid)?
        .iter()
        .map(|socket| u64_at(socket, HANDLE))
        .collect();
    Ok(wanted
        .iter()
        .copied()
        .filter(|one| open.contains(one))
        .collect())
}

pub(in super::super) fn nonblocking_stream(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SockFlag::empty();
    let socket = nix::sys::socket::socket(family, SockType::Stream, flags, None)?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(socket)
}

pub(in super::super) fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: the call writes one uid and one gid to local variables.
    check(unsafe { libc::getpeereid(socket.as_raw_fd(), &raw mut uid, &raw mut gid) })?;
    let mut pid: libc::pid_t = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&pid)).map_err(io::Error::other)?;
    // SAFETY: the call writes at most `length` bytes, one pid, into `pid`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_LOCAL,
            libc::LOCAL_PEERPID,
            (&raw mut pid).cast(),
            &raw mut length,
        )
    };
    Ok(Peer {
        uid,
        gid,
        pid: (result == 0 && pid > 0).then_some(pid),
    })
}
