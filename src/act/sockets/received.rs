//! Sockets that stayd received at its start: from systemd (a .socket unit, the descriptor store), from launchd, or from
//! the version of stayd before an upgrade.

use super::fd_store::{self, FdStore};
use super::{HeldSocket, SocketOrigin};
use crate::act::notify::parent::StartContext;
use crate::config::{Listen, Service};
use crate::sys::{listen, listen_fds};
use std::cell::RefCell;
use std::os::fd::OwnedFd;

/// Received sockets that no service has taken yet, and the descriptor store.
#[derive(Debug)]
pub struct ReceivedSockets {
    waiting: RefCell<Vec<HeldSocket>>,
    store: FdStore,
}

impl ReceivedSockets {
    /// Takes the sockets that came with stayd's start, matched to these services by address. Logs and closes a socket
    /// that no service declares, because a client that connects to it would wait forever.
    #[must_use]
    pub fn open(start_context: &StartContext, services: &[Service]) -> Self {
        let received = Self {
            waiting: RefCell::default(),
            store: FdStore::of(start_context),
        };
        let (count, names) = start_context.listen_fds();
        for (nth, address, socket) in listen_fds::take_inherited(count) {
            let name = names.get(nth).map_or("", String::as_str);
            received.receive(name, address, socket, services);
        }
        for service in services
            .iter()
            .filter(|service| !service.sockets.is_empty())
        {
            for socket in listen::from_launchd(&service.name) {
                received.add_given(&service.name, socket, services);
            }
        }
        received
    }

    fn receive(&self, name: &str, address: Listen, socket: OwnedFd, services: &[Service]) {
        let stored = fd_store::is_ours(name);
        if !is_declared(&address, services) {
            if stored {
                self.store.forget(&address);
            }
            return tracing::warn!(
                "the socket {address} ({name}) was passed to stayd and no service has it in `sockets`; stayd closes it"
            );
        }
        let origin = if stored {
            SocketOrigin::Bound
        } else {
            SocketOrigin::Given
        };
        self.put(HeldSocket {
            address,
            socket,
            origin,
        });
    }

    fn add_given(&self, name: &str, socket: OwnedFd, services: &[Service]) {
        match HeldSocket::new(socket, SocketOrigin::Given) {
            Some(held) => self.receive(name, held.address, held.socket, services),
            None => tracing::warn!(
                "stayd closes launchd's socket {name}: it does not listen for streams over TCP or at a path"
            ),
        }
    }

    /// Takes a socket from the version of stayd before an upgrade. Closes it where no service declares it any more.
    pub fn inherit(&self, held: HeldSocket, services: &[Service]) {
        if is_declared(&held.address, services) {
            return self.put(held);
        }
        self.store.forget(&held.address);
        tracing::warn!(
            "no service has the socket {} in `sockets` any more; stayd closes it",
            held.address
        );
    }

    /// Keeps a socket until a service takes it.
    pub fn put(&self, held: HeldSocket) {
        self.waiting.borrow_mut().push(held);
    }

    /// Takes the socket at this address.
    pub(super) fn take(&self, address: &Listen) -> Option<HeldSocket> {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|held| held.address == *address)?;
        Some(waiting.remove(place))
    }

    /// Calls `each` with every socket that no service has taken.
    pub(crate) fn list<T>(&self, each: impl Fn(&HeldSocket) -> T) -> Vec<T> {
        self.waiting.borrow().iter().map(each).collect()
    }

    /// Whether the parent supervisor keeps stayd's sockets for the next stayd.
    pub(crate) const fn is_kept_by_parent(&self) -> bool {
        self.store.exists()
    }

    /// The descriptor store.
    pub(super) const fn store(&self) -> &FdStore {
        &self.store
    }
}

fn is_declared(address: &Listen, services: &[Service]) -> bool {
    services
        .iter()
        .any(|service| service.sockets.contains(address))
}
