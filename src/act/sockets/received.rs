//! Sockets that stayd received at its start: from systemd (a .socket unit, the descriptor store), from launchd, from the
//! version of stayd that ran in this process before an upgrade.

use super::fd_store::{self, FdStore};
use super::{Held, Origin};
use crate::act::notify::parent::StartContext;
use crate::config::{Listen, Service};
use crate::sys::{listen, listen_fds};
use std::cell::RefCell;
use std::os::fd::OwnedFd;

/// Received sockets that no service has taken yet, and the descriptor store.
#[derive(Debug)]
pub struct ReceivedSockets {
    waiting: RefCell<Vec<Held>>,
    store: FdStore,
}

impl ReceivedSockets {
    /// Takes the sockets that came with stayd's start, matched to these services by address. A socket that no service
    /// declares is named in the log and closed: a client that connects to it would wait for ever.
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
                "the socket {address} ({name}) was handed to stayd and no service has it in `sockets`; it is closed"
            );
        }
        let origin = if stored { Origin::Bound } else { Origin::Given };
        self.put(Held {
            address,
            socket,
            origin,
        });
    }

    fn add_given(&self, name: &str, socket: OwnedFd, services: &[Service]) {
        match Held::new(socket, Origin::Given) {
            Some(held) => self.receive(name, held.address, held.socket, services),
            None => tracing::warn!(
                "launchd's socket {name} is closed: it does not listen for streams over TCP or at a path"
            ),
        }
    }

    /// Takes a socket from the version of stayd before an upgrade. Closes it where no service declares it any more.
    pub fn inherit(&self, held: Held, services: &[Service]) {
        if is_declared(&held.address, services) {
            return self.put(held);
        }
        self.store.forget(&held.address);
        tracing::warn!(
            "no service has the socket {} in `sockets` any more; it is closed",
            held.address
        );
    }

    /// Keeps a socket until a service takes it.
    pub fn put(&self, held: Held) {
        self.waiting.borrow_mut().push(held);
    }

    /// Takes the socket at this address.
    pub(super) fn take(&self, address: &Listen) -> Option<Held> {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|held| held.address == *address)?;
        Some(waiting.remove(place))
    }

    /// Calls `each` with every socket that no service has taken.
    pub(crate) fn list<T>(&self, each: impl Fn(&Held) -> T) -> Vec<T> {
        self.waiting.borrow().iter().map(each).collect()
    }

    /// Whether the parent supervisor keeps stayd's sockets for the next stayd.
    pub(crate) const fn outlives_us(&self) -> bool {
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
