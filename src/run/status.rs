//! Collects what `status` shows, and the status line for the parent supervisor.

use super::clock::ClockHandle;
use crate::act::dirs::state_dir::StateDir;
use crate::act::foreign::reported::{ReportedProcess, ReportedProcesses};
use crate::act::helper::Progress;
use crate::act::notify::parent::ParentSupervisor;
use crate::act::off_loop::off_loop;
use crate::act::preflight::ProgramLookup;
use crate::act::runtime::files_and_bytes;
use crate::act::runtime::status_board::{ProgramCheck, StatusBoard, program_of};
use crate::api::view::{self, ServiceInfo};
use crate::api::wire;
use crate::config::{self, Config};
use crate::decide::clock::Instant;
use crate::decide::event::ServiceId;
use crate::decide::fleet::Machine;
use crate::decide::snapshot::{Phase, Snapshot};
use crate::sys::identity;
use crate::sys::process::{self, Process};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// Open files counted for `status`; a larger number is shown as this one.
const OPEN_FILES_MAX: usize = 100_000;
/// Time for the disks to answer before `status` shows the results so far.
const REFRESH_WITHIN: Duration = Duration::from_millis(500);

/// What `status` shows besides the state machine's snapshots; clones share the services and warnings.
#[derive(Clone)]
pub(super) struct StatusSource {
    daemon: wire::Daemon,
    clock: ClockHandle,
    status_board: Rc<StatusBoard>,
    services: Rc<RefCell<Vec<ServiceEntry>>>,
    warnings: Rc<RefCell<BTreeMap<WarningTopic, String>>>,
    reported: ReportedProcesses,
    /// The figures of the main processes at the last refresh.
    figures: Rc<RefCell<HashMap<Process, ProcessFigures>>>,
}

/// What `status` shows of a main process.
#[derive(Clone, Copy, Debug)]
struct ProcessFigures {
    open_files: Option<u64>,
    memory_bytes: Option<u64>,
    cpu: Option<Duration>,
}

impl ProcessFigures {
    fn of(main: Process) -> Self {
        let count = process::open_file_count(main.pid, OPEN_FILES_MAX);
        let stat = process::stat(main.pid).ok();
        Self {
            open_files: count.ok().map(|count| count as u64),
            memory_bytes: process::memory_bytes(main.pid),
            cpu: stat.map(|stat| stat.cpu + stat.children_cpu),
        }
    }
}

/// A configured service.
struct ServiceEntry {
    info: ServiceInfo,
    /// Where its program is found, if it has no runtime.
    program: Option<ProgramLookup>,
}

/// What a warning about stayd itself is about; there is at most one warning per topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WarningTopic {
    /// The last reload of the configuration.
    Configuration,
    /// The state folder.
    StateDir,
    /// Instances that the next stayd could not adopt.
    UnprovableInstances,
}

