//! splice(2) moves, tee(2) looks.

use super::{Moved, PEEK_BYTES, Refused, Want};
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// A scratch pipe for looking at bytes without taking them; made when first needed.
#[derive(Debug, Default)]
pub(super) struct Mover {
    scratch: Option<Scratch>,
}

#[derive(Debug)]
struct Scratch {
    reader: PipeReader,
    writer: PipeWriter,
    bytes: Vec<u8>,
}

impl Mover {
    pub(super) fn transfer(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        want: Want<'_>,
    ) -> Result<Moved, Refused> {
        let result = if want.to_newline || want.copy.is_some() {
            self.look_and_splice(fifo, file, offset, want)
        } else {
            splice(fifo.as_fd(), file.as_fd(), offset, want.max)
        };
        result.map_err(|error| Refused { error, lost: 0 })
    }

    fn look_and_splice(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        want: Want<'_>,
    ) -> io::Result<Moved> {
        let seen = match self.peek(fifo, want.max.min(PEEK_BYTES))? {
            Ok(bytes) => bytes,
            Err(nothing) => return Ok(nothing),
        };
        let length = if want.to_newline {
            line_length(seen)
        } else {
            seen.len()
        };
        let moved = splice(fifo.as_fd(), file.as_fd(), offset, length)?;
        if let (Moved::Bytes(count), Some(copy)) = (moved, want.copy) {
            copy.extend_from_slice(&seen[..count]);
        }
        Ok(moved)
    }

    /// The next bytes of `fifo`, which stay in it; or why there are none.
    fn peek(&mut self, fifo: &File, max: usize) -> io::Result<Result<&[u8], Moved>> {
        // Taken out, so that after an error half-read scratch is not mistaken for the next look.
        let mut scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::new()?,
        };
        let moved = tee(fifo.as_fd(), scratch.writer.as_fd(), max)?;
        if let Moved::Bytes(count) = moved {
            scratch.reader.read_exact(&mut scratch.bytes[..count])?;
        }
        let scratch = self.scratch.insert(scratch);
        Ok(match moved {
            Moved::Bytes(count) => Ok(&scratch.bytes[..count]),
            nothing @ (Moved::Empty | Moved::Ended) => Err(nothing),
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
    reason = "splice(2) has no safe face among our crates' features"
)]
fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, max: usize) -> io::Result<Moved> {
    let mut position = i64::try_from(offset).map_err(io::Error::other)?;
    until_told(|| {
        // SAFETY: both descriptors are borrowed for the call; `position` outlives it.
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
    reason = "tee(2) has no safe face among our crates' features"
)]
fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, max: usize) -> io::Result<Moved> {
    // SAFETY: both descriptors are borrowed for the call, which touches no memory of ours.
    until_told(|| unsafe {
        libc::tee(
            from.as_raw_fd(),
            to.as_raw_fd(),
            max,
            libc::SPLICE_F_NONBLOCK,
        )
    })
}

/// Calls until no signal interrupts; says what the count means.
fn until_told(mut call: impl FnMut() -> isize) -> io::Result<Moved> {
    loop {
        let count = call();
        if count >= 0 {
            return Ok(usize::try_from(count)
                .ok()
                .filter(|&count| count > 0)
                .map_or(Moved::Ended, Moved::Bytes));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock {
            return Ok(Moved::Empty);
        }
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub(super) fn enlarge(fifo: &File, requests: &[usize]) -> usize {
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

pub(super) fn all_pids() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// Length of the bytes up to and including the first newline, or of all of them.
fn line_length(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(bytes.len(), |at| at + 1)
}
