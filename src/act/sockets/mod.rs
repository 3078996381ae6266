//! Sockets that stayd holds for a service: bound before its first instance, passed to each instance, kept open while none
//! runs.
//!
//! A client that connects in between waits in the backlog. stayd accepts no connection, so it loses none.

mod conflict;
mod fd_store;
mod received;
mod recover;

pub use received::ReceivedSockets;

use super::helper::Helpers;
use super::spawn::launch::{Environment, temporary};
use crate::config::{self, Listen};
use crate::decide::event::SpawnFailure;
use crate::sys::socket::{self, Listener};
use crate::sys::spawn::User;
use crate::sys::{identity, listen, listen_fds};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The most time to bind. A path leads to a file system, and its disk may hang.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
/// The most time to remove the file.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a socket comes from, which decides whether stayd can bind it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOrigin {
    /// This or an earlier stayd bound it. stayd closes it when no instance is about to start.
    Bound,
    /// The parent supervisor holds it too, so stayd could not bind its address again, and never closes it.
    Given,
}

/// A listening socket that stayd holds.
#[derive(Debug)]
pub struct HeldSocket {
    address: Listen,
    socket: OwnedFd,
    origin: SocketOrigin,
}

impl HeldSocket {
    /// Wraps a socket; none if it does not listen over TCP or at a path.
    #[must_use]
    pub fn new(socket: OwnedFd, origin: SocketOrigin) -> Option<Self> {
        let address = listen::address_of(socket.as_fd())?;
        Some(Self {
            address,
            socket,
            origin,
        })
    }

    /// The socket itself.
    #[must_use]
    pub const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> SocketOrigin {
        self.origin
    }

    /// Makes the socket listen again after a child has shut it down. Returns false when that is impossible, so that the
    /// address has to be bound anew.
    fn listens_again(&self) -> bool {
        let again = listen::listen_again(self.socket.as_fd());
        self.origin == SocketOrigin::Given
            || (again.is_ok() && !listen::is_shut_down(self.socket.as_fd()))
    }
}

/// The sockets of one service.
#[derive(Debug)]
pub(crate) struct Sockets {
    service: String,
    addresses: Vec<Listen>,
    received: Rc<ReceivedSockets>,
    held: RefCell<Vec<HeldSocket>>,
    /// The task that removes the files of closed sockets.
    closing: RefCell<Option<JoinHandle<()>>>,
}

impl Sockets {
    /// The sockets that `service` declares; none is bound yet.
    pub(crate) fn new(service: &config::Service, received: Rc<ReceivedSockets>) -> Self {
        Self {
            service: service.name.clone(),
            addresses: service.sockets.clone(),
            received,
            held: RefCell::default(),
            closing: RefCell::default(),
        }
    }

