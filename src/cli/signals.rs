//! Signals that end a verb, as futures.

use super::exit::{Exit, Failure, Outcome};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// A stream that yields one byte each time this process receives `signal`.
pub(super) fn signal_stream(signal: i32) -> io::Result<UnixStream> {
    let (ours, handler_end) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, handler_end)?;
    UnixStream::from_std(ours)
}

/// The same, with an error for the user.
pub(super) fn listen(signal: i32) -> Result<UnixStream, Failure> {
    signal_stream(signal).map_err(|error| Failure::system("listen for signals", &error))
}

/// Runs `work` until it ends, or until SIGTERM, SIGINT or SIGHUP arrives.
pub(super) async fn until_signal(work: impl Future<Output = Outcome>) -> Outcome {
    let (mut term, mut int, mut hangup) = (listen(SIGTERM)?, listen(SIGINT)?, listen(SIGHUP)?);
    tokio::select! {
        _signal = term.read_u8() => Ok(Exit::Done),
        _signal = int.read_u8() => Ok(Exit::Done),
        _signal = hangup.read_u8() => Ok(Exit::Done),
        ended = work => ended,
    }
}
