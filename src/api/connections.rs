//! Tracks the open connections of the control socket: limits their number, their duration, and drains them at the end.
//!
//! A connection that only occupies a slot (the client sends nothing, stops in the middle, does not read or does not hang
//! up) keeps the slot until another client needs it. A connection that follows events or waits for the outcome of a
//! command is never evicted.

use super::backend::{ApiError, ApiErrorKind};
use super::limits;
use super::routes::PeerRole;
use crate::sys;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// How long [`Connections::drain`] waits for connections that it has evicted.
const EVICTED_WITHIN: Duration = Duration::from_millis(100);

/// The open connections of one server; clones share them.
#[derive(Clone)]
pub struct Connections(Rc<Shared>);

struct Shared {
    /// At most [`limits::CONNECTIONS_MAX`].
    open: RefCell<Vec<Rc<State>>>,
    one_closed: Notify,
    long_requests: Arc<Semaphore>,
    group_long_requests: Arc<Semaphore>,
    commands: Cell<usize>,
    closing: watch::Sender<bool>,
}

/// The state of one connection.
struct State {
    /// How long it may last, from when the server began to read it.
    lifetime: Cell<Duration>,
    /// From when on it may be evicted, on the clock of [`now`]; `None`: never.
    evictable_at: Cell<Option<Duration>>,
    evicted: Notify,
}

impl Default for Connections {
    fn default() -> Self {
        Self(Rc::new(Shared {
            open: RefCell::default(),
            one_closed: Notify::new(),
            long_requests: Arc::new(Semaphore::new(limits::LONG_REQUESTS_MAX)),
            group_long_requests: Arc::new(Semaphore::new(limits::GROUP_LONG_REQUESTS_MAX)),
            commands: Cell::new(0),
            closing: watch::Sender::new(false),
        }))
    }
}

impl Connections {
    /// How many commands are being answered, including those whose outcome a client waits for.
    #[must_use]
    pub fn commands_in_progress(&self) -> usize {
        self.0.commands.get()
    }

    /// Stops accepting, and waits up to `within` for the open connections to end; then evicts the rest. New clients wait
    /// in the socket's backlog.
    pub async fn drain(&self, within: Duration) {
        self.0.closing.send_replace(true);
        if timeout(within, self.all_closed()).await.is_err() {
            for state in self.0.open.borrow().iter() {
                state.evicted.notify_one();
            }
            // A connection that is still open after this ends with the process.
            let _still_open = timeout(EVICTED_WITHIN, self.all_closed()).await;
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.0.closing.borrow()
    }

    /// Returns when [`drain`](Self::drain) has been called.
    pub(super) async fn closing(&self) {
        let mut closing = self.0.closing.subscribe();
        // It cannot fail: `self` owns the sender.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// Waits for a free slot. If all are taken, evicts the connection that may be evicted first.
    pub(super) async fn open_slot(&self) -> Slot {
        while self.0.open.borrow().len() >= limits::CONNECTIONS_MAX {
            self.evict_one().await;
        }
        let state = Rc::new(State {
            lifetime: Cell::new(limits::REQUEST_WITHIN),
            evictable_at: Cell::new(Some(now() + limits::REQUEST_PROTECTED)),
            evicted: Notify::new(),
        });
        self.0.open.borrow_mut().push(Rc::clone(&state));
        Slot(Connection {
            connections: self.clone(),
            state,
        })
    }

    /// One attempt to free a slot; the caller repeats it until there is one.
    async fn evict_one(&self) {
        let Some((state, evictable_at)) = self.next_to_evict() else {
            return self.0.one_closed.notified().await;
        };
        let wait = evictable_at.saturating_sub(now());
        if wait.is_zero() {
            state.evicted.notify_one();
            return self.0.one_closed.notified().await;
        }
        tokio::select! {
            () = self.0.one_closed.notified() => {}
            () = sleep(wait) => {}
        }
    }

    fn next_to_evict(&self) -> Option<(Rc<State>, Duration)> {
        let open = self.0.open.borrow();
        let evictable = open
            .iter()
            .filter_map(|state| Some((Rc::clone(state), state.evictable_at.get()?)));
        evictable.min_by_key(|(_, evictable_at)| *evictable_at)
    }

    async fn all_closed(&self) {
        while !self.0.open.borrow().is_empty() {
            self.0.one_closed.notified().await;
        }
    }
}

/// A slot for one connection, occupied until this is dropped.
pub(super) struct Slot(Connection);

impl Slot {
    pub(super) const fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shared = &self.0.connections.0;
        let mut open = shared.open.borrow_mut();
        open.retain(|state| !Rc::ptr_eq(state, &self.0.state));
        shared.one_closed.notify_one();
    }
}

/// One open connection; clones are the same connection.
#[derive(Clone)]
pub(super) struct Connection {
    connections: Connections,
    state: Rc<State>,
}

impl Connection {
    /// All connections of the same server.
    pub(super) const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Lets this connection of a client with `role` last `within` and protects it from eviction: it waits for an outcome or
    /// follows events. There are [`limits::LONG_REQUESTS_MAX`] permits, and not all of them are for the control group.
    pub(super) fn extend(&self, role: PeerRole, within: Duration) -> Result<LongRequest, ApiError> {
        let shared = &self.connections.0;
        let of_group = match role {
            PeerRole::Owner => None,
            PeerRole::Group | PeerRole::Other => Some(acquire(
                &shared.group_long_requests,
                limits::GROUP_LONG_REQUESTS_MAX,
            )?),
        };
        let permit = LongRequest {
            _of_all: acquire(&shared.long_requests, limits::LONG_REQUESTS_MAX)?,
            _of_group: of_group,
        };
        self.state.lifetime.set(within);
        self.state.evictable_at.set(None);
        Ok(permit)
    }