    /// Makes each declared socket listen: uses a held one, else a received one, else binds it. Gives the files to `owner`
    /// (uid, gid) if that is another user.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub(crate) async fn open(
        &self,
        helpers: &Helpers,
        owner: Option<&User>,
    ) -> Result<(), SpawnFailure> {
        self.closed().await;
        for address in &self.addresses {
            self.take_received(address);
            if has_no_path(address).await {
                self.drop_held(address);
            }
            if !self.listens(address) {
                let held = bind(helpers, address, owner).await?;
                self.hold(held);
            }
        }
        Ok(())
    }

    /// Copies for one instance, in the order of the configuration.
    ///
    /// # Errors
    /// A socket is not held, or no descriptor is left.
    pub(crate) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let held = self.held.borrow();
        let copy = |address: &Listen| {
            let held = held.iter().find(|held| held.address == *address);
            held.ok_or(io::ErrorKind::NotFound)?.socket.try_clone()
        };
        self.addresses.iter().map(copy).collect()
    }

    /// The number of the claim fd in a child: the sockets come first, because sd_listen_fds(3) fixes their numbers.
    pub(crate) fn claim_fd(&self) -> RawFd {
        let count = RawFd::try_from(self.addresses.len()).unwrap_or(RawFd::MAX);
        listen_fds::FIRST_INHERITED.saturating_add(count)
    }

    /// The variables that describe the sockets to an instance (sd_listen_fds(3)). All sockets have the service's name, as
    /// under systemd they have the unit's. The caller adds LISTEN_PID.
    pub(crate) fn environment(&self) -> Environment {
        let count = self.addresses.len();
        if count == 0 {
            return Environment::new();
        }
        let names = vec![self.service.as_str(); count].join(":");
        Environment::from([
            ("LISTEN_FDS".into(), count.to_string().into()),
            ("LISTEN_FDNAMES".into(), names.into()),
        ])
    }

    /// Whether the service has declared sockets.
    pub(crate) fn are_declared(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Whether stayd holds this socket for the service. If so, it is the service's own, whichever process has it open.
    pub(crate) fn holds(&self, listener: &Listener) -> bool {
        self.are_declared() && socket::holds_listener(identity::pid(), listener).unwrap_or(false)
    }

    /// Closes all sockets because no instance is about to start: from now on connections are refused, and files are removed.
    /// Sockets that the parent supervisor gave stay open.
    pub(crate) fn close(&self) {
        let mut files = Vec::new();
        for address in &self.addresses {
            self.take_received(address);
        }
        for held in self.held.take() {
            if held.origin == SocketOrigin::Given {
                self.received.put(held);
                continue;
            }
            self.received.store().forget(&held.address);
            // Fails if a child has shut the socket down; then it refuses connections already.
            let _ = listen::shut_down(held.socket.as_fd());
            if let Listen::Unix(path) = held.address {
                files.push(path);
            }
        }
        if !files.is_empty() {
            let removing = tokio::task::spawn_blocking(move || {
                for path in files {
                    // If the file stays, the next start replaces it.
                    let _ = listen::remove_stale(&path);
                }
            });
            self.closing.replace(Some(removing));
        }
    }

    /// Waits until the files of closed sockets are removed, for at most two seconds.
    pub(crate) async fn closed(&self) {
        let closing = self.closing.take();
        if let Some(closing) = closing {
            // If the disk hangs, the file stays, and the next bind reports that.
            let _ = tokio::time::timeout(REMOVE_TIMEOUT, closing).await;
        }
    }

    /// Calls `each` with every socket that is held.
    pub(crate) fn list<T>(&self, each: impl Fn(&HeldSocket) -> T) -> Vec<T> {
        self.held.borrow().iter().map(each).collect()
    }

    fn hold(&self, held: HeldSocket) {
        if held.origin == SocketOrigin::Bound {
            self.received.store().keep(&held);
        }
        self.held.borrow_mut().push(held);
    }

    fn has(&self, address: &Listen) -> bool {
        let held = self.held.borrow();
        held.iter().any(|held| held.address == *address)
    }

    /// Whether the socket is held and listens. Closes a socket that cannot be made to listen.
    fn listens(&self, address: &Listen) -> bool {
        let mut all = self.held.borrow_mut();
        let Some(place) = all.iter().position(|held| held.address == *address) else {
            return false;
        };
        let listens = all[place].listens_again();
        if !listens {
            self.received.store().forget(address);
            all.remove(place);
        }
        listens
    }

    /// Closes the socket, unless the parent supervisor gave it, because stayd could not bind that one again.
    fn drop_held(&self, address: &Listen) {
        let mut all = self.held.borrow_mut();
        let is_it =
            |held: &HeldSocket| held.address == *address && held.origin != SocketOrigin::Given;
        if let Some(place) = all.iter().position(is_it) {
            self.received.store().forget(address);
            all.remove(place);
        }
    }

    fn take_received(&self, address: &Listen) {
        if !self.has(address)
            && let Some(held) = self.received.take(address)
        {
            self.hold(held);
        }
    }
}

/// Whether the socket's file was removed, so that no client can connect any more. A disk that does not answer counts as one
/// that still has the file.
async fn has_no_path(address: &Listen) -> bool {
    let Listen::Unix(path) = address else {
        return false;
    };
    let path = path.clone();
    let check = tokio::task::spawn_blocking(move || {
        let found = path.symlink_metadata();
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    });
    let seen = tokio::time::timeout(BIND_TIMEOUT, check).await;
    seen.is_ok_and(|seen| seen.unwrap_or(false))
}

/// Binds on a thread of its own, because the path may lead to a disk that hangs.
async fn bind(
    helpers: &Helpers,
    address: &Listen,
    owner: Option<&User>,
) -> Result<HeldSocket, SpawnFailure> {
    let (wanted, owner) = (address.clone(), owner.cloned());
    let binding = tokio::task::spawn_blocking(move || listen::bind(&wanted, owner.as_ref()));
    match tokio::time::timeout(BIND_TIMEOUT, binding).await {
        Ok(Ok(Ok(socket))) => Ok(HeldSocket {
            address: address.clone(),
            socket,
            origin: SocketOrigin::Bound,
        }),
        Ok(Ok(Err(error))) => Err(conflict::explain(helpers, address, &error).await),
        Ok(Err(_)) | Err(_) => Err(temporary(format!(
            "cannot listen on {address}: no answer within {} s, its disk may be gone; trying again",
            BIND_TIMEOUT.as_secs()
        ))),
    }
}
