//! Listening sockets that stayd holds for services: binding, inspecting and passing on. stayd never accepts a connection.

use super::file_rights::{self, HAS_FILE_RIGHTS};
use super::folder::{self, Changeable, Folder};
use super::spawn::User;
use super::{identity, platform, process::Process};
use nix::fcntl::{AtFlags, FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, listen,
    setsockopt, shutdown, socket, sockopt,
};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::{UnlinkatFlags, fchownat, unlinkat};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The mode of a socket file: every user who can enter the folder may connect (as `SocketMode=` in systemd.socket(5)).
const SOCKET_MODE: Mode = Mode::from_bits_truncate(0o666);

/// The longest timeout of a connection: a day. The kernel refuses numbers that are much larger.
const MILLISECONDS_MAX: i64 = 24 * 60 * 60 * 1000;

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
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

/// Binds a socket and listens, with the longest backlog that the system allows. The socket is blocking and closed on exec.
///
/// SO_REUSEADDR is set, so that connections of an earlier instance do not keep the port occupied. `[::]` accepts IPv4 as
/// well, depending on net.ipv6.bindv6only. A socket file without a listener is replaced. Every user who can enter its
/// folder may connect. `owner` gets the file, if given.
///
/// # Errors
/// `AddrInUse` when another process listens there; `PermissionDenied` without an error number where root must not bind in
/// this folder, with a message that says what to do; otherwise the system's error.
pub fn bind(address: &Address, owner: Option<&User>) -> io::Result<OwnedFd> {
    let socket: OwnedFd = match address {
        Address::Tcp(address) => TcpListener::bind(address)?.into(),
        Address::Unix(path) => bind_path(path, owner)?,
    };
    listen_again(socket.as_fd())?;
    Ok(socket)
}

/// Another user may be able to change what the path means while root binds there. Then the file is bound with the rights
/// of its owner, who could have done the same. If it has no other owner than root, or a single thread cannot have the
/// rights of another user, stayd refuses the folder. So root never changes the mode or owner of a file by a path that
/// another user can redirect.
fn bind_path(path: &Path, owner: Option<&User>) -> io::Result<OwnedFd> {
    let place = Place::open(path)?;
    let owner = owner.filter(|_| is_root());
    match (place.changeable_by, owner) {
        (Some(changeable), None) => Err(refused(path, changeable)),
        (Some(changeable), Some(_)) if !HAS_FILE_RIGHTS => Err(refused(path, changeable)),
        (Some(_), Some(owner)) => {
            let bound = file_rights::on_own_thread(owner, || place.bind_or_replace());
            bound.map_err(|error| say_whose_rights(error, owner))
        }
        (None, owner) => {
            let socket = place.bind_or_replace()?;
            if let Some(owner) = owner {
                place.give_to(owner)?;
            }
            Ok(socket)
        }
    }
}

/// Where a socket file is: its folder, opened, and its name in the folder.
struct Place<'a> {
    path: &'a Path,
    folder: OwnedFd,
    name: OsString,
    /// The users that can redirect the path while root uses it. None for a process of another user than root, which has
    /// no rights to lose and does not ask.
    changeable_by: Option<Changeable>,
}

impl<'a> Place<'a> {
    fn open(path: &'a Path) -> io::Result<Self> {
        let absolute = std::path::absolute(path)?;
        let name = absolute.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = absolute.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let (folder, changeable_by) = if is_root() {
            let folder = Folder::open(parent)?;
            let changeable_by = folder.changeable_by();
            (folder.into_fd(), changeable_by)
        } else {
            (folder::open_unchecked(parent)?, None)
        };
        Ok(Self {
            path,
            folder,
            name: name.to_owned(),
            changeable_by,
        })
    }