    /// The request has arrived, and a handler answers it.
    pub(super) fn answering(&self) {
        self.state
            .evictable_at
            .set(Some(now() + limits::ANSWER_PROTECTED));
    }

    /// The answer has been sent: the connection may be evicted at once.
    pub(super) fn answered(&self) {
        self.state.evictable_at.set(Some(Duration::ZERO));
    }

    /// Returns when another connection needs the slot.
    pub(super) async fn evicted(&self) {
        self.state.evicted.notified().await;
    }

    /// Returns when the connection has lasted as long as it may, counted from this call.
    pub(super) async fn expired(&self) {
        let mut lasted = Duration::ZERO;
        while lasted < self.state.lifetime.get() {
            let step = self.state.lifetime.get().saturating_sub(lasted);
            sleep(step).await;
            lasted += step;
        }
    }

    /// Counts a command as in progress until the guard is dropped.
    pub(super) fn command(&self) -> CommandInProgress {
        let commands = &self.connections.0.commands;
        commands.set(commands.get() + 1);
        CommandInProgress(self.connections.clone())
    }
}

/// Permits a long request until this is dropped.
#[derive(Debug)]
pub(super) struct LongRequest {
    _of_all: OwnedSemaphorePermit,
    _of_group: Option<OwnedSemaphorePermit>,
}

fn acquire(permits: &Arc<Semaphore>, max: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(permits).try_acquire_owned().map_err(|_none_left| {
        ApiError::new(
            ApiErrorKind::Busy,
            format!("cannot wait for an outcome or follow events: {max} clients do so already; try again later"),
        )
    })
}

/// Counts in [`Connections::commands_in_progress`] until this is dropped.
pub(super) struct CommandInProgress(Connections);

impl Drop for CommandInProgress {
    fn drop(&mut self) {
        let commands = &self.0.0.commands;
        commands.set(commands.get() - 1);
    }
}

/// Monotonic time that stops while the machine sleeps, so that a sleep makes no connection late.
fn now() -> Duration {
    sys::clock::sample().awake
}

#[cfg(test)]
mod tests {
    use super::{Connections, limits};
    use crate::api::routes::PeerRole;
    use std::time::Duration;

    #[tokio::test(flavor = "current_thread")]
    async fn the_control_group_leaves_long_requests_for_root_and_the_owner() {
        let connections = Connections::default();
        let slot = connections.open_slot().await;
        let extend = |role| slot.connection().extend(role, Duration::ZERO);
        let of_group = (0..limits::GROUP_LONG_REQUESTS_MAX).map(|_| extend(PeerRole::Group));
        let of_group: Vec<_> = of_group.collect::<Result<_, _>>().expect("permits");
        assert!(extend(PeerRole::Group).is_err());
        let left = limits::LONG_REQUESTS_MAX - of_group.len();
        let of_owner: Vec<_> = (0..left)
            .map(|_| extend(PeerRole::Owner))
            .collect::<Result<_, _>>()
            .expect("permits");
        assert!(extend(PeerRole::Owner).is_err());
        drop((of_group, of_owner));
        assert!(extend(PeerRole::Group).is_ok());
    }
}
