//! Lists listening sockets, on a thread: the kernel goes through all of its listeners, and every user can open many.

use super::off_loop::{OffLoopError, off_loop};
use crate::sys::socket::{self, Listener};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The most time for one list.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// As [`socket::listeners`].
///
/// # Errors
/// As there; `TimedOut` after 5 s, and the error of the system that cannot create a thread.
pub(crate) async fn on_port(port: u16) -> io::Result<Vec<Listener>> {
    list(move || socket::listeners(port)).await
}

/// As [`socket::listeners_reached_at`].
///
/// # Errors
/// As [`on_port`].
pub(crate) async fn reached_at(address: SocketAddr) -> io::Result<Vec<Listener>> {
    list(move || socket::listeners_reached_at(address)).await
}

async fn list(
    list: impl FnOnce() -> io::Result<Vec<Listener>> + Send + 'static,
) -> io::Result<Vec<Listener>> {
    match off_loop("listeners", LIST_TIMEOUT, list).await {
        Ok(listed) => listed,
        Err(OffLoopError::NoThread(error)) => Err(error),
        Err(OffLoopError::TimedOut(_)) => Err(io::ErrorKind::TimedOut.into()),
    }
}
