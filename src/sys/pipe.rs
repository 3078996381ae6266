//! FIFOs for captured output: creating them, sizing them, and moving their content into a file.

use super::process::{self, Stat};
use super::{identity, platform};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// The result of one attempt to take bytes out of a FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// This many bytes were taken, at least one.
    Bytes(usize),
    /// The FIFO is empty now; a process still has its write end open.
    Empty,
    /// The FIFO is empty and no process has its write end open.
    Ended,
}

/// The file did not take the bytes.
#[derive(Debug)]
pub struct WriteFailed {
    /// The system's error.
    pub error: io::Error,
    /// Bytes that left the FIFO and did not reach the file: always 0 where `splice(2)` moves them.
    pub lost: usize,
}

/// How much to move, and whether to inspect the bytes.
#[derive(Debug)]
pub struct DrainRequest<'a> {
    /// At most this many bytes; at least 1.
    pub max: usize,
    /// Stop after the first newline, if the next [`PEEK_BYTES`] contain one.
    pub to_newline: bool,
    /// Append a copy of the moved bytes to this buffer.
    pub copy: Option<&'a mut Vec<u8>>,
}

/// How far [`FifoDrain::transfer`] looks ahead when it must inspect the bytes, and the most that it then moves at once.
pub const PEEK_BYTES: usize = 64 * 1024;

/// Moves bytes from FIFOs into files; keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct FifoDrain(platform::pipe::FifoDrain);

impl FifoDrain {
    /// Moves bytes from `fifo` (opened O_NONBLOCK) to `offset` in `file` (never O_APPEND). Does not wait for more bytes.
    /// On Linux a byte is at no time only in the memory of this process: a kill at any instruction leaves each byte either
    /// in the FIFO or in the file.
    ///
    /// # Errors
    /// [`WriteFailed`] when the file does not take the bytes (disk full, read-only, removed disk).
    pub fn transfer(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        request: DrainRequest<'_>,
    ) -> Result<Drained, WriteFailed> {
        self.0.transfer(fifo, file, offset, request)
    }
}

/// Reads at most `buffer.len()` bytes from `fifo` (opened O_NONBLOCK), for a caller that discards or shows them.
///
/// # Errors
/// The error of read(2), except EAGAIN and EINTR.
pub fn read(fifo: &File, buffer: &mut [u8]) -> io::Result<Drained> {
    let mut reader = fifo;
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(Drained::Ended),
            Ok(count) => return Ok(Drained::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Drained::Empty),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Creates a FIFO that only its owner may open.
///
/// # Errors
/// The error of mkfifo(3).
pub fn make(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

/// Marks a descriptor that a child inherits, so that [`process::inherits`] finds it: sets a flag of the open file that has no
/// effect on a FIFO and that no process sets by accident. Copies of the descriptor share the flag, also in other processes; a
/// new open of the same FIFO does not have it.
///
/// # Errors
/// The error of fcntl(2): on Linux, EPERM where the FIFO belongs to another user and stayd has no CAP_FOWNER.
pub fn mark_for_child(end: impl AsFd) -> io::Result<()> {
    platform::pipe::mark_for_child(end.as_fd())
}

/// Sets the first capacity of `requests` (bytes, in falling order) that the system grants; returns the resulting capacity.
/// On macOS the capacity is fixed, about 64 KiB.
pub fn enlarge(fifo: &File, requests: &[usize]) -> usize {
    platform::pipe::enlarge(fifo, requests)
}

/// The number of bytes in the FIFO.
///
/// # Errors
/// The error of ioctl(2).
#[expect(unsafe_code, reason = "no crate offers a safe FIONREAD")]
pub fn bytes_waiting(fifo: &File) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int into `count`, and the descriptor is open for as long as `fifo` is borrowed.
    let result = unsafe { libc::ioctl(fifo.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// A process other than this one that has the file `dev`:`ino` open. Prefers a process that has called execve over a child
/// that has not. Searches all processes, so it is only for messages to a user.
///
/// # Errors
/// The processes cannot be listed.
pub fn find_holder(dev: u64, ino: u64) -> io::Result<Option<Stat>> {
    let pids = process::all()?.into_iter();
    let others = pids.filter(|&pid| pid != identity::pid());
    let holders = others.filter(|&pid| process::holds_file(pid, dev, ino).unwrap_or(false));
    let holders = holders.filter_map(|pid| process::stat(pid).ok());
    Ok(holders.min_by_key(|holder| holder.before_exec))
}
