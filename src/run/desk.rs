//! What the control socket sees of the loop.

use super::clock::Origin;
use super::daemon::Parts;
use super::journal::StoreJournal;
use crate::act::dirs::state_dir::StateDir;
use crate::act::foreign::reported::{ReportedProcess, ReportedProcesses};
use crate::act::notify::parent::ParentSupervisor;
use crate::act::output;
use crate::act::preflight::ProgramLookup;
use crate::act::runtime::status_board::{StatusBoard, program_of};
use crate::api::desk::{Desk, Kind, Local, Logs, Petition, Refusal, UpgradePetition};
use crate::api::listen::ControlSocket;
use crate::api::lobby::Lobby;
use crate::api::routes::Gate;
use crate::api::view::{self, ServiceInfo};
use crate::api::{listen, server, wire};
use crate::config::Config;
use crate::decide::event::ServiceId;
use crate::decide::fleet::Machine;
use crate::sys::{identity, process};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Wishes that may wait for the loop.
const PETITIONS_MAX: usize = 64;
/// The same for new versions of stayd.
const UPGRADES_MAX: usize = 4;
/// A socket that was left is served after this time, whatever is not known again by then.
const CLOSED_MAX: Duration = Duration::from_secs(2);
/// Descriptors counted for `status`; more are shown as this many.
const OPEN_FILES_MAX: usize = 100_000;

/// What `status` shows of this stayd besides its machine; clones share it.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) daemon: wire::Daemon,
    pub(super) origin: Origin,
    pub(super) status_board: Rc<StatusBoard>,
    pub(super) services: Rc<RefCell<Vec<Known>>>,
    warnings: Rc<RefCell<BTreeMap<About, String>>>,
    reported: ReportedProcesses,
}

/// A service of the configuration.
pub(super) struct Known {
    pub(super) info: ServiceInfo,
    /// What it is started from, where it has no runtime.
    pub(super) program: Option<ProgramLookup>,
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
        supervisor: ParentSupervisor,
        state: &StateDir,
        socket: &Path,
        origin: Origin,
        reported: ReportedProcesses,
        status_board: Rc<StatusBoard>,
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
        let services = config.services.iter().map(known).collect();
        Self {
            daemon,
            origin,
            status_board,
            services: Rc::new(RefCell::new(services)),
            warnings: Rc::default(),
            reported,
        }
    }

    /// The same process under another version.
    pub(super) fn has_been(&mut self, since: &str, upgrade: &wire::Upgrade) {
        since.clone_into(&mut self.daemon.started_at);
        self.daemon.upgrade = Some(upgrade.clone());
    }

    /// Since when this process is stayd, and how often it has become another version.
    pub(super) fn career(&self) -> (&str, u32) {
        let number = self.daemon.upgrade.as_ref().map_or(0, |last| last.number);
        (&self.daemon.started_at, number)
    }

    /// One more service, behind the others.
    pub(super) fn add(&self, service: &crate::config::Service) {
        self.services.borrow_mut().push(known(service));
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

    fn daemon(&self, services: &[Known]) -> wire::Daemon {
        let names: Vec<&str> = services
            .iter()
            .map(|service| service.info.name.as_str())
            .collect();
        let reported = self.reported.running(&names).into_iter().map(left_alone);
        let (forgotten, orphans) = reported.partition(|each| each.service.is_some());
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
            let mut info = known.info.clone();
            if let Some(main) = snapshot.main {
                info.open_files = process::open_files(main.pid, OPEN_FILES_MAX)
                    .ok()
                    .map(|files| files.len() as u64);
                info.memory_bytes = process::memory_bytes(main.pid);
            }
            info.runtime = self.runtime(&info.name, &snapshot);
            info.at_work = self.at_work(&info.name, &snapshot);
            Some(view::service(&info, &snapshot, &stamp))
        });
        wire::Status {
            schema: wire::SCHEMA,
            daemon: self.daemon(&known),
            services: services.collect(),
            jobs: Vec::new(),
        }
    }
}

