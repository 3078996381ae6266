//! Sockets that are held for a service: bound before its first life, given to each, kept while none runs.
//!
//! Whoever connects meanwhile waits in the backlog. Nothing is accepted here, so nothing is lost here.

mod conflict;
mod fd_store;
mod reception;
mod regain;

pub use reception::Reception;
pub(crate) use regain::regain;

use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::act::lifecycle::prepare::passing;
use crate::act::spawn::spawner::Environment;
use crate::config::Listen;
use crate::decide::event::SpawnFailure;
use crate::sys::socket::{self, Listener};
use crate::sys::{identity, listen};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Binding touches a file system where the address is a path: one that has not answered by then may be gone.
const BIND_DEADLINE: Duration = Duration::from_secs(5);
/// The same for removing the file.
const REMOVE_DEADLINE: Duration = Duration::from_secs(2);

/// Where a socket comes from, and so whether it can be had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Bound by us, or by an earlier stayd: closed when no life is on its way.
    Bound,
    /// Held by the OS supervisor, which refuses us its address: never given up.
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
    /// None for what does not listen over TCP or at a path.
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

    /// Listens again, if a child has shut it down; false when that cannot be undone, so that it has to be bound anew.
    fn is_cured(&self) -> bool {
        let again = listen::listen_again(self.socket.as_fd());
        self.origin == Origin::Given
            || (again.is_ok() && !listen::is_shut_down(self.socket.as_fd()))
    }
}

/// One service's sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    held: RefCell<Vec<Held>>,
    /// Files of closed sockets are being removed.
    closing: RefCell<Option<JoinHandle<()>>>,
}

impl Sockets {
    fn hold(&self, shared: &SharedContext, held: Held) {
        if held.origin == Origin::Bound {
            shared.reception.store().keep(&held);
        }
        self.held.borrow_mut().push(held);
    }

    fn has(&self, address: &Listen) -> bool {
        self.held
            .borrow()
            .iter()
            .any(|held| held.address == *address)
    }

    /// Whether it is held and listens; one that cannot be made to is let go.
    fn listens(&self, shared: &SharedContext, address: &Listen) -> bool {
        let mut helds = self.held.borrow_mut();
        let Some(place) = helds.iter().position(|held| held.address == *address) else {
            return false;
        };
        let cured = helds[place].is_cured();
        if !cured {
            shared.reception.store().forget(address);
            helds.remove(place);
        }
        cured
    }

    /// It is held no longer; what was given to us is, for it could not be had again.
    fn let_go(&self, shared: &SharedContext, address: &Listen) {
        let mut helds = self.held.borrow_mut();
        let is_it = |held: &Held| held.address == *address && held.origin != Origin::Given;
        if let Some(place) = helds.iter().position(is_it) {
            shared.reception.store().forget(address);
            helds.remove(place);
        }
    }

    /// Waits until the files of what was closed are removed, or for two seconds.
    pub(crate) async fn closed(&self) {
        let closing = self.closing.take();
        if let Some(closing) = closing {
            // A disk that hangs keeps its file, and the next bind says so.
            let _ = tokio::time::timeout(REMOVE_DEADLINE, closing).await;
        }
    }
}

/// Sees to it that each of the service's sockets listens: those it has, those that were handed to us, those it can bind.
/// `owner` (uid, gid) gets the files, where that is not us.
pub(crate) async fn open(
    shared: &SharedContext,
    context: &ServiceContext,
    owner: Option<(u32, u32)>,
) -> Result<(), SpawnFailure> {
    context.sockets.closed().await;
    for address in &context.config.sockets {
        take_received(shared, context, address);
        if has_no_path(address).await {
            context.sockets.let_go(shared, address);
        }
        if !context.sockets.listens(shared, address) {
            let held = bind(shared, address, owner).await?;
            context.sockets.hold(shared, held);
        }
    }
    Ok(())
}

/// Somebody has removed the file: nobody can connect any more. A disk that does not answer has removed nothing.
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

fn take_received(shared: &SharedContext, context: &ServiceContext, address: &Listen) {
    if !context.sockets.has(address)
        && let Some(held) = shared.reception.take(address)
    {
        context.sockets.hold(shared, held);
    }
}

/// On a thread of its own, because a path may lead to a disk that hangs.
async fn bind(
    shared: &SharedContext,
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
        Ok(Ok(Err(error))) => Err(conflict::explain(shared, address, &error).await),
        Ok(Err(_)) | Err(_) => Err(passing(format!(
            "cannot listen on {address}: no answer within {} s, its disk may be gone; trying again",
            BIND_DEADLINE.as_secs()
        ))),
    }
}

/// Copies for one life, in the order of the configuration.
pub(crate) fn for_a_life(context: &ServiceContext) -> io::Result<Vec<OwnedFd>> {
    let held = context.sockets.held.borrow();
    let copy = |address: &Listen| {
        let held = held.iter().find(|held| held.address == *address);
        held.ok_or(io::ErrorKind::NotFound)?.socket.try_clone()
    };
    context.config.sockets.iter().map(copy).collect()
}

/// The claim's number in a child: the sockets come first, sd_listen_fds(3) fixes their numbers.
pub(crate) fn claim_fd(context: &ServiceContext) -> RawFd {
    let count = RawFd::try_from(context.config.sockets.len()).unwrap_or(RawFd::MAX);
    listen::FIRST_INHERITED.saturating_add(count)
}

/// What tells a life of its sockets (sd_listen_fds(3)); all have the service's name, as systemd's have the unit's.
pub(crate) fn environment(context: &ServiceContext) -> Environment {
    let count = context.config.sockets.len();
    if count == 0 {
        return Environment::new();
    }
    let names = vec![context.config.name.as_str(); count].join(":");
    Environment::from([
        ("LISTEN_FDS".into(), count.to_string().into()),
        ("LISTEN_FDNAMES".into(), names.into()),
        ("LISTEN_PID".into(), "@PID".into()),
    ])
}

/// Whether this is a socket that we hold for the service: then it is the service's own, whoever else has it open.
pub(crate) fn holds(context: &ServiceContext, listener: &Listener) -> bool {
    !context.config.sockets.is_empty()
        && socket::holds_listener(identity::pid(), listener).unwrap_or(false)
}

/// Nobody is on the way who could answer: connections are refused from now on, and files are removed. What the OS
/// supervisor has given is not ours to close.
pub(crate) fn close(shared: &SharedContext, context: &ServiceContext) {
    let mut files = Vec::new();
    for address in &context.config.sockets {
        take_received(shared, context, address);
    }
    for held in context.sockets.held.take() {
        if held.origin == Origin::Given {
            shared.reception.put(held);
            continue;
        }
        shared.reception.store().forget(&held.address);
        // One that a child has shut down refuses already.
        let _ = listen::shut_down(held.socket.as_fd());
        if let Listen::Unix(path) = held.address {
            files.push(path);
        }
    }
    if !files.is_empty() {
        let removing = tokio::task::spawn_blocking(move || {
            for path in files {
                // One that stays is replaced at the next start.
                let _ = listen::remove_stale(&path);
            }
        });
        context.sockets.closing.replace(Some(removing));
    }
}

/// All that is held, taken by a service or not, as `each` sees it.
pub(crate) fn list<T>(
    shared: &SharedContext,
    contexts: &[Rc<ServiceContext>],
    each: impl Fn(&Held) -> T,
) -> Vec<T> {
    let mut all = shared.reception.list(&each);
    for context in contexts {
        all.extend(context.sockets.held.borrow().iter().map(&each));
    }
    all
}
