//! The server on a real socket, with peers that behave and peers that do not.

mod bad_peers;
mod crowds;
mod good_peers;
mod listening;
mod nonsense;
mod reference;

use super::client::Client;
use super::desk::{Ask, Desk, Journal, Local, Logs, Petition, Query, Refusal, Since, Taken};
use super::listen::{ControlSocket, bind};
use super::lobby::Lobby;
use super::routes::Gate;
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

/// A stayd without a machine behind it: it takes wishes and makes them come true at once, or refuses to.
pub(super) struct House {
    directory: tempfile::TempDir,
    _socket: ControlSocket,
    pub(super) book: Rc<Book>,
    pub(super) state: Rc<RefCell<wire::Service>>,
    /// The state that a wish to be up leads to.
    pub(super) rises_to: Rc<Cell<&'static str>>,
    pub(super) asked: Rc<RefCell<Vec<Ask>>>,
}

/// A journal in memory.
pub(super) struct Book {
    events: RefCell<Vec<wire::Event>>,
    news: broadcast::Sender<Arc<wire::Event>>,
}

impl Book {
    pub(super) fn write(&self, kind: &str, service: &str) {
        let id = self.events.borrow().len() as u64 + 1;
        let event = wire::Event {
            id,
            kind: kind.to_owned(),
            service: Some(service.to_owned()),
            message: format!("{service} was {kind}"),
            ..wire::Event::default()
        };
        self.events.borrow_mut().push(event.clone());
        let _nobody_listens = self.news.send(Arc::new(event));
    }
}

impl Journal for Book {
    fn events(&self, query: Query) -> Local<'_, Result<Vec<wire::Event>, Refusal>> {
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

    fn incidents(&self, limit: usize) -> Local<'_, Result<Vec<wire::Incident>, Refusal>> {
        let query = Query {
            decisions_only: true,
            limit,
            ..Query::default()
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

    fn incident(&self, id: u64) -> Local<'_, Result<Option<wire::Incident>, Refusal>> {
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
        self.news.subscribe()
    }
}

impl Logs for Book {
    fn tail(&self, service: &str, lines: usize) -> Local<'_, Result<Vec<String>, Refusal>> {
        let line = format!("{service} speaks");
        Box::pin(async move { Ok(vec![line; lines]) })
    }
}

impl House {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.path())
    }

    /// Opens a house whose service `db` runs its first life.
    async fn open(gate: Gate) -> Self {
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
        let (requests, petitions) = mpsc::channel(8);
        let book = Rc::new(Book {
            events: RefCell::default(),
            news: broadcast::channel(16).0,
        });
        let house = Self {
            directory,
            _socket: socket,
            book,
            state,
            rises_to: Rc::new(Cell::new("running")),
            asked: Rc::default(),
        };
        let shown = Rc::clone(&house.state);
        let desk = Desk {
            status: Rc::new(move || wire::Status {
                schema: wire::SCHEMA,
                services: vec![shown.borrow().clone()],
                ..Default::default()
            }),
            look: Rc::new(|| Box::pin(async {})),
            requests,
            upgrades: mpsc::channel(1).0,
            journal: Rc::clone(&house.book) as Rc<dyn Journal>,
            logs: Rc::clone(&house.book) as Rc<dyn Logs>,
        };
        tokio::task::spawn_local(house.grant(petitions));
        tokio::task::spawn_local(async move {
            server::serve(&listener, desk, gate, Lobby::default()).await;
        });
        house
    }

    fn grant(&self, mut petitions: mpsc::Receiver<Petition>) -> impl Future<Output = ()> + use<> {
        let (state, book) = (Rc::clone(&self.state), Rc::clone(&self.book));
        let (rises_to, asked) = (Rc::clone(&self.rises_to), Rc::clone(&self.asked));
        async move {
            while let Some(petition) = petitions.recv().await {
                asked.borrow_mut().push(petition.ask.clone());
                // Nobody may be listening any more.
                let _gone = petition.reply.send(Ok(Taken::default()));
                tokio::task::yield_now().await;
                come_true(&petition.ask, &mut state.borrow_mut(), rises_to.get());
                book.write("started", &petition.service);
            }
        }
    }
}

fn come_true(ask: &Ask, service: &mut wire::Service, rises_to: &str) {
    match ask {
        Ask::Request(Request::Stop) => service.state = "stopped".to_owned(),
        Ask::Request(Request::Start | Request::Restart) => {
            service.life += 1;
            service.state = rises_to.to_owned();
            service.reason = format!("it is {rises_to}");
        }
        Ask::Request(Request::Hold { .. } | Request::Release) | Ask::Reload => {}
    }
}

/// Runs `test` in a house whose owner is the user who runs the tests.
pub(super) fn in_a_house<F: Future<Output = ()>>(test: impl FnOnce(Rc<House>) -> F) {
    let owner_uid = nix::unistd::geteuid().as_raw();
    in_a_house_with(Gate::new(owner_uid, None).expect("no group"), test);
}

pub(super) fn in_a_house_with<F: Future<Output = ()>>(
    gate: Gate,
    test: impl FnOnce(Rc<House>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let work = async {
        let house = Rc::new(House::open(gate).await);
        timeout(TEST_WITHIN, test(house))
            .await
            .expect("the test ends in time");
    };
    LocalSet::new().block_on(&runtime, work);
}
