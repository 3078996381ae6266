//! Unix datagrams with the sender's pid as verified by the kernel.

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Number of bytes written to the buffer.
    pub bytes: usize,
    /// Whether the datagram was longer than the buffer; the rest is lost.
    pub truncated: bool,
    /// The sender's pid, where the kernel reports it (Linux SCM_CREDENTIALS); never a value that the sender claims.
    pub sender: Option<i32>,
}

/// Makes the kernel report the sender of each datagram, where it can.
///
/// # Errors
/// The system refuses the socket option.
pub fn enable_sender_credentials(socket: BorrowedFd<'_>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::PassCred, &true)?;
    #[cfg(target_os = "macos")]
    let _ = socket;
    Ok(())
}

/// Whether [`Datagram::sender`] is known on this system. Where it is not, the permissions of the socket file decide which
/// processes can send.
pub const HAS_SENDER_CREDENTIALS: bool = cfg!(target_os = "linux");

/// Receives the next datagram without waiting. The kernel closes descriptors that come with it, because the control
/// buffer has no room for them.
///
/// # Errors
/// `WouldBlock` when no datagram is waiting.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    #[cfg(target_os = "linux")]
    let mut control = cmsg_space!(nix::sys::socket::UnixCredentials);
    #[cfg(target_os = "macos")]
    let mut control = cmsg_space!();
    let mut into = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut into,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let truncated = received.flags.contains(MsgFlags::MSG_TRUNC);
    // A truncated control message cannot be read, but the sender comes first.
    let sender = received
        .cmsgs()
        .ok()
        .and_then(|mut messages| messages.find_map(|message| sender_of(&message)));
    Ok(Datagram {
        bytes: received.bytes,
        truncated,
        sender,
    })
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

#[cfg(target_os = "linux")]
fn sender_of(message: &ControlMessageOwned) -> Option<i32> {
    if let ControlMessageOwned::ScmCredentials(credentials) = message {
        return Some(credentials.pid());
    }
    None
}

#[cfg(target_os = "macos")]
const fn sender_of(_message: &ControlMessageOwned) -> Option<i32> {
    None
}
