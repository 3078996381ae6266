//! Unix datagrams with their sender as verified by the kernel.
//!
//! A datagram may come with descriptors (SCM_RIGHTS). Closing the last copy of one can take as long as its owner likes: a TCP
//! socket with SO_LINGER waits for its peer (socket(7)). So [`peek`] never closes one and says whether there are some, and
//! [`discard`] closes them.

use super::platform;
use nix::sys::socket::{self, ControlMessage, MsgFlags, UnixAddr, recv, sendmsg};
use nix::sys::stat::{Mode, fchmod};
use std::fs::{self, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The sender of a datagram, as the kernel reports it (unix(7), SCM_CREDENTIALS).
///
/// An unprivileged process can only name itself. Root can name any process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its pid; 0 for a process that is not visible in stayd's pid namespace.
    pub pid: i32,
    /// Its real uid, or one of its other uids if it chose that.
    pub uid: u32,
}

/// The next datagram of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Number of bytes written to the buffer.
    pub bytes: usize,
    /// Whether the datagram is longer than the buffer.
    pub truncated: bool,
    /// The sender, where the kernel reports it: see [`HAS_SENDER_CREDENTIALS`].
    pub sender: Option<Sender>,
    /// Whether descriptors came with it, so that [`discard`] may wait for long. Always false on macOS, which does not say.
    pub has_descriptors: bool,
}

/// Whether [`Datagram::sender`] is known on this system. Where it is not, the permissions of the socket file decide which
/// processes can send.
pub const HAS_SENDER_CREDENTIALS: bool = platform::datagram::HAS_SENDER_CREDENTIALS;

/// Binds a socket that reports the sender of each datagram, where the kernel can. Its file has the permissions `mode`.
///
/// # Errors
/// The path exists or is too long, or the system refuses.
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    platform::datagram::enable_sender_credentials(&socket)?;
    // On Linux the file gets the mode of the unbound socket, so no other process can connect before the mode is set below.
    // macOS refuses this.
    let _ = fchmod(&socket, Mode::from_bits_truncate(mode as libc::mode_t));
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // fchmod did not override the umask.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(socket)
}

/// Reads the next datagram without waiting, and leaves it in the socket.
///
/// # Errors
/// `WouldBlock` when no datagram is waiting.
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    platform::datagram::peek(socket, buffer)
}

/// Removes the next datagram without waiting for one, and closes the descriptors that came with it. That can take long.
///
/// # Errors
/// `WouldBlock` when no datagram is waiting.
pub fn discard(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut rest = [0];
    recv(socket.as_raw_fd(), &mut rest, MsgFlags::MSG_DONTWAIT)?;
    Ok(())
}

/// Sends a datagram over a connected socket, with a descriptor if one is given (SCM_RIGHTS).
///
/// # Errors
/// The system's error; `WouldBlock` when the receiver's queue is full and the socket is non-blocking.
pub fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let numbers: Vec<_> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights };
    let bytes = [IoSlice::new(message)];
    sendmsg::<()>(socket.as_raw_fd(), &bytes, control, MsgFlags::empty(), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Sender, bind, discard, peek, send};
    use std::io;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_datagram_stays_until_it_is_discarded_and_its_descriptors_hide_no_sender() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let socket = bind(&path, 0o600).expect("bound");
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let client = UnixDatagram::unbound().expect("a client");
        client.connect(&path).expect("connected");
        let descriptor = std::fs::File::open("/dev/null").expect("a file");
        send(client.as_fd(), b"plain", None).expect("sent");
        send(client.as_fd(), b"with one", Some(descriptor.as_fd())).expect("sent");

        let mut buffer = [0; 6];
        for (text, has_descriptors) in [(&b"plain"[..], false), (b"with o", true)] {
            for _ in 0..2 {
                let found = peek(socket.as_fd(), &mut buffer).expect("a datagram");
                assert_eq!(&buffer[..found.bytes], text);
                assert_eq!(found.truncated, text.len() == buffer.len());
                if cfg!(target_os = "linux") {
                    let ourselves = Sender {
                        pid: std::process::id().cast_signed(),
                        uid: crate::sys::identity::euid(),
                    };
                    assert_eq!(found.sender, Some(ourselves));
                    assert_eq!(found.has_descriptors, has_descriptors);
                }
            }
            discard(socket.as_fd()).expect("removed");
        }
        let empty = peek(socket.as_fd(), &mut buffer).expect_err("nothing is left");
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        let empty = discard(socket.as_fd()).expect_err("nothing is left");
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }
}