    fn bind_or_replace(&self) -> io::Result<OwnedFd> {
        let socket = stream_socket()?;
        match self.bind(&socket) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.remove_if_stale()? => {
                self.bind(&socket)?;
            }
            outcome => outcome?,
        }
        Ok(socket)
    }

    /// Binds the socket, and gives its file [`SOCKET_MODE`], which bind(2) reduces by the umask. If another user can
    /// redirect the path, the caller has the rights of that user, so this changes only what the user could change too.
    fn bind(&self, socket: &OwnedFd) -> io::Result<()> {
        nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(self.path)?)?;
        let name = self.name.as_os_str();
        Ok(fchmodat(
            &self.folder,
            name,
            SOCKET_MODE,
            FchmodatFlags::FollowSymlink,
        )?)
    }

    fn give_to(&self, owner: &User) -> io::Result<()> {
        let (uid, gid) = (Some(owner.uid.into()), Some(owner.gid.into()));
        let name = self.name.as_os_str();
        let not_through_a_link = AtFlags::AT_SYMLINK_NOFOLLOW;
        Ok(fchownat(&self.folder, name, uid, gid, not_through_a_link)?)
    }

    fn file(&self) -> io::Result<FileStat> {
        let name = self.name.as_os_str();
        Ok(fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    fn remove_if_stale(&self) -> io::Result<bool> {
        let is_socket = self.file().is_ok_and(|found| {
            SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
        });
        // Check the type first: the kernel refuses a connection to any other kind of file as well.
        if !is_socket || !is_refused(self.path) {
            return Ok(false);
        }
        let name = self.name.as_os_str();
        unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir)?;
        Ok(true)
    }
}

/// Removes a socket file that has no listener. Returns false where a process listens, or where the file is not a socket.
/// Where another user can change what the path means, root uses the rights of the file's owner, without supplementary
/// groups. It leaves a file of root, and every file where a single thread cannot have the rights of another user.
///
/// # Errors
/// The file cannot be removed.
pub fn remove_stale(path: &Path) -> io::Result<bool> {
    let place = Place::open(path)?;
    if place.changeable_by.is_none() {
        return place.remove_if_stale();
    }
    let found = place.file()?;
    if found.st_uid == identity::ROOT || !HAS_FILE_RIGHTS {
        return Ok(false);
    }
    let owner = User {
        uid: found.st_uid,
        gid: found.st_gid,
        groups: Vec::new(),
    };
    file_rights::on_own_thread(&owner, || place.remove_if_stale())
}

fn is_root() -> bool {
    identity::euid() == identity::ROOT
}

