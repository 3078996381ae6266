//! Signals become bytes in a socket, and bytes become facts. The one owner of signal handlers.

use crate::sys::signal;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::SigId;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level;
use std::io;
use std::os::fd::AsFd as _;
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
    child: Watched,
    term: Watched,
    int: Watched,
    /// None where whoever started us had it ignored.
    hangup: Option<Watched>,
}

/// A signal that is heard until this is dropped.
#[derive(Debug)]
struct Watched {
    stream: UnixStream,
    number: i32,
    handler: SigId,
}

impl Drop for Watched {
    fn drop(&mut self) {
        low_level::unregister(self.handler);
    }
}

impl Signals {
    /// Installs the handlers, and lets in what has waited for them.
    ///
    /// # Errors
    /// The system's refusal.
    pub(super) fn install() -> io::Result<Self> {
        let signals = Self {
            child: watch(SIGCHLD)?,
            term: watch(SIGTERM)?,
            int: watch(SIGINT)?,
            hangup: if signal::is_ignored(SIGHUP) {
                None
            } else {
                Some(watch(SIGHUP)?)
            },
        };
        signal::unblock_all();
        Ok(signals)
    }

    /// Ends the hearing in favour of whoever takes our place: what has come and was not read comes to them. Signals have
    /// to be held by then, in every thread.
    pub(super) fn leave(self) {
        for watched in [&self.child, &self.term, &self.int]
            .into_iter()
            .chain(&self.hangup)
        {
            if has_unread(&watched.stream) {
                signal::send_to_self(watched.number);
            }
        }
    }

    /// Waits until something has arrived.
    pub(super) async fn arrived(&self) -> io::Result<Arrived> {
        tokio::select! {
            ready = self.child.stream.readable() => ready?,
            ready = self.term.stream.readable() => ready?,
            ready = self.int.stream.readable() => ready?,
            ready = readable(self.hangup.as_ref()) => ready?,
        }
        Ok(Arrived {
            child: drain(&self.child.stream)? > 0,
            end: u32::from(drain(&self.term.stream)? > 0) + u32::from(drain(&self.int.stream)? > 0),
            hangup: self
                .hangup
                .as_ref()
                .map_or(Ok(0), |watched| drain(&watched.stream))?
                > 0,
        })
    }
}

async fn readable(watched: Option<&Watched>) -> io::Result<()> {
    match watched {
        Some(watched) => watched.stream.readable().await,
        None => std::future::pending().await,
    }
}

fn watch(number: i32) -> io::Result<Watched> {
    let (reader, writer) = StdStream::pair()?;
    reader.set_nonblocking(true)?;
    Ok(Watched {
        stream: UnixStream::from_std(reader)?,
        number,
        handler: low_level::pipe::register(number, writer)?,
    })
}

/// Asks the system itself: the runtime that would know does not run any more.
fn has_unread(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
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
