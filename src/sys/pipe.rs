//! FIFOs: making them, how much they hold, and moving what is in them into a file.

#[cfg_attr(target_os = "linux", path = "linux/pipe.rs")]
#[cfg_attr(target_os = "macos", path = "macos/pipe.rs")]
mod imp;

use super::identity;
use super::process::{self, Stat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// What one attempt to move bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes, at least one.
    Bytes(usize),
    /// Nothing is in the FIFO now; somebody may still write.
    Empty,
    /// Nothing is in it and nobody holds a write end.
    Ended,
}

/// The file refused the bytes.
#[derive(Debug)]
pub struct Refused {
    /// What the system said.
    pub error: io::Error,
    /// Bytes that left the FIFO and never reached the file: always 0 where `splice(2)` moves them.
    pub lost: usize,
}

/// How much to move, and what to look at on the way.
#[derive(Debug)]
pub struct Want<'a> {
    /// At most this many bytes; at least 1.
    pub max: usize,
    /// Stop behind the first newline, if one is among the next [`PEEK_BYTES`].
    pub to_newline: bool,
    /// Append a copy of what was moved.
    pub copy: Option<&'a mut Vec<u8>>,
}

/// How far [`Mover::transfer`] looks ahead when it has to see the bytes, and the most it then moves at once.
pub const PEEK_BYTES: usize = 64 * 1024;

/// Moves bytes from FIFOs into files; keeps what that needs between calls.
#[derive(Debug, Default)]
pub struct Mover(imp::Mover);

impl Mover {
    /// Moves bytes from `fifo` (opened O_NONBLOCK) to `offset` in `file` (never O_APPEND). Does not wait for
    /// more to come. On Linux no byte is ever in this process alone: a kill at any instruction leaves it
    /// either in the FIFO or in the file.
    ///
    /// # Errors
    /// [`Refused`] when the file does not take them (disk full, read-only, gone).
    pub fn transfer(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        want: Want<'_>,
    ) -> Result<Moved, Refused> {
        self.0.transfer(fifo, file, offset, want)
    }
}

/// Reads at most `buffer.len()` bytes out of `fifo` (opened O_NONBLOCK), to be thrown away or shown.
///
/// # Errors
/// What read(2) says, EAGAIN and EINTR apart.
pub fn take(fifo: &File, buffer: &mut [u8]) -> io::Result<Moved> {
    let mut reader = fifo;
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(Moved::Ended),
            Ok(count) => return Ok(Moved::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Moved::Empty),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes a FIFO that only its owner may open.
///
/// # Errors
/// What mkfifo(3) says.
pub fn make(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

/// Asks for the largest capacity in `requests` (bytes, falling) that the system grants; returns what the FIFO
/// holds then. macOS has fixed sizes, about 64 KiB.
pub fn enlarge(fifo: &File, requests: &[usize]) -> usize {
    imp::enlarge(fifo, requests)
}

/// Bytes waiting in the FIFO.
///
/// # Errors
/// What ioctl(2) says.
#[expect(unsafe_code, reason = "FIONREAD has no safe face")]
pub fn waiting(fifo: &File) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which `count` is, and the fd is open for as long as `fifo` lives.
    let result = unsafe { libc::ioctl(fifo.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Some process other than this one that has the file `dev`:`ino` open; one on its way to exec only where there is no
/// other. Looks at every process, so only for telling a person.
///
/// # Errors
/// When the processes cannot be listed.
pub fn find_holder(dev: u64, ino: u64) -> io::Result<Option<Stat>> {
    let pids = imp::all_pids()?.into_iter();
    let others = pids.filter(|&pid| pid != identity::pid());
    let holders = others.filter(|&pid| process::holds_file(pid, dev, ino).unwrap_or(false));
    let holders = holders.filter_map(|pid| process::stat(pid).ok());
    Ok(holders.min_by_key(|holder| holder.before_exec))
}
