//! What the control socket sees of the loop.

use super::clock::Origin;
use super::daemon::Parts;
use super::journal::StoreJournal;
use crate::act::bystanders::{Bystander, Bystanders};
use crate::act::output;
use crate::act::state_dir::StateDir;
use crate::act::supervisor::Supervisor;
use crate::api::desk::{Desk, Kind, Local, Logs, Petition, Refusal};
use crate::api::routes::Gate;
use crate::api::view::{self, ServiceInfo};
use crate::api::{listen, server, wire};
use crate::config::Config;
use crate::decide::event::ServiceId;
use crate::decide::fleet::Machine;
use crate::sys::{identity, process};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Wishes that may wait for the loop.
const PETITIONS_MAX: usize = 64;
/// Descriptors counted for `status`; more are shown as this many.
const OPEN_FILES_MAX: usize = 100_000;

/// What `status` shows of this stayd besides its machine; clones share it.
#[derive(Clone)]
pub(super) struct Identity {
    daemon: wire::Daemon,
    origin: Origin,
    stale: Rc<RefCell<BTreeSet<String>>>,
    services: Rc<RefCell<Vec<ServiceInfo>>>,
    warnings: Rc<RefCell<BTreeMap<About, String>>>,
    bystanders: Bystanders,
}

/// What a warning of ours is about; there is one of each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// The configuration, read again.
    Configuration,
    /// The state folder.
    State,
}

impl Identity {
    /// Collects it.
    pub(super) fn new(
        config: &Config,
        supervisor: Supervisor,
        state: &StateDir,
        socket: &Path,
        origin: Origin,
        bystanders: Bystanders,
        stale: Rc<RefCell<BTreeSet<String>>>,
    ) -> Self {
        let daemon = wire::Daemon {
            name: config.name.clone(),
            pid: identity::pid(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: view::rfc3339(origin.stamp(origin.now())),
            supervisor: supervisor.name().to_owned(),
            config: config.file.as_ref().map(|file| file.display().to_string()),
            state_dir: state.root().display().to_string(),
            socket: socket.display().to_string(),
            ..wire::Daemon::default()
        };
        let services = config.services.iter().map(info).collect();
        Self {
            daemon,
            origin,
            stale,
            services: Rc::new(RefCell::new(services)),
            warnings: Rc::default(),
            bystanders,
        }
    }

    /// One more service, behind the others.
    pub(super) fn add(&self, service: &crate::config::Service) {
        self.services.borrow_mut().push(info(service));
    }

    /// What `status` says about this from now on (none: nothing), and whether that is news.
    pub(super) fn warn(&self, about: About, warning: Option<&str>) -> bool {
        let mut warnings = self.warnings.borrow_mut();
        let before = match warning {
            Some(warning) => warnings.insert(about, warning.to_owned()),
            None => warnings.remove(&about),
        };
        before.as_deref() != warning
    }

    fn daemon(&self, services: &[ServiceInfo]) -> wire::Daemon {
        let names: Vec<&str> = services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        let bystanders = self.bystanders.living(&names).into_iter().map(left_alone);
        let (forgotten, orphans) = bystanders.partition(|each| each.service.is_some());
        wire::Daemon {
            warnings: self.warnings.borrow().values().cloned().collect(),
            forgotten,
            orphans,
            ..self.daemon.clone()
        }
    }

    fn status(&self, machine: &Machine) -> wire::Status {
        let now = self.origin.now();
        let stamp = |moment| self.origin.stamp(moment);
        let known = self.services.borrow();
        let services = known.iter().enumerate().filter_map(|(index, known)| {
            let snapshot = machine.snapshot(now, ServiceId(index))?;
            let mut known = known.clone();
            if let Some(main) = snapshot.main {
                known.open_files = process::open_files(main.pid, OPEN_FILES_MAX)
                    .ok()
                    .map(|files| files.len() as u64);
                known.memory_bytes = process::memory_bytes(main.pid);
            }
            known.runtime = snapshot.runtime.as_ref().map(|id| wire::Runtime {
                fingerprint: id.0.clone(),
                path: format!("{}/runtime/{}", self.daemon.state_dir, id.0),
                stale: self.stale.borrow().contains(&known.name),
            });
            Some(view::service(&known, &snapshot, &stamp))
        });
        wire::Status {
            schema: wire::SCHEMA,
            daemon: self.daemon(&known),
            services: services.collect(),
            jobs: Vec::new(),
        }
    }
}

fn left_alone(bystander: Bystander) -> wire::LeftAlone {
    let Bystander {
        process,
        of,
        message,
    } = bystander;
    let (service, life) = of.unzip();
    wire::LeftAlone {
        service,
        pid: process.pid,
        life: life.map(|life| life.0),
        message,
    }
}

fn info(service: &crate::config::Service) -> ServiceInfo {
    let shown =
        |probe: &Option<crate::config::Probe>| probe.as_ref().map(|probe| probe.shown.clone());
    ServiceInfo {
        name: service.name.clone(),
        port: service.port,
        liveness_target: shown(&service.probe),
        readiness_target: shown(&service.ready),
        runtime: None,
        open_files: None,
        memory_bytes: None,
    }
}

/// The open socket, and what is asked for over it.
pub(super) struct Counter {
    pub(super) petitions: mpsc::Receiver<Petition>,
    server: JoinHandle<()>,
}

impl Counter {
    /// Nobody serves it.
    pub(super) fn is_closed(&self) -> bool {
        self.server.is_finished()
    }

    /// Closes the socket and removes its file.
    pub(super) async fn close(&mut self) {
        if !self.is_closed() {
            self.server.abort();
            // It ends by being aborted.
            let _aborted = (&mut self.server).await;
        }
    }
}

/// Opens the socket and serves it on the loop's own thread.
pub(super) async fn open(parts: &Parts, machine: Rc<RefCell<Machine>>) -> io::Result<Counter> {
    let (wishes, petitions) = mpsc::channel(PETITIONS_MAX);
    let identity = parts.identity.clone();
    let desk = Desk {
        status: Rc::new(move || identity.status(&machine.borrow())),
        wishes,
        journal: Rc::new(StoreJournal::new(parts.store.clone())),
        logs: Rc::new(ServiceLogs(parts.home.state().logs())),
    };
    let group = parts.config.control_group.as_deref();
    let gate = Gate::new(identity::euid(), group)?;
    let (listener, socket) = listen::bind(&parts.options.control_socket, gate.group()).await?;
    let server = tokio::task::spawn_local(async move {
        // Kept for as long as it is served: dropping it removes the file.
        let _socket = socket;
        server::serve(listener, desk, gate).await;
    });
    Ok(Counter { petitions, server })
}

/// Reads the captured files.
struct ServiceLogs(PathBuf);

impl Logs for ServiceLogs {
    fn tail(&self, service: &str, lines: usize) -> Local<'_, Result<Vec<String>, Refusal>> {
        let dir = self.0.join(service);
        Box::pin(async move {
            output::tail(&dir, lines).map_err(|error| {
                Refusal::new(
                    Kind::Unavailable,
                    format!("cannot read {}: {error}", dir.display()),
                )
            })
        })
    }
}
