//! Signals become bytes in a socket, and bytes become facts. The one owner of signal handlers.

use crate::sys::signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use tokio::net::UnixStream;

/// What arrived since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// A child may have ended.
    pub(super) child: bool,
    /// How many requests to end.
    pub(super) end: u32,
    /// The terminal closed, or somebody wants a reload.
    pub(super) hangup: bool,
}

/// One socket per signal, because signal-hook writes only that something came.
#[derive(Debug)]
pub(super) struct Signals {
    child: UnixStream,
    term: UnixStream,
    int: UnixStream,
    /// None where whoever started us had it ignored.
    hangup: Option<UnixStream>,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The system's refusal.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            child: watch(SIGCHLD)?,
            term: watch(SIGTERM)?,
            int: watch(SIGINT)?,
            hangup: if signal::is_ignored(SIGHUP) {
                None
            } else {
                Some(watch(SIGHUP)?)
            },
        })
    }

    /// Waits until something has arrived.
    pub(super) async fn arrived(&self) -> io::Result<Arrived> {
        tokio::select! {
            ready = self.child.readable() => ready?,
            ready = self.term.readable() => ready?,
            ready = self.int.readable() => ready?,
            ready = readable(self.hangup.as_ref()) => ready?,
        }
        Ok(Arrived {
            child: drain(&self.child)? > 0,
            end: u32::from(drain(&self.term)? > 0) + u32::from(drain(&self.int)? > 0),
            hangup: self.hangup.as_ref().map_or(Ok(0), drain)? > 0,
        })
    }
}

async fn readable(stream: Option<&UnixStream>) -> io::Result<()> {
    match stream {
        Some(stream) => stream.readable().await,
        None => std::future::pending().await,
    }
}

fn watch(signal: i32) -> io::Result<UnixStream> {
    let (reader, writer) = StdStream::pair()?;
    reader.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, writer)?;
    UnixStream::from_std(reader)
}

/// Reads what is there and says how many bytes it was.
fn drain(stream: &UnixStream) -> io::Result<usize> {
    let mut total = 0;
    let mut buffer = [0; 64];
    loop {
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => total += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
