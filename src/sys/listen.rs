//! Sockets that wait for connections: bound, looked at, handed on. Nothing is ever accepted here.

use super::{imp, process::Process};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, listen,
    shutdown, socket, sockopt,
};
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Descriptors that were handed over begin here (sd_listen_fds(3)).
pub const FIRST: RawFd = 3;
/// Whoever may reach the folder may connect (`SocketMode=` in systemd.socket(5)).
const MODE: u32 = 0o666;

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// An address and its port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Binds and listens, with the longest backlog that the system allows. The socket blocks and is closed on exec.
///
/// SO_REUSEADDR is set, so connections of a former life do not keep the port. `[::]` takes IPv4 as well where
/// net.ipv6.bindv6only says so. A path that nobody listens on any more is replaced; it is open to everybody who may enter
/// its folder, and given to `owner` (uid, gid), where that is not us.
///
/// # Errors
/// `AddrInUse` when somebody else listens there; the system's refusal.
pub fn bind(address: &Address, owner: Option<(u32, u32)>) -> io::Result<OwnedFd> {
    let socket: OwnedFd = match address {
        Address::Tcp(address) => TcpListener::bind(address)?.into(),
        Address::Unix(path) => bind_path(path, owner)?.into(),
    };
    listen_again(socket.as_fd())?;
    Ok(socket)
}

fn bind_path(path: &Path, owner: Option<(u32, u32)>) -> io::Result<UnixListener> {
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && remove_stale(path)? => {
            UnixListener::bind(path)?
        }
        outcome => outcome?,
    };
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    Ok(bound)
}

/// Removes a socket's file that nobody listens on; false where somebody does, or where it is no socket.
///
/// # Errors
/// The file cannot be removed.
pub fn remove_stale(path: &Path) -> io::Result<bool> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    // The kernel refuses a connection to any other kind of file, too.
    if !is_socket || !is_refused(path) {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true)
}

