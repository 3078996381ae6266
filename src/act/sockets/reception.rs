//! Sockets that were handed to us: by systemd (a .socket unit, the descriptor store), by launchd, by the program that
//! was in this process before.

use super::fd_store::{self, FdStore};
use super::{Held, Origin};
use crate::act::notify::parent::StartContext;
use crate::config::{Listen, Service};
use crate::sys::listen;
use std::cell::RefCell;
use std::os::fd::OwnedFd;

/// What was handed over and no service has taken yet, and where what we hold outlives us.
#[derive(Debug)]
pub struct Reception {
    waiting: RefCell<Vec<Held>>,
    store: FdStore,
}

impl Reception {
    /// Takes in what came with our start for one of these services, matched by address. What none of them declares is
    /// named and closed: a connection to it would wait for nobody.
    #[must_use]
    pub fn open(start_context: &StartContext, services: &[Service]) -> Self {
        let reception = Self {
            waiting: RefCell::default(),
            store: FdStore::of(start_context),
        };
        let (count, names) = start_context.listen_fds();
        for (nth, address, socket) in listen::take_inherited(count) {
            let name = names.get(nth).map_or("", String::as_str);
            reception.receive(name, address, socket, services);
        }
        for service in services
            .iter()
            .filter(|service| !service.sockets.is_empty())
        {
            for socket in listen::from_launchd(&service.name) {
                reception.add_given(&service.name, socket, services);
            }
        }
        reception
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

    /// One that the version before has held; closed where no service declares it any more.
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

    /// One more.
    pub fn put(&self, held: Held) {
        self.waiting.borrow_mut().push(held);
    }

    /// The one at this address.
    pub(super) fn take(&self, address: &Listen) -> Option<Held> {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|held| held.address == *address)?;
        Some(waiting.remove(place))
    }

    /// Those that no service has taken.
    pub(super) fn list<T>(&self, each: impl Fn(&Held) -> T) -> Vec<T> {
        self.waiting.borrow().iter().map(each).collect()
    }

    /// Whether somebody keeps what we hold for the next stayd.
    pub(crate) const fn outlives_us(&self) -> bool {
        self.store.is_there()
    }

    /// Where what we hold outlives us.
    pub(super) const fn store(&self) -> &FdStore {
        &self.store
    }
}

fn is_declared(address: &Listen, services: &[Service]) -> bool {
    services
        .iter()
        .any(|service| service.sockets.contains(address))
}
