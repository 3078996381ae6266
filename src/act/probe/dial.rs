//! Makes one connection, for which it uses all the time until the attempt's deadline.
//!
//! While a listener's backlog is full, the kernel lets a client wait on a Unix socket, and drops its packets on a TCP port.
//! A service that accepts slowly is alive, so only a backlog that stays full until the deadline is dead.

use super::{Answer, Phase, dead, no_verdict};
use crate::act::listeners;
use crate::act::off_loop::{OffLoopError, off_loop};
use crate::sys::{listen, socket};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// A connection within this machine takes less time than this, unless the kernel drops its packets.
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(25);
/// The longest pause between two looks at the listener. The last one before the deadline decides.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(100);

/// Connects to a TCP address.
///
/// A connection within this machine that does not come at once is tried again and again, because the kernel itself sends the
/// next packet only after a second. Meanwhile this function looks whether the listener's queue is full: if it has room, the
/// packets are lost on the way (a firewall, an interface that is down), which says nothing about the service.
///
/// # Errors
/// The system's error; `ConnectionRefused` also where the socket has connected to itself.
pub(super) async fn tcp(address: SocketAddr, phase: &Phase) -> io::Result<TcpStream> {
    let mut first = pin!(connect(address));
    // Within this machine the kernel has connected by the next turn of the loop, so that most connections need no timer.
    tokio::select! {
        biased;
        outcome = &mut first => return not_to_itself(outcome?, address),
        () = tokio::task::yield_now() => {}
    }
    let mut pause = FIRST_LOOK_AFTER;
    tokio::select! {
        biased;
        outcome = &mut first => return not_to_itself(outcome?, address),
        () = tokio::time::sleep(pause) => {}
    }
    if !socket::is_own_address(address.ip()) {
        return not_to_itself(first.await?, address);
    }
    loop {
        match look(address).await {
            Some(answer) => phase.set_answer_at_deadline(answer),
            None => phase.wait_for_service("connection"),
        }
        pause = (pause * 2).min(LOOK_EVERY_MAX);
        // The first one stays under way: on a slow path no other one would have the time to succeed.
        tokio::select! {
            biased;
            outcome = &mut first => return not_to_itself(outcome?, address),
            outcome = connect(address) => return not_to_itself(outcome?, address),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// As `TcpStream::connect`, but a connection that the server has reset is one if an answer came before the reset: the kernel
/// keeps what has arrived. A server that sheds load may be that quick.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::from_std(socket::begin_to_connect(address)?)?;
    stream.writable().await?;
    match stream.take_error()? {
        None => Ok(stream),
        Some(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            let has_answer = stream.peek(&mut [0]).await.is_ok_and(|count| count > 0);
            if has_answer { Ok(stream) } else { Err(error) }
        }
        Some(error) => Err(error),
    }
}

/// If no process listens on a port of the range for outgoing connections, the kernel can choose that very port as the source,
/// and connects the socket to itself (simultaneous open, RFC 9293, section 3.5). No process listens, so that is a refusal.
fn not_to_itself(stream: TcpStream, address: SocketAddr) -> io::Result<TcpStream> {
    if stream.local_addr()? != address {
        return Ok(stream);
    }
    // Otherwise the closed connection would keep the port from the service for a minute (TIME_WAIT).
    let _ = stream.set_zero_linger();
    Err(io::ErrorKind::ConnectionRefused.into())
}

/// The answer if the deadline passes now without a connection to `address` of this machine. None if no process listens there
/// or the kernel does not show it: then the packets may go to another machine or network namespace.
async fn look(address: SocketAddr) -> Option<Answer> {
    let listeners = listeners::reached_at(address).await.ok()?;
    listeners.first()?;
    Some(if listeners.iter().any(|one| one.is_full) {
        dead(full(address))
    } else {
        no_verdict(format!(
            "cannot connect to {address}, although its backlog has room: the packets are lost on the way; check the \
             firewall, and that the network interface is up"
        ))
    })
}

/// Connects to a Unix socket. If its backlog is full, waits in the kernel's queue of clients, on a thread of its own: a
/// client that only tried again from time to time would never get a place among others that wait.
///
/// # Errors
/// The answer of the attempt, or the system's error.
pub(super) async fn unix(path: &Path, phase: &Phase) -> Result<io::Result<UnixStream>, Answer> {
    match UnixStream::connect(path).await {
        // Here EAGAIN means that the listener's backlog is full (connect(2)).
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        outcome => return Ok(outcome),
    }
    phase.set_answer_at_deadline(dead(full(path.display())));
    let (path, left) = (path.to_owned(), phase.time_left());
    let connected = {
        let path = path.clone();
        off_loop("connect", left, move || listen::connect_within(&path, left)).await
    };
    match connected {
        Ok(Ok(stream)) => Ok(UnixStream::from_std(stream)),
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Ok(Err(error)),
        Ok(Err(_)) | Err(OffLoopError::TimedOut(_)) => Err(dead(full(path.display()))),
        Err(error @ OffLoopError::NoThread(_)) => Err(no_verdict(format!(
            "cannot wait for a place in the backlog of {}: {error}",
            path.display()
        ))),
    }
}

fn full(address: impl std::fmt::Display) -> String {
    format!("{address}: its backlog is full")
}