fn refused(path: &Path, changeable: Changeable) -> io::Error {
    let user = match changeable {
        Changeable::ByUser(uid) => format!("user {uid}"),
        Changeable::ByOthers => "every user or a group".to_owned(),
    };
    let folder = path.parent().unwrap_or(path).display();
    let or_else = if HAS_FILE_RIGHTS {
        ", or set `user` to the owner of the folder"
    } else {
        ""
    };
    let message = format!(
        "{user} can change the folder {folder} or one above it, and could redirect root; use a folder of root{or_else}"
    );
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

/// A refusal of a folder that root could write needs the reason.
fn say_whose_rights(error: io::Error, owner: &User) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let message = format!(
        "{error} for user {}, whose rights stayd uses because another user than root can change the folder; use a folder \
         that this user can write",
        owner.uid
    );
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

fn is_refused(path: &Path) -> bool {
    try_connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The pid of the process that listens on the path, where the kernel reports it.
#[must_use]
pub fn listener_pid(path: &Path) -> Option<i32> {
    let connection = try_connect(path).ok()?;
    super::socket::peer(connection.as_fd()).ok()?.pid
}

/// Whether a process may listen on the Unix socket at `path`, which this user may not connect to. False means that none does.
///
/// A failed connect(2) does not show it: without search permission for the folder it fails in the same way if there is no
/// socket.
#[must_use]
pub fn may_have_listener(path: &Path) -> bool {
    platform::listen::may_have_listener(path)
}

/// The paths at which processes of all users listen on Unix sockets, as they were bound; empty where the system does not show them.
#[must_use]
pub fn unix_listeners() -> Vec<PathBuf> {
    platform::listen::unix_listeners()
}

/// Connects to a Unix socket. If the listener's backlog is full, waits in the kernel's queue for a place in it, so call this
/// on a thread that may block. The stream does not block.
///
/// # Errors
/// The system's error; `WouldBlock` if the backlog stayed full (SO_SNDTIMEO in socket(7)).
pub fn connect_within(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let connection = stream_socket()?;
    // zero would mean no timeout
    let milliseconds = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    let timeout = TimeVal::milliseconds(milliseconds.clamp(1, MILLISECONDS_MAX));
    setsockopt(&connection, sockopt::SendTimeout, &timeout)?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(connection);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Connects without waiting; a listener with a full backlog gives `WouldBlock`.
fn try_connect(path: &Path) -> io::Result<OwnedFd> {
    let connection = stream_socket()?;
    fcntl(&connection, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(connection)
}

fn stream_socket() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(socket)
}

/// Calls listen(2) again and makes the socket blocking. This undoes a shutdown(2) or O_NONBLOCK that a child applied to the
/// socket, which it shares with stayd.
///
/// # Errors
/// The system's error, for example when another process has taken the address in the meantime.
pub fn listen_again(socket: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(listen(&socket, Backlog::MAXCONN)?)
}

/// Whether the socket was shut down in a way that [`listen_again`] does not undo: Linux keeps refusing connections to a
/// Unix socket.
#[must_use]
pub fn is_shut_down(socket: BorrowedFd<'_>) -> bool {
    platform::listen::is_shut_down(socket)
}

/// Makes the kernel refuse all further connections, also where another process has the socket open.
///
/// # Errors
/// The socket does not listen.
pub fn shut_down(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(shutdown(socket.as_raw_fd(), Shutdown::Both)?)
}

/// The address of a listening TCP or Unix stream socket; none for any other descriptor.
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

/// Copies the sockets of `process` that listen on one of these addresses into this process (pidfd_getfd(2)); both
/// processes have them open afterwards. Examines a bounded number of descriptors, the lowest first.
///
/// # Errors
/// `PermissionDenied` without ptrace rights, `NotFound` when the process has ended, `Unsupported` on macOS, which has no
/// such system call.
pub fn copy_from_process(
    process: Process,
    wanted: &[Address],
) -> io::Result<Vec<(Address, OwnedFd)>> {
    platform::listen::copy_from_process(process, wanted)
}

/// The sockets that launchd holds for this job under `name` (launch_activate_socket(3)); empty on Linux, and where the job
/// has no sockets of this name.
#[must_use]
pub fn from_launchd(name: &str) -> Vec<OwnedFd> {
    platform::listen::from_launchd(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::TcpStream;
    use std::os::unix::fs::PermissionsExt as _;

    fn free_address() -> Address {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        Address::Tcp(taken.local_addr().expect("bound"))
    }

    #[test]
    fn a_bound_socket_has_its_address_and_other_descriptors_have_none() {
        let folder = tempfile::tempdir().expect("a folder");
        for address in [free_address(), Address::Unix(folder.path().join("s"))] {
            let socket = bind(&address, None).expect("bound");
            assert_eq!(address_of(socket.as_fd()), Some(address));
        }
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert_eq!(address_of(one.as_fd()), None);
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(address_of(file.as_fd()), None);
    }

    #[test]
    fn a_socket_file_is_replaced_only_when_no_process_listens_on_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let address = Address::Unix(path.clone());
        let first = bind(&address, None).expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let taken = bind(&address, None).expect_err("a process listens");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        if cfg!(target_os = "linux") {
            assert_eq!(listener_pid(&path), Some(identity::pid()));
        }
        drop(first);
        let second = bind(&address, None).expect("the stale file is replaced");
        drop(second);
        assert!(remove_stale(&path).expect("removed") && !path.exists());

        fs::write(&path, "no socket").expect("a file");
        let kept = bind(&address, None).expect_err("an ordinary file is not replaced");
        assert_eq!(kept.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).expect("still there"), b"no socket");
    }

    #[test]
    fn a_shutdown_by_a_child_is_undone_by_listening_again_or_detected() {
        let folder = tempfile::tempdir().expect("a folder");
        let tcp = free_address();
        let socket = bind(&tcp, None).expect("bound");
        let Address::Tcp(place) = &tcp else { panic!() };
        shut_down(socket.as_fd()).expect("shut down");
        assert!(TcpStream::connect(place).is_err());
        listen_again(socket.as_fd()).expect("listens");
        assert!(!is_shut_down(socket.as_fd()));
        TcpStream::connect(place).expect("accepts connections again");
        let flags = || fcntl(&socket, FcntlArg::F_GETFL).expect("flags");
        let blocking = flags();
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
        listen_again(socket.as_fd()).expect("listens");
        assert_eq!(flags(), blocking, "blocking, as the next instance expects");

        let path = folder.path().join("s");
        let socket = bind(&Address::Unix(path.clone()), None).expect("bound");
        let waiting = UnixStream::connect(&path).expect("in the backlog");
        assert!(
            !is_shut_down(socket.as_fd()),
            "a waiting connection is not a shutdown"
        );
        drop(waiting);
        shut_down(socket.as_fd()).expect("shut down");
        listen_again(socket.as_fd()).expect("listens");
        assert_eq!(
            is_shut_down(socket.as_fd()),
            UnixStream::connect(&path).is_err()
        );
    }
}