fn is_refused(path: &Path) -> bool {
    try_connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The process that listens on the path, where the kernel tells.
#[must_use]
pub fn holder_of(path: &Path) -> Option<i32> {
    let connection = try_connect(path).ok()?;
    super::socket::peer(connection.as_fd()).ok()?.pid
}

/// Connects without waiting: a listener with a full backlog is `WouldBlock`.
fn try_connect(path: &Path) -> io::Result<OwnedFd> {
    let connection = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )?;
    fcntl(&connection, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&connection, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(connection)
}

/// Listens once more, and blocks: undoes what a child's shutdown(2) or O_NONBLOCK did to the socket that it shares with us.
///
/// # Errors
/// The system's refusal; somebody may have taken the address meanwhile.
pub fn listen_again(socket: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(listen(&socket, Backlog::MAXCONN)?)
}

/// Whether it was shut down in a way that [`listen_again`] does not undo: Linux goes on refusing connections to a path.
#[must_use]
pub fn is_deaf(socket: BorrowedFd<'_>) -> bool {
    imp::listen::is_deaf(socket)
}

/// Refuses all further connections, also where another process has the socket open.
///
/// # Errors
/// It does not listen.
pub fn refuse(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(shutdown(socket.as_raw_fd(), Shutdown::Both)?)
}

/// Where it listens; none for what does not listen, or not for streams over TCP or a path.
#[must_use]
pub fn address_of(socket: BorrowedFd<'_>) -> Option<Address> {
    let listens = getsockopt(&socket, sockopt::AcceptConn).ok()?;
    let kind = getsockopt(&socket, sockopt::SockType).ok()?;
    if !listens || kind != SockType::Stream {
        return None;
    }
    let tcp = TcpListener::from(socket.try_clone_to_owned().ok()?);
    if let Ok(address) = tcp.local_addr() {
        return Some(Address::Tcp(address));
    }
    let name = UnixListener::from(OwnedFd::from(tcp)).local_addr().ok()?;
    Some(Address::Unix(name.as_pathname()?.to_owned()))
}

/// Takes from `process` the sockets that listen on one of these addresses (pidfd_getfd(2)): from then on they are ours,
/// too. Its descriptors are looked at from the lowest on, a bounded number of them.
///
/// # Errors
/// `PermissionDenied` without the right to trace it, `NotFound` when it has ended, `Unsupported` where no system call
/// does that.
pub fn fetch(process: Process, wanted: &[Address]) -> io::Result<Vec<(Address, OwnedFd)>> {
    imp::listen::fetch(process, wanted)
}

/// The listening sockets among the `count` descriptors that we were started with, each with its place among them. They
/// are closed on exec from now on, and what is no such socket is left as it is. Only the first call finds anything.
#[must_use]
pub fn inherited(count: RawFd) -> Vec<(usize, Address, OwnedFd)> {
    super::handed::inherited(count)
}

/// Gives the sockets the numbers from `first` on and lets them pass through execve(2). They are nobody's to close
/// afterwards: what comes next is exec, or the end of this process.
///
/// # Errors
/// There are too many descriptors.
pub fn hand_on(sockets: Vec<OwnedFd>, first: RawFd) -> io::Result<()> {
    super::handed::hand_on(sockets, first)
}

/// The sockets that launchd holds for this job under `name` (launch_activate_socket(3)); none elsewhere, and none where
/// the job has no such name.
#[must_use]
pub fn activated(name: &str) -> Vec<OwnedFd> {
    imp::listen::activated(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    fn somewhere() -> Address {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        Address::Tcp(taken.local_addr().expect("bound"))
    }

    #[test]
    fn what_is_bound_listens_where_it_says_and_what_does_not_listen_has_no_address() {
        let folder = tempfile::tempdir().expect("a folder");
        for address in [somewhere(), Address::Unix(folder.path().join("s"))] {
            let socket = bind(&address, None).expect("bound");
            assert_eq!(address_of(socket.as_fd()), Some(address));
        }
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert_eq!(address_of(one.as_fd()), None);
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(address_of(file.as_fd()), None);
    }

    #[test]
    fn a_path_is_replaced_only_when_nobody_listens_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let address = Address::Unix(path.clone());
        let first = bind(&address, None).expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let taken = bind(&address, None).expect_err("somebody listens");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        if cfg!(target_os = "linux") {
            assert_eq!(holder_of(&path), Some(crate::sys::identity::pid()));
        }
        drop(first);
        let second = bind(&address, None).expect("the stale file is replaced");
        drop(second);
        assert!(remove_stale(&path).expect("removed") && !path.exists());

        fs::write(&path, "no socket").expect("a file");
        let kept = bind(&address, None).expect_err("a file is not ours to replace");
        assert_eq!(kept.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).expect("still there"), b"no socket");
    }

    #[test]
    fn what_a_child_did_is_cured_by_listening_again_or_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let tcp = somewhere();
        let socket = bind(&tcp, None).expect("bound");
        let Address::Tcp(place) = &tcp else { panic!() };
        refuse(socket.as_fd()).expect("shut down");
        assert!(TcpStream::connect(place).is_err());
        listen_again(socket.as_fd()).expect("listens");
        assert!(!is_deaf(socket.as_fd()));
        TcpStream::connect(place).expect("cured");
        let flags = || fcntl(&socket, FcntlArg::F_GETFL).expect("flags");
        let blocking = flags();
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
        listen_again(socket.as_fd()).expect("listens");
        assert_eq!(flags(), blocking, "as the next life expects it");

        let path = folder.path().join("s");
        let socket = bind(&Address::Unix(path.clone()), None).expect("bound");
        let waiting = UnixStream::connect(&path).expect("in the backlog");
        assert!(!is_deaf(socket.as_fd()), "a backlog is no shutdown");
        drop(waiting);
        refuse(socket.as_fd()).expect("shut down");
        listen_again(socket.as_fd()).expect("listens");
        assert_eq!(is_deaf(socket.as_fd()), UnixStream::connect(&path).is_err());
    }
}
