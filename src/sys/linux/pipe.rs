//! FIFOs: splice(2) moves bytes, tee(2) copies them for inspection.

use super::super::pipe::{DrainRequest, Drained, PEEK_BYTES, WriteFailed};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The mark of an inherited descriptor. open(2): only the owner of a file and a process with CAP_FOWNER may set it.
pub(super) const MARK: OFlag = OFlag::O_NOATIME;

pub(in super::super) fn mark_for_child(end: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
    fcntl(end, FcntlArg::F_SETFL(flags | MARK))?;
    Ok(())
}

/// Keeps a scratch pipe for inspecting bytes without taking them; created when first needed.
#[derive(Debug, Default)]
pub(in super::super) struct FifoDrain {
    scratch: Option<Scratch>,
}

#[derive(Debug)]
struct Scratch {
    reader: PipeReader,
    writer: PipeWriter,
    bytes: Vec<u8>,
}

impl FifoDrain {
    pub(in super::super) fn transfer(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        request: DrainRequest<'_>,
    ) -> Result<Drained, WriteFailed> {
        let result = if request.to_newline || request.copy.is_some() {
            self.peek_and_splice(fifo, file, offset, request)
        } else {
            splice(fifo.as_fd(), file.as_fd(), offset, request.max)
        };
        result.map_err(|error| WriteFailed { error, lost: 0 })
    }

    fn peek_and_splice(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        request: DrainRequest<'_>,
    ) -> io::Result<Drained> {
        let seen = match self.peek(fifo, request.max.min(PEEK_BYTES))? {
            Ok(bytes) => bytes,
            Err(nothing) => return Ok(nothing),
        };
        let length = if request.to_newline {
            line_length(seen)
        } else {
            seen.len()
        };
        let moved = splice(fifo.as_fd(), file.as_fd(), offset, length)?;
        if let (Drained::Bytes(count), Some(copy)) = (moved, request.copy) {
            copy.extend_from_slice(&seen[..count]);
        }
        Ok(moved)
    }

    /// Copies of the next bytes of `fifo`, which stay in it; or the reason why there are none.
    fn peek(&mut self, fifo: &File, max: usize) -> io::Result<Result<&[u8], Drained>> {
        // Take the scratch pipe out: after an error it may still hold bytes, and the next call must not see them.
        let mut scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::new()?,
        };
        let moved = tee(fifo.as_fd(), scratch.writer.as_fd(), max)?;
        if let Drained::Bytes(count) = moved {
            scratch.reader.read_exact(&mut scratch.bytes[..count])?;
        }
        let scratch = self.scratch.insert(scratch);
        Ok(match moved {
            Drained::Bytes(count) => Ok(&scratch.bytes[..count]),
            nothing @ (Drained::Empty | Drained::Ended) => Err(nothing),
        })
    }
}

impl Scratch {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            reader,
            writer,
            bytes: vec![0; PEEK_BYTES],
        })
    }
}

#[expect(
    unsafe_code,
    reason = "the enabled features of our crates offer no safe splice(2)"
)]
fn splice(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    offset: u64,
    max: usize,
) -> io::Result<Drained> {
    let mut position = i64::try_from(offset).map_err(io::Error::other)?;
    retry_interrupted("splice(2)", || {
        // SAFETY: both descriptors are borrowed for the call, and `position` outlives it.
        unsafe {
            libc::splice(
                from.as_raw_fd(),
                std::ptr::null_mut(),
                to.as_raw_fd(),
                &raw mut position,
                max,
                libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
            )
        }
    })
}

#[expect(
    unsafe_code,
    reason = "the enabled features of our crates offer no safe tee(2)"
)]
fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, max: usize) -> io::Result<Drained> {
    // SAFETY: both descriptors are borrowed for the call, which accesses no memory of this process.
    retry_interrupted("tee(2)", || unsafe {
        libc::tee(
            from.as_raw_fd(),
            to.as_raw_fd(),
            max,
            libc::SPLICE_F_NONBLOCK,
        )
    })
}

/// Repeats `call` while a signal interrupts it, and converts the count that it returns.
fn retry_interrupted(name: &str, mut call: impl FnMut() -> isize) -> io::Result<Drained> {
    loop {
        let count = call();
        if count >= 0 {
            return Ok(usize::try_from(count)
                .ok()
                .filter(|&count| count > 0)
                .map_or(Drained::Ended, Drained::Bytes));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock {
            return Ok(Drained::Empty);
        }
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ENOSYS | libc::EPERM) => return Err(refused(name, &error)),
            _ => return Err(error),
        }
    }
}

/// Names the call, because nothing else shows that a seccomp profile refuses it.
fn refused(name: &str, error: &io::Error) -> io::Error {
    let message = format!("{name} is refused: {error}; allow it in the seccomp profile");
    io::Error::new(error.kind(), message)
}

pub(in super::super) fn enlarge(fifo: &File, requests: &[usize]) -> usize {
    for request in requests
        .iter()
        .filter_map(|&request| i32::try_from(request).ok())
    {
        if fcntl(fifo, FcntlArg::F_SETPIPE_SZ(request)).is_ok() {
            break;
        }
    }
    fcntl(fifo, FcntlArg::F_GETPIPE_SZ)
        .ok()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(PEEK_BYTES)
}

/// The length of the bytes up to and including the first newline, or of all bytes if there is none.
fn line_length(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(bytes.len(), |at| at + 1)
}
