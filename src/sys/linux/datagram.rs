//! Unix datagrams with their sender: SCM_CREDENTIALS (unix(7)).
#![expect(
    unsafe_code,
    reason = "recvmsg(2): nix does not show the control messages of a datagram with descriptors that have no room"
)]

use super::super::datagram::{Datagram, Sender};
use nix::sys::socket::{setsockopt, sockopt::PassCred};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

pub(in super::super) const HAS_SENDER_CREDENTIALS: bool = true;

pub(in super::super) fn enable_sender_credentials(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, PassCred, &true)?)
}

/// Room for the credentials and for nothing else: the kernel puts them first, and leaves descriptors in the socket.
// SAFETY: CMSG_SPACE(3) only calculates.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// Aligned as the kernel's headers of control messages are.
#[repr(C)]
union Control {
    bytes: [u8; CONTROL_BYTES],
    _align: libc::cmsghdr,
}

pub(in super::super) fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = Control {
        bytes: [0; CONTROL_BYTES],
    };
    let mut into = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr consists of numbers and pointers, for which zero is valid.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut into;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `header` points to one buffer and to the room for control messages, both local to this call and of the given
    // lengths.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let bytes = usize::try_from(count).map_err(|_negative| io::Error::last_os_error())?;
    Ok(Datagram {
        bytes,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        sender: sender_in(&header),
        has_descriptors: header.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// The credentials that recvmsg(2) has written to the room for control messages.
fn sender_in(header: &libc::msghdr) -> Option<Sender> {
    // SAFETY: `header` is as recvmsg(2) has left it, so the macro finds the first control message, or none.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    // SAFETY: CMSG_LEN(3) only calculates.
    let whole = unsafe { libc::CMSG_LEN(size_of::<libc::ucred>() as u32) } as usize;
    let is_sender = first.cmsg_level == libc::SOL_SOCKET
        && first.cmsg_type == libc::SCM_CREDENTIALS
        && first.cmsg_len as usize >= whole;
    // SAFETY: the message is long enough for a `ucred`, which consists of numbers. It need not be aligned.
    let found = is_sender.then(|| unsafe {
        libc::CMSG_DATA(first)
            .cast::<libc::ucred>()
            .read_unaligned()
    })?;
    Some(Sender {
        pid: found.pid,
        uid: found.uid,
    })
}