impl StatusSource {
    /// For a stayd that starts now.
    pub(super) fn new(
        config: &Config,
        supervisor: ParentSupervisor,
        state: &StateDir,
        socket: &Path,
        clock: ClockHandle,
        reported: ReportedProcesses,
        status_board: Rc<StatusBoard>,
    ) -> Self {
        let daemon = wire::Daemon {
            name: config.name.clone(),
            pid: identity::pid(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: view::rfc3339(clock.wall_time(clock.now())),
            supervisor: supervisor.name().to_owned(),
            config: config.file.as_ref().map(|file| file.display().to_string()),
            state_dir: state.root().display().to_string(),
            socket: socket.display().to_string(),
            ..wire::Daemon::default()
        };
        let services = config.services.iter().map(entry).collect();
        Self {
            daemon,
            clock,
            status_board,
            services: Rc::new(RefCell::new(services)),
            warnings: Rc::default(),
            reported,
            figures: Rc::default(),
        }
    }

    /// This process was stayd before the in-place upgrade: since `started_at`, under another version.
    pub(super) fn continue_from(&mut self, started_at: &str, upgrade: &wire::Upgrade) {
        started_at.clone_into(&mut self.daemon.started_at);
        self.daemon.upgrade = Some(upgrade.clone());
    }

    /// When this process became stayd, and the number of its last in-place upgrade (0: none).
    pub(super) fn start_and_upgrades(&self) -> (&str, u32) {
        let number = self.daemon.upgrade.as_ref().map_or(0, |last| last.number);
        (&self.daemon.started_at, number)
    }

    /// Appends a service.
    pub(super) fn add(&self, service: &config::Service) {
        self.services.borrow_mut().push(entry(service));
    }

    /// Sets or, with `None`, removes the warning about `topic`. Returns whether that changed it.
    pub(super) fn warn(&self, topic: WarningTopic, warning: Option<&str>) -> bool {
        let mut warnings = self.warnings.borrow_mut();
        let before = match warning {
            Some(warning) => warnings.insert(topic, warning.to_owned()),
            None => warnings.remove(&topic),
        };
        before.as_deref() != warning
    }

    /// The whole status.
    pub(super) fn status(&self, machine: &Machine) -> wire::Status {
        let now = self.clock.now();
        let wall_time = |instant| self.clock.wall_time(instant);
        let entries = self.services.borrow();
        let services = entries.iter().enumerate().filter_map(|(index, entry)| {
            let snapshot = machine.snapshot(now, ServiceId(index))?;
            let mut info = entry.info.clone();
            let figures = self.figures.borrow();
            let figures = snapshot.main.and_then(|main| figures.get(&main));
            info.open_files = figures.and_then(|figures| figures.open_files);
            info.memory_bytes = figures.and_then(|figures| figures.memory_bytes);
            info.cpu = figures.and_then(|figures| figures.cpu);
            info.runtime = self.runtime(&info.name, &snapshot);
            info.progress = self.progress(&info.name, &snapshot);
            Some(view::service(&info, &snapshot, &wall_time))
        });
        wire::Status {
            schema: wire::SCHEMA,
            daemon: self.daemon(&entries),
            services: services.collect(),
            jobs: Vec::new(),
        }
    }

    fn daemon(&self, entries: &[ServiceEntry]) -> wire::Daemon {
        let names: Vec<&str> = entries
            .iter()
            .map(|entry| entry.info.name.as_str())
            .collect();
        let reported = self.reported.running(&names).into_iter();
        let (forgotten, orphans) = reported
            .map(unmanaged)
            .partition(|each| each.service.is_some());
        wire::Daemon {
            warnings: self.warnings.borrow().values().cloned().collect(),
            forgotten,
            orphans,
            ..self.daemon.clone()
        }
    }

    /// The runtime of a service; or its program, if the file was replaced since the start.
    fn runtime(&self, service: &str, snapshot: &Snapshot) -> Option<wire::Runtime> {
        if let Some(id) = &snapshot.runtime {
            return Some(wire::Runtime {
                fingerprint: Some(id.0.clone()),
                path: format!("{}/runtime/{}", self.daemon.state_dir, id.0),
                stale: self.status_board.is_stale(service),
            });
        }
        let path = self.status_board.replaced(service, snapshot.main?)?;
        Some(wire::Runtime {
            fingerprint: None,
            path,
            stale: true,
        })
    }

    /// How far the copy of a service's runtime is.
    fn progress(&self, service: &str, snapshot: &Snapshot) -> Option<String> {
        let copied = self.status_board.copy_progress(service)?;
        let is_copying = snapshot.phase == Phase::Materializing && copied != Progress::default();
        is_copying.then(|| {
            format!(
                "copying its runtime: {} so far",
                files_and_bytes(copied.files, copied.bytes)
            )
        })
    }

    /// Reads the figures of the main processes, and checks whether program files were replaced and whether sources differ from
    /// the running copies. It waits [`REFRESH_WITHIN`] at most; the status board keeps results that arrive later.
    pub(super) async fn refresh(&self, machine: &RefCell<Machine>) {
        let now = self.clock.now();
        let plain = |(index, entry): (usize, &ServiceEntry)| {
            let lookup = entry.program.clone()?;
            let snapshot = machine.borrow().snapshot(now, ServiceId(index))?;
            let main = snapshot.main.filter(|_| !snapshot.attached)?;
            Some(ProgramCheck {
                service: entry.info.name.clone(),
                main,
                lookup,
            })
        };
        let plain = self
            .services
            .borrow()
            .iter()
            .enumerate()
            .filter_map(plain)
            .collect();
        let programs = async {
            if let Some(check) = self.status_board.check_programs(now, plain) {
                let _ = check.await;
            }
        };
        let sources = self.status_board.check_sources(now);
        let mains: Vec<Process> = (0..self.services.borrow().len())
            .filter_map(|index| machine.borrow().snapshot(now, ServiceId(index))?.main)
            .collect();
        let all = async { tokio::join!(programs, sources, self.read_figures(mains)) };
        let _ = timeout(REFRESH_WITHIN, all).await;
    }

    /// Reads the figures of these processes. What is not read in time is not shown.
    async fn read_figures(&self, mains: Vec<Process>) {
        self.figures
            .borrow_mut()
            .retain(|main, _| mains.contains(main));
        let figures_of = |main| (main, ProcessFigures::of(main));
        let read = move || mains.into_iter().map(figures_of).collect();
        let reading = off_loop("figures", REFRESH_WITHIN, read);
        if let Ok(figures) = reading.await {
            self.figures.replace(figures);
        }
    }
}

fn unmanaged(reported: ReportedProcess) -> wire::UnmanagedProcess {
    let ReportedProcess {
        process,
        of,
        message,
    } = reported;
    let (service, life) = of.unzip();
    wire::UnmanagedProcess {
        service,
        pid: process.pid,
        life: life.map(|life| life.0),
        message,
    }
}

fn entry(service: &config::Service) -> ServiceEntry {
    let shown = |probe: &Option<config::Probe>| probe.as_ref().map(|probe| probe.shown.clone());
    ServiceEntry {
        info: ServiceInfo {
            name: service.name.clone(),
            port: service.port,
            liveness_target: shown(&service.probe),
            readiness_target: shown(&service.ready),
            ..ServiceInfo::default()
        },
        program: program_of(service, std::env::var("PATH").ok()),
    }
}

/// One line for the parent supervisor: how many services answer, and the state of the others.
pub(super) fn summary(machine: &Machine, config: &Config, now: Instant) -> String {
    let mut others = Vec::new();
    for (service, configured) in machine.services().iter().zip(&config.services) {
        let phase = service.phase();
        let answers =
            phase == Phase::Running || phase == Phase::Attached && service.is_healthy(now);
        if !answers {
            others.push(format!("{} {}", configured.name, phase.name()));
        }
    }
    let total = config.services.len();
    let answering = total - others.len();
    if others.is_empty() {
        format!("{answering} of {total} answering")
    } else {
        format!("{answering} of {total} answering; {}", others.join(", "))
    }
}
