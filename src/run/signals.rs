//! Receives signals: each handler writes a byte to a socket that the loop reads. Only this file installs handlers.

use crate::sys::{identity, signal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::SigId;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::low_level;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdStream;
use tokio::net::UnixStream;

/// The signals that arrived since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReceivedSignals {
    /// A child may have ended.
    pub(super) child: bool,
    /// The ordered stop is requested.
    pub(super) stop: bool,
    /// SIGHUP: the terminal closed, or a user requests a reload.
    pub(super) hangup: bool,
}

/// One socket per meaning, because the byte that signal-hook writes does not name the signal.
#[derive(Debug)]
pub(super) struct Signals {
    child: SignalStream,
    stop: SignalStream,
    /// `None` if the process was started with SIGHUP ignored (nohup).
    hangup: Option<SignalStream>,
}

/// The handlers of signals with one meaning, installed until this is dropped.
#[derive(Debug)]
struct SignalStream {
    stream: UnixStream,
    /// The signal that stands for all of them.
    number: i32,
    handlers: Vec<SigId>,
}

/// The signals that request the ordered stop. As PID 1 also those that images name as their STOPSIGNAL (systemd, haproxy,
/// LXC, httpd). SIGWINCH only without a terminal: with one it says that the window has another size.
fn stop_signals(is_first_process: bool, has_terminal: bool) -> Vec<i32> {
    let mut signals = vec![SIGTERM, SIGINT, SIGQUIT];
    if is_first_process {
        signals.extend(signal::stop_signals_of_images());
        signals.retain(|number| *number != SIGWINCH || !has_terminal);
    }
    signals
}

impl Drop for SignalStream {
    fn drop(&mut self) {
        for handler in &self.handlers {
            low_level::unregister(*handler);
        }
    }
}

impl Signals {
    /// Installs the handlers, ignores every other signal that would end stayd without a stop of its services, and unblocks the
    /// signals that an in-place upgrade had blocked.
    ///
    /// # Errors
    /// A handler or socket could not be created.
    pub(super) fn install() -> io::Result<Self> {
        let stop = stop_signals(identity::pid() == 1, io::stdin().is_terminal());
        for number in signal::ending_signals() {
            if !stop.contains(&number) {
                signal::ignore(number);
            }
        }
        let signals = Self {
            child: install(&[SIGCHLD])?,
            stop: install(&stop)?,
            hangup: if signal::is_ignored(SIGHUP) {
                None
            } else {
                Some(install(&[SIGHUP])?)
            },
        };
        signal::unblock_all();
        Ok(signals)
    }

    /// Removes the handlers for an in-place upgrade, and sends the signals that arrived but were not read to this process
    /// again, for the next version. All signals must be blocked in every thread by then.
    pub(super) fn hand_over(self) {
        for signal in [&self.child, &self.stop].into_iter().chain(&self.hangup) {
            if has_unread(&signal.stream) {
                signal::send_to_self(signal.number);
            }
        }
    }

    /// Waits until a signal has arrived.
    pub(super) async fn receive(&self) -> io::Result<ReceivedSignals> {
        tokio::select! {
            ready = self.child.stream.readable() => ready?,
            ready = self.stop.stream.readable() => ready?,
            ready = readable(self.hangup.as_ref()) => ready?,
        }
        Ok(ReceivedSignals {
            child: drain(&self.child.stream)? > 0,
            stop: drain(&self.stop.stream)? > 0,
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

/// Installs a handler for each of `numbers`, of which the first stands for all.
fn install(numbers: &[i32]) -> io::Result<SignalStream> {
    let (reader, writer) = StdStream::pair()?;
    reader.set_nonblocking(true)?;
    let mut installed = SignalStream {
        stream: UnixStream::from_std(reader)?,
        number: numbers.first().copied().unwrap_or_default(),
        handlers: Vec::new(),
    };
    for number in numbers {
        let handler = low_level::pipe::register(*number, writer.try_clone()?)?;
        installed.handlers.push(handler);
    }
    Ok(installed)
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

#[cfg(test)]
mod tests {
    use super::{SIGQUIT, SIGWINCH, stop_signals};

    #[test]
    fn the_first_process_stops_on_the_stop_signals_of_images() {
        assert!(stop_signals(false, true).contains(&SIGQUIT));
        assert!(!stop_signals(false, false).contains(&SIGWINCH));
        assert!(stop_signals(true, false).contains(&SIGWINCH));
        assert!(!stop_signals(true, true).contains(&SIGWINCH));
        assert!(stop_signals(true, true).contains(&libc::SIGUSR1));
    }
}
