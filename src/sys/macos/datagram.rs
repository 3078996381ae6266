//! Unix datagrams. macOS reports no sender of a datagram, and closes descriptors for which recv(2) has no room.

use super::super::datagram::Datagram;
use nix::sys::socket::{MsgFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

pub(in super::super) const HAS_SENDER_CREDENTIALS: bool = false;

pub(in super::super) fn enable_sender_credentials(_socket: &impl AsFd) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut into = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let found = recvmsg::<()>(socket.as_raw_fd(), &mut into, None, flags)?;
    Ok(Datagram {
        bytes: found.bytes,
        truncated: found.flags.contains(MsgFlags::MSG_TRUNC),
        sender: None,
        has_descriptors: false,
    })
}
