//! Datagrams with the kernel's word on who sent them.

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes put into the buffer.
    pub bytes: usize,
    /// It was longer than the buffer.
    pub truncated: bool,
    /// Who sent it, where the kernel tells (Linux SCM_CREDENTIALS); never what the sender claims of itself.
    pub sender: Option<i32>,
}

/// Makes the kernel tell the sender of each datagram, where it can.
///
/// # Errors
/// The system's refusal.
pub fn want_senders(socket: BorrowedFd<'_>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::PassCred, &true)?;
    #[cfg(target_os = "macos")]
    let _ = socket;
    Ok(())
}

/// Whether a datagram says who has sent it; where it does not, only who may write the socket can speak.
pub const KNOWS_SENDERS: bool = cfg!(target_os = "linux");

/// Takes the next datagram, never waits. Descriptors that come with it are closed: there is no room for them.
///
/// # Errors
/// `WouldBlock` when there is none.
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
    // A control message that was cut off cannot be read, but the sender comes first.
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

/// Sends one over a connected socket, with a descriptor if there is one (SCM_RIGHTS).
///
/// # Errors
/// The system's refusal; `WouldBlock` when nobody reads and the socket does not wait.
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
