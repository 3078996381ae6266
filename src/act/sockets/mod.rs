//! Sockets that stayd holds for a service: bound before its first instance, given to each one, kept while none runs.
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
use crate::sys::{identity, listen, listen_fds};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Binding touches a file system where the address is a path; a disk that has not answered by then may be gone.
const BIND_DEADLINE: Duration = Duration::from_secs(5);
/// The same for removing the file.
const REMOVE_DEADLINE: Duration = Duration::from_secs(2);

/// Where a socket comes from, and so whether stayd can get it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// stayd, or an earlier stayd, bound it: it is closed when no instance is on its way.
    Bound,
    /// The parent supervisor holds it too, so stayd cannot bind its address: it is never given up.
    Given,
}

/// A socket that listens.
#[derive(Debug)]
pub struct Held {
    address: Listen,
    socket: OwnedFd,
    origin: Origin,
}

impl Held {
    /// None for a socket that does not listen over TCP or at a path.
    #[must_use]
    pub fn new(socket: OwnedFd, origin: Origin) -> Option<Self> {
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
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Makes the socket listen again after a child has shut it down. Returns false when that is impossible, so that the
    /// address has to be bound anew.
    fn listens_again(&self) -> bool {
        let again = listen::listen_again(self.socket.as_fd());
        self.origin == Origin::Given
            || (again.is_ok() && !listen::is_shut_down(self.socket.as_fd()))
    }
}

/// The sockets of one service.
#[derive(Debug)]
pub(crate) struct Sockets {
    service: String,
    addresses: Vec<Listen>,
    received: Rc<ReceivedSockets>,
    held: RefCell<Vec<Held>>,
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

    /// Makes each declared socket listen: those that are held, those that stayd received, those that it can bind.
    /// `owner` (uid, gid) gets the files, where that is another user.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub(crate) async fn open(
        &self,
        helpers: &Helpers,
        owner: Option<(u32, u32)>,
    ) -> Result<(), SpawnFailure> {
        self.closed().await;
        for address in &self.addresses {
            self.take_received(address);
            if has_no_path(address).await {
                self.let_go(address);
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

    /// The variables that tell an instance about its sockets (sd_listen_fds(3)). All sockets have the service's name, as
    /// under systemd they have the unit's.
    pub(crate) fn environment(&self) -> Environment {
        let count = self.addresses.len();
        if count == 0 {
            return Environment::new();
        }
        let names = vec![self.service.as_str(); count].join(":");
        Environment::from([
            ("LISTEN_FDS".into(), count.to_string().into()),
            ("LISTEN_FDNAMES".into(), names.into()),
            ("LISTEN_PID".into(), "@PID".into()),
        ])
    }

    /// Whether stayd holds this socket for the service: then it is the service's own, whatever other process has it open.
    pub(crate) fn holds(&self, listener: &Listener) -> bool {
        !self.addresses.is_empty()
            && socket::holds_listener(identity::pid(), listener).unwrap_or(false)
    }

    /// Closes all sockets because no instance is on its way: from now on connections are refused, and files are removed.
    /// Sockets that the parent supervisor gave stay open.
    pub(crate) fn close(&self) {
        let mut files = Vec::new();
        for address in &self.addresses {
            self.take_received(address);
        }
        for held in self.held.take() {
            if held.origin == Origin::Given {
                self.received.put(held);
                continue;
            }
            self.received.store().forget(&held.address);
            // Fails for a socket that a child has shut down; that one refuses connections already.
            let _ = listen::shut_down(held.socket.as_fd());
            if let Listen::Unix(path) = held.address {
                files.push(path);
            }
        }
        if !files.is_empty() {
            let removing = tokio::task::spawn_blocking(move || {
                for path in files {
                    // A file that stays is replaced at the next start.
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
            // The file stays on a disk that hangs; then the next bind says so.
            let _ = tokio::time::timeout(REMOVE_DEADLINE, closing).await;
        }
    }

    /// Calls `each` with every socket that is held.
    pub(crate) fn list<T>(&self, each: impl Fn(&Held) -> T) -> Vec<T> {
        self.held.borrow().iter().map(each).collect()
    }

    fn hold(&self, held: Held) {
        if held.origin == Origin::Bound {
            self.received.store().keep(&held);
        }
        self.held.borrow_mut().push(held);
    }

    fn has(&self, address: &Listen) -> bool {
        let held = self.held.borrow();
        held.iter().any(|held| held.address == *address)
    }

    /// Whether the socket is held and listens. Lets go of a socket that cannot be made to listen.
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

    /// Holds the socket no longer, unless the parent supervisor gave it: stayd could not get that one again.
    fn let_go(&self, address: &Listen) {
        let mut all = self.held.borrow_mut();
        let is_it = |held: &Held| held.address == *address && held.origin != Origin::Given;
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
    let looking = tokio::task::spawn_blocking(move || {
        let found = path.symlink_metadata();
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    });
    let seen = tokio::time::timeout(BIND_DEADLINE, looking).await;
    seen.is_ok_and(|seen| seen.unwrap_or(false))
}

/// Binds on a thread of its own, because the path may lead to a disk that hangs.
async fn bind(
    helpers: &Helpers,
    address: &Listen,
    owner: Option<(u32, u32)>,
) -> Result<Held, SpawnFailure> {
    let wanted = address.clone();
    let binding = tokio::task::spawn_blocking(move || listen::bind(&wanted, owner));
    match tokio::time::timeout(BIND_DEADLINE, binding).await {
        Ok(Ok(Ok(socket))) => Ok(Held {
            address: address.clone(),
            socket,
            origin: Origin::Bound,
        }),
        Ok(Ok(Err(error))) => Err(conflict::explain(helpers, address, &error).await),
        Ok(Err(_)) | Err(_) => Err(temporary(format!(
            "cannot listen on {address}: no answer within {} s, its disk may be gone; trying again",
            BIND_DEADLINE.as_secs()
        ))),
    }
}