fn left_alone(reported: ReportedProcess) -> wire::LeftAlone {
    let ReportedProcess {
        process,
        of,
        message,
    } = reported;
    let (service, life) = of.unzip();
    wire::LeftAlone {
        service,
        pid: process.pid,
        life: life.map(|life| life.0),
        message,
    }
}

fn known(service: &crate::config::Service) -> Known {
    Known {
        info: info(service),
        program: program_of(service, std::env::var("PATH").ok()),
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
        at_work: None,
        open_files: None,
        memory_bytes: None,
    }
}

/// The open socket, and what is asked for over it.
pub(super) struct Counter {
    pub(super) petitions: mpsc::Receiver<Petition>,
    pub(super) upgrades: mpsc::Receiver<UpgradePetition>,
    pub(super) lobby: Lobby,
    listener: Rc<UnixListener>,
    /// Its file goes with us.
    socket: Option<ControlSocket>,
    group: Option<u32>,
    server: JoinHandle<()>,
}

/// A socket that listens already: the version before has left it.
#[derive(Debug)]
pub(super) struct LeftSocket {
    pub(super) listener: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) group: Option<u32>,
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
        self.socket = None;
    }

    /// The listening socket once more, for whoever comes after us.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Leaves the socket's file to whoever has the copy: where it is, and whose group's.
    pub(super) fn leave(mut self) -> (PathBuf, Option<u32>) {
        let path = self.socket.take().map(ControlSocket::leave);
        (path.unwrap_or_default(), self.group)
    }
}

/// Opens the socket and serves it on the loop's own thread.
pub(super) async fn open(parts: &Parts, machine: Rc<RefCell<Machine>>) -> io::Result<Counter> {
    let gate = gate(&parts.config)?;
    let (listener, socket) = listen::bind(&parts.options.control_socket, gate.group()).await?;
    Ok(serve(parts, machine, gate, listener, socket, None))
}

/// Goes on with a socket that was left, if it is where it belongs. `opened`: nobody is served before everything is
/// known again, or for so long at most.
pub(super) async fn resume(
    parts: &Parts,
    machine: Rc<RefCell<Machine>>,
    left: LeftSocket,
    opened: oneshot::Receiver<()>,
) -> io::Result<Counter> {
    let gate = gate(&parts.config)?;
    let socket = ControlSocket::resume(left.path.clone());
    if left.path != parts.options.control_socket || left.group != gate.group() {
        drop((left, socket));
        return open(parts, machine).await;
    }
    let listener = UnixListener::from_std(left.listener.into())?;
    Ok(serve(parts, machine, gate, listener, socket, Some(opened)))
}

fn gate(config: &Config) -> io::Result<Gate> {
    Gate::new(identity::euid(), config.control_group.as_deref())
}

fn serve(
    parts: &Parts,
    machine: Rc<RefCell<Machine>>,
    gate: Gate,
    listener: UnixListener,
    socket: ControlSocket,
    opened: Option<oneshot::Receiver<()>>,
) -> Counter {
    let (requests, petitions) = mpsc::channel(PETITIONS_MAX);
    let (asked, upgrades) = mpsc::channel(UPGRADES_MAX);
    let identity = parts.identity.clone();
    let (looker, seen) = (identity.clone(), Rc::clone(&machine));
    let desk = Desk {
        status: Rc::new(move || identity.status(&machine.borrow())),
        look: Rc::new(move || {
            let (looker, seen) = (looker.clone(), Rc::clone(&seen));
            Box::pin(async move { looker.look(&seen).await })
        }),
        requests,
        upgrades: asked,
        journal: Rc::new(StoreJournal::new(parts.journal.clone())),
        logs: Rc::new(ServiceLogs(parts.home.state().logs())),
    };
    let (listener, lobby) = (Rc::new(listener), Lobby::default());
    let (served, guests) = (Rc::clone(&listener), lobby.clone());
    let server = tokio::task::spawn_local(async move {
        if let Some(opened) = opened {
            // Late or never: what is known then has to do.
            let _ = timeout(CLOSED_MAX, opened).await;
        }
        server::serve(&served, desk, gate, guests).await;
    });
    Counter {
        petitions,
        upgrades,
        lobby,
        listener,
        socket: Some(socket),
        group: gate.group(),
        server,
    }
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
