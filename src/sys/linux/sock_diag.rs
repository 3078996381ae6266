//! Questions about the sockets of the network namespace, asked by netlink (sock_diag(7)).
#![expect(unsafe_code, reason = "a netlink socket")]

use super::super::check;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// The buffer for one answer, about 300 sockets; the kernel sends as many answers as it needs.
const ANSWER_BYTES: usize = 32 * 1024;
/// The receive timeout. The kernel answers at once; the timeout only protects against a broken kernel.
const WAIT_SECONDS: libc::time_t = 1;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const HEADER_BYTES: usize = 16; // struct nlmsghdr
const ATTRIBUTE_HEAD_BYTES: usize = 4; // struct nlattr

/// The state of a listening socket (TCP_LISTEN in net/tcp_states.h), of every address family.
pub(super) const LISTEN: u32 = 10;

/// A netlink socket for questions.
pub(super) struct Diag(OwnedFd);

impl Diag {
    /// Opens it.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn open() -> io::Result<Self> {
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
            Ok(Self(socket))
        }
    }

    /// Sends a dump request, which begins with the address family, and calls `each` with the body of each message that
    /// describes a socket.
    ///
    /// # Errors
    /// The system's error; `NotFound` where the kernel has no module for this family.
    pub(super) fn dump(&self, request: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.send(request)?;
        while self.receive(&mut each)? == Answer::More {}
        Ok(())
    }

    /// Sends a dump request. All numbers of the header are in host byte order (linux/netlink.h).
    fn send(&self, request: &[u8]) -> io::Result<()> {
        let flags =
            u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).map_err(io::Error::other)?;
        let length = HEADER_BYTES + request.len();
        let mut message = Vec::with_capacity(length);
        message.extend(
            u32::try_from(length)
                .map_err(io::Error::other)?
                .to_ne_bytes(),
        );
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.resize(HEADER_BYTES, 0);
        message.extend(request);
        // SAFETY: sends `length` bytes from `message`.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), length, 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn receive(&self, each: &mut impl FnMut(&[u8])) -> io::Result<Answer> {
        let mut buffer = vec![0_u8; ANSWER_BYTES];
        // SAFETY: receives at most ANSWER_BYTES into `buffer`.
        let received = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                ANSWER_BYTES,
                0,
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        parse(&buffer[..received], each)
    }
}

#[derive(PartialEq, Eq)]
enum Answer {
    More,
    Done,
}

/// Parses the messages of one answer.
fn parse(mut bytes: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<Answer> {
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
            _ => each(body),
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(Answer::More)
}

/// The value of the attribute `kind` among `attributes`: `struct nlattr { len type }`, then its value (netlink(7)).
pub(super) fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = attributes {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        if u16::from_ne_bytes([*c, *d]) == kind {
            return attributes.get(ATTRIBUTE_HEAD_BYTES..length);
        }
        if length < ATTRIBUTE_HEAD_BYTES {
            return None;
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The number in host byte order at this place, which the caller has checked to exist.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_answer_is_an_error_not_a_panic() {
        let mut message = [0_u8; 20];
        message[0..4].copy_from_slice(&400_u32.to_ne_bytes());
        assert!(parse(&message, &mut |_| {}).is_err());
    }

    #[test]
    fn an_attribute_is_found_by_its_kind_and_a_truncated_one_has_no_value() {
        let head = |length: u16, kind: u16| [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        let padded = [head(5, 7), vec![1, 0, 0, 0]].concat();
        let truncated = [padded, head(12, 8), vec![1, 2]].concat();
        assert_eq!(attribute(&truncated, 7), Some(&[1][..]));
        assert_eq!(attribute(&truncated, 8), None);
        assert_eq!(attribute(&truncated, 9), None);
        assert_eq!(attribute(&head(1, 7), 7), None, "shorter than its head");
    }
}
