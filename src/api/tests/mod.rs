//! Runs the server on a real socket, with well-behaved and with misbehaving clients.

mod eviction;
mod malformed_requests;
mod misbehaving_clients;
mod openapi;
mod requests;
mod socket_file;

use super::backend::{
    Accepted, ApiError, Backend, EventQuery, Journal, LocalFuture, Logs, PendingRequest,
    ServiceCommand, Since,
};
use super::client::Client;
use super::connections::Connections;
use super::latest_requests::LatestRequests;
use super::listen::{ControlSocket, bind};
use super::routes::AccessControl;
use super::{server, wire};
use crate::decide::event::Request;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::task::LocalSet;
use tokio::time::timeout;

const TEST_WITHIN: Duration = Duration::from_secs(60);

/// The server with a backend that has no state machine: it accepts every command and changes the state at once.
pub(super) struct TestServer {
    directory: tempfile::TempDir,
    _socket: ControlSocket,
    pub(super) journal: Rc<MemoryJournal>,
    pub(super) state: Rc<RefCell<wire::Service>>,
    /// The state that `start` and `restart` lead to.
    pub(super) state_after_start: Rc<Cell<&'static str>>,
    /// The commands that arrived.
    pub(super) commands: Rc<RefCell<Vec<ServiceCommand>>>,
}

/// A journal in memory.
pub(super) struct MemoryJournal {
    events: RefCell<Vec<wire::Event>>,
    new_events: broadcast::Sender<Arc<wire::Event>>,
}

impl MemoryJournal {
    pub(super) fn record(&self, kind: &str, service: &str) {
        let id = self.events.borrow().len() as u64 + 1;
        let event = wire::Event {
            id,
            kind: kind.to_owned(),
            service: Some(service.to_owned()),
            message: format!("{service} was {kind}"),
            ..wire::Event::default()
        };
        self.events.borrow_mut().push(event.clone());
        let _no_subscriber = self.new_events.send(Arc::new(event));
    }
}

impl Journal for MemoryJournal {
    fn events(&self, query: EventQuery) -> LocalFuture<'_, Result<Vec<wire::Event>, ApiError>> {
        let after = if let Since::Id(id) = query.since {
            id
        } else {
            0
        };
        let all = self.events.borrow();
        let matching = all.iter().filter(|event| {
            let about = query.service.is_none() || query.service == event.service;
            about && event.id > after && (!query.decisions_only || event.kind == "killed")
        });
        let matching: Vec<_> = matching.cloned().collect();
        let newest = matching.len().saturating_sub(query.limit);
        Box::pin(async move { Ok(matching[newest..].to_vec()) })
    }

    fn incidents(&self, limit: usize) -> LocalFuture<'_, Result<Vec<wire::Incident>, ApiError>> {
        let query = EventQuery {
            decisions_only: true,
            limit,
            ..EventQuery::default()
        };
        Box::pin(async move {
            let events = self.events(query).await?;
            Ok(events
                .into_iter()
                .map(|event| wire::Incident {
                    event,
                    evidence: None,
                })
                .collect())
        })
    }

    fn incident(&self, id: u64) -> LocalFuture<'_, Result<Option<wire::Incident>, ApiError>> {
        let found = self
            .events
            .borrow()
            .iter()
            .find(|event| event.id == id)
            .cloned();
        let evidence = Some("4 threads in futex_wait".to_owned());
        Box::pin(async move { Ok(found.map(|event| wire::Incident { event, evidence })) })
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<wire::Event>> {
        self.new_events.subscribe()
    }
}

impl Logs for MemoryJournal {
    fn tail(&self, service: &str, lines: usize) -> LocalFuture<'_, Result<Vec<String>, ApiError>> {
        let line = format!("a line of {service}");
        Box::pin(async move { Ok(vec![line; lines]) })
    }
}

impl TestServer {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.path())
    }

    /// Starts a server with the service `db`, which runs as instance 1.
    async fn start() -> Self {
        let owner_uid = nix::unistd::geteuid().as_raw();
        let access = AccessControl::new(owner_uid, None).expect("no group");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (listener, socket) = bind(&directory.path().join("control.sock"), None)
            .await
            .expect("a socket");
        let db = wire::Service {
            name: "db".into(),
            state: "running".into(),
            wanted: "up".into(),
            pid: Some(7),
            life: 1,
            healthy: true,
            ..Default::default()
        };
        let state = Rc::new(RefCell::new(db));
        let (requests, pending) = mpsc::channel(8);
        let journal = Rc::new(MemoryJournal {
            events: RefCell::default(),
            new_events: broadcast::channel(16).0,
        });
        let server = Self {
            directory,
            _socket: socket,
            journal,
            state,
            state_after_start: Rc::new(Cell::new("running")),
            commands: Rc::default(),
        };
        let shown = Rc::clone(&server.state);
        let backend = Backend {
            status: Rc::new(move || wire::Status {
                schema: wire::SCHEMA,
                services: vec![shown.borrow().clone()],
                ..Default::default()
            }),
            refresh: Rc::new(|| Box::pin(async {})),
            requests,
            latest_requests: LatestRequests::default(),
            upgrades: mpsc::channel(1).0,
            journal: Rc::clone(&server.journal) as Rc<dyn Journal>,
            logs: Rc::clone(&server.journal) as Rc<dyn Logs>,
        };
        tokio::task::spawn_local(server.carry_out(pending));
        tokio::task::spawn_local(async move {
            server::serve(&listener, backend, access, Connections::default()).await;
        });
        server
    }

    fn carry_out(
        &self,
        mut pending: mpsc::Receiver<PendingRequest>,
    ) -> impl Future<Output = ()> + use<> {
        let (state, journal) = (Rc::clone(&self.state), Rc::clone(&self.journal));
        let (state_after_start, commands) = (
            Rc::clone(&self.state_after_start),
            Rc::clone(&self.commands),
        );
        async move {
            while let Some(pending) = pending.recv().await {
                commands.borrow_mut().push(pending.command.clone());
                // The client may have hung up.
                let _hung_up = pending.reply.send(Ok(Accepted::default()));
                tokio::task::yield_now().await;
                apply(
                    &pending.command,
                    &mut state.borrow_mut(),
                    state_after_start.get(),
                );
                journal.record("started", &pending.service);
            }
        }
    }
}

fn apply(command: &ServiceCommand, service: &mut wire::Service, state_after_start: &str) {
    match command {
        ServiceCommand::Request(Request::Stop) => service.state = "stopped".to_owned(),
        ServiceCommand::Request(Request::Start | Request::Restart) => {
            service.life += 1;
            service.state = state_after_start.to_owned();
            service.reason = format!("it is {state_after_start}");
        }
        ServiceCommand::Request(Request::Hold { .. } | Request::Release)
        | ServiceCommand::Reload => {}
    }
}

/// Runs `test` with a server whose owner is the user that runs the tests.
pub(super) fn with_server<F: Future<Output = ()>>(test: impl FnOnce(Rc<TestServer>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let work = async {
        let server = Rc::new(TestServer::start().await);
        timeout(TEST_WITHIN, test(server))
            .await
            .expect("the test ends in time");
    };
    LocalSet::new().block_on(&runtime, work);
}
