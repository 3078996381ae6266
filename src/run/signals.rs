//! Receives signals: each handler writes a byte to a socket that the loop reads. Only this file installs handlers.

use crate::sys::signal;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::SigId;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdStream;
use tokio::net::UnixStream;

/// The signals that arrived since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReceivedSignals {
    /// A child may have ended.
    pub(super) child: bool,
    /// The number of requests to shut down (SIGTERM, SIGINT).
    pub(super) terminate: u32,
    /// SIGHUP: the terminal closed, or a user requests a reload.
    pub(super) hangup: bool,
}

/// One socket per signal, because the byte that signal-hook writes does not name the signal.
#[derive(Debug)]
pub(super) struct Signals {
    child: SignalStream,
    term: SignalStream,
    int: SignalStream,
    /// `None` if the process was started with SIGHUP ignored (nohup).
    hangup: Option<SignalStream>,
}

/// The handler of one signal, installed until this is dropped.
#[derive(Debug)]
struct SignalStream {
    stream: UnixStream,
    number: i32,
    handler: SigId,
}

impl Drop for SignalStream {
    fn drop(&mut self) {
        low_level::unregister(self.handler);
    }
}

impl Signals {
    /// Installs the handlers, and unblocks the signals that an in-place upgrade had blocked.
    ///
    /// # Errors
    /// A handler or socket could not be created.
    pub(super) fn install() -> io::Result<Self> {
        let signals = Self {
            child: install(SIGCHLD)?,
            term: install(SIGTERM)?,
            int: install(SIGINT)?,
            hangup: if signal::is_ignored(SIGHUP) {
                None
            } else {
                Some(install(SIGHUP)?)
            },
        };
        signal::unblock_all();
        Ok(signals)
    }

    /// Removes the handlers for an in-place upgrade, and sends the signals that arrived but were not read to this process
    /// again, for the next version. All signals must be blocked in every thread by then.
    pub(super) fn hand_over(self) {
        for signal in [&self.child, &self.term, &self.int]
            .into_iter()
            .chain(&self.hangup)
        {
            if has_unread(&signal.stream) {
                signal::send_to_self(signal.number);
            }
        }
    }

    /// Waits until a signal has arrived.
    pub(super) async fn receive(&self) -> io::Result<ReceivedSignals> {
        tokio::select! {
            ready = self.child.stream.readable() => ready?,
            ready = self.term.stream.readable() => ready?,
            ready = self.int.stream.readable() => ready?,
            ready = readable(self.hangup.as_ref()) => ready?,
        }
        Ok(ReceivedSignals {
            child: drain(&self.child.stream)? > 0,
            terminate: u32::from(drain(&self.term.stream)? > 0)
                + u32::from(drain(&self.int.stream)? > 0),
            hangup: self
                .hangup
                .as_ref()
                .map_or(Ok(0), |signal| drain(&signal.stream))?
                > 0,
        })
    }
}

async fn readable(signal: Option<&SignalStream>) -> io::Result<()> {
    match signal {
        Some(signal) => signal.stream.readable().await,
        None => std::future::pending().await,
    }
}

fn install(number: i32) -> io::Result<SignalStream> {
    let (reader, writer) = StdStream::pair()?;
    reader.set_nonblocking(true)?;
    Ok(SignalStream {
        stream: UnixStream::from_std(reader)?,
        number,
        handler: low_level::pipe::register(number, writer)?,
    })
}

/// It uses poll(2), because the runtime that tracks readiness does not run any more.
fn has_unread(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Reads all available bytes and returns how many there were.
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
