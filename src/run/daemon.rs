//! The event loop of the daemon.

use super::config_reader::{ConfigReader, config_read};
use super::control::{self, ControlServer, InheritedSocket};
use super::deadline::DeadlineTimer;
use super::parts::Parts;
use super::signals::ReceivedSignals;
use super::status::summary;
use super::upgrade::{UpgradeAttempt, progress};
use super::{ExitReason, log_send_error};
use crate::act::notify::parent::ParentSupervisor;
use crate::act::recovery::orphaned_services::orphaned_services;
use crate::config;
use crate::decide::action::{self, Action};
use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Event, ServiceEvent, ServiceId};
use crate::decide::fleet::Machine;
use crate::decide::handover::StateHandover;
use crate::decide::state;
use crate::sys::folder_watch::FolderWatch;
use crate::sys::{process, reaper};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use tokio::sync::oneshot;

/// If the loop is later than this at its own deadline, the probe attempts in progress give no verdict.
const LATE_MIN: Duration = Duration::from_millis(500);
/// Children that are reaped before the executor handles them: a storm of exits is handled in batches of this size.
const REAP_MAX: usize = 256;
/// Time to write the last output to disk. What is left stays in the FIFOs, for the next stayd.
pub(super) const OUTPUT_CLOSE_MAX: Duration = Duration::from_secs(2);
/// The parent supervisor is asked for this much more time than the longest stop grace.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// The loop and everything that it owns.
pub(super) struct Daemon {
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) parts: Parts,
    pub(super) control: ControlServer,
    /// Set while the configuration is being read.
    pub(super) config_reader: Option<ConfigReader>,
    /// A shutdown has begun.
    pub(super) shutting_down: bool,
    runs_in_terminal: bool,
    /// READY has to be sent.
    announce_ready: bool,
    /// The status line that the parent supervisor has.
    sent_status: String,
    finished: bool,
    /// Set while an in-place upgrade is in progress.
    pub(super) upgrade: Option<UpgradeAttempt>,
    /// The state that the previous version handed over, for services that are not configured yet.
    inherited: BTreeMap<String, StateHandover>,
    /// Tells when files of stayd are deleted.
    pub(super) watch: FolderWatch,
    /// Dropped when every recovery scan is complete; the server of an inherited control socket waits for it.
    recovery: Option<oneshot::Sender<()>>,
}

/// What the loop takes over from the previous version.
pub(super) struct InheritedLoopState {
    pub(super) socket: InheritedSocket,
    pub(super) services: BTreeMap<String, StateHandover>,
}

/// Why the loop ended.
pub(super) enum LoopEnd {
    Exit(ExitReason),
    /// A new version can take over: no work is in progress.
    ReadyToUpgrade,
}

impl Daemon {
    /// Adds every service to the state machine, and opens the control socket or continues with the inherited one.
    pub(super) async fn new(
        parts: Parts,
        supervisor: ParentSupervisor,
        inherited: Option<InheritedLoopState>,
    ) -> io::Result<Self> {
        let mut machine = Machine::default();
        for service in &parts.config.services {
            machine.add(service.policy, description_of(service));
        }
        let machine = Rc::new(RefCell::new(machine));
        let mut services = BTreeMap::new();
        let mut recovery = None;
        let control = match inherited {
            None => control::open(&parts, Rc::clone(&machine)).await?,
            Some(inherited) => {
                let (complete, recovered) = oneshot::channel();
                (recovery, services) = (Some(complete), inherited.services);
                control::resume(&parts, Rc::clone(&machine), inherited.socket, recovered).await?
            }
        };
        Ok(Self {
            machine,
            parts,
            control,
            config_reader: None,
            shutting_down: false,
            runs_in_terminal: supervisor == ParentSupervisor::Terminal,
            announce_ready: false,
            sent_status: String::new(),
            finished: false,
            upgrade: None,
            inherited: services,
            watch: FolderWatch::new(),
            recovery,
        })
    }

    /// Runs until every service is stopped, or until a new version can take over.
    pub(super) async fn run(&mut self) -> LoopEnd {
        self.watch_own_folders();
        self.configure_all();
        // During an in-place upgrade, the SIGCHLD of an exited child may have gone to the previous version.
        self.reap();
        let ping_every = self.parts.notifications.ping_every();
        let mut next_ping = Instant::START;
        let timer = DeadlineTimer::new();
        while !self.finished {
            self.parts.stall.progress();
            let due = self.machine.borrow().deadline();
            let now = self.parts.clock.handle().now();
            self.check_own_files(now).await;
            let requested_check = self.parts.lock.requested_check(now);
            if self.is_ready_to_upgrade(now) {
                return LoopEnd::ReadyToUpgrade;
            }
            tokio::select! {
                biased;
                received = self.parts.signals.receive() => match received {
                    Ok(received) => self.on_signals(received),
                    Err(error) => {
                        tracing::error!("cannot receive signals: {error}; stayd exits");
                        return LoopEnd::Exit(ExitReason::Bug);
                    }
                },
                Some(reaped) = self.parts.reaped.recv() => self.parts.executor.reaped([reaped]),
                Some(event) = self.parts.events.recv() => self.step(event),
                Some(request) = self.control.requests.recv() => self.on_request(request),
                Some(upgrade) = self.control.upgrades.recv() => self.on_upgrade(upgrade),
                progress = progress(&mut self.upgrade) => self.on_progress(progress),
                read = config_read(&mut self.config_reader) => self.on_config_read(read),
                () = timer.wait(due, now) => self.on_deadline(due),
                () = self.watch.deleted() => self.parts.lock.request_check(self.parts.clock.handle().now()),
                () = tokio::time::sleep(requested_check.unwrap_or_default()), if requested_check.is_some() => {}
                () = tokio::time::sleep(next_ping.since(now)), if ping_every.is_some() => {
                    // The loop sends it itself. If the loop hangs, the pings stop, and the parent supervisor ends stayd.
                    log_send_error(self.parts.notifications.watchdog());
                    next_ping = self.parts.clock.handle().now().after(ping_every.unwrap_or_default());
                }
            }
        }
        self.close().await;
        LoopEnd::Exit(ExitReason::Stopped)
    }

    /// Closes the services' sockets, the captured output and the journal.
    async fn close(&self) {
        self.parts.executor.close_sockets().await;
        let shared = self.parts.executor.shared();
        if !shared.output.close(OUTPUT_CLOSE_MAX) {
            tracing::warn!(
                "cannot write the last output to disk in time; it stays in the FIFOs of the services"
            );
        }
        self.parts.journal.close();
    }

    fn configure_all(&mut self) {
        for index in 0..self.parts.config.services.len() {
            self.configure(ServiceId(index));
        }
        let configured = self.parts.config.services.iter();
        let configured: Vec<&str> = configured.map(|service| service.name.as_str()).collect();
        let shared = self.parts.executor.shared();
        for orphaned in orphaned_services(shared, &configured) {
            let (journal, kind) = (&shared.journal, action::RecordKind::OrphanedService);
            shared.reported.report(journal, kind, orphaned);
        }
        if self.parts.config.services.is_empty() {
            tracing::warn!(
                "the configuration has no service; stayd has nothing to do until one is added"
            );
        }
    }

    /// Passes a configured service to the state machine, with what the journal or the previous version has stored about it.
    pub(super) fn configure(&mut self, id: ServiceId) {
        let Some(service) = self.parts.config.services.get(id.0) else {
            return;
        };
        let mut past = self.parts.past.of(&service.name, &service.proof_key());
        past.handover = self.inherited.remove(&service.name).map(Box::new);
        self.step(Event::Service(id, ServiceEvent::Configured(past)));
    }

    /// Takes one event through the state machine, and executes the actions.
    pub(super) fn step(&mut self, event: Event) {
        let reading = self.parts.clock.read();
        if let Some(slept) = reading.slept {
            tracing::info!("the machine slept for {} s", slept.as_secs());
            let actions = self
                .machine
                .borrow_mut()
                .step(reading.now, Event::Slept(slept));
            self.execute(actions);
        }
        let actions = self.machine.borrow_mut().step(reading.now, event);
        self.execute(actions);
        self.notify_supervisor(reading.now);
        self.check_recovery();
    }

    /// Lets the server of an inherited control socket start once every recovery scan is complete.
    fn check_recovery(&mut self) {
        let is_scanning = |service: &state::Service| !service.is_scanned();
        if self.recovery.is_some() && !self.machine.borrow().services().iter().any(is_scanning) {
            self.recovery = None;
        }
    }

    fn execute(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Service(id, action) => self.parts.executor.execute(id, action),
                Action::AnnounceReady => self.announce_ready = true,
                Action::Finish => self.finish(),
            }
        }
    }

    fn finish(&mut self) {
        let shared = self.parts.executor.shared();
        shared.claims.release_ended();
        self.finished = true;
    }

    fn on_deadline(&mut self, due: Instant) {
        let late = self.parts.clock.handle().now().since(due);
        if late >= LATE_MIN {
            let cause = cause_of_lateness();
            tracing::warn!(
                "stayd itself was {} ms late: {cause}; probe attempts in progress give no verdict",
                late.as_millis()
            );
            self.step(Event::Late(cause));
        }
        self.step(Event::Tick);
    }

    fn on_signals(&mut self, received: ReceivedSignals) {
        if received.child {
            self.reap();
        }
        if received.hangup && !self.runs_in_terminal {
            self.start_reload();
        }
        if received.stop || received.hangup && self.runs_in_terminal {
            self.shut_down();
        }
    }

    fn reap(&mut self) {
        loop {
            let reaped = reaper::reap_exited(REAP_MAX);
            let all = reaped.len() < REAP_MAX;
            self.parts.executor.reaped(reaped);
            if all {
                break;
            }
        }
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        let services = self.parts.config.services.iter();
        let grace = services.map(|service| service.policy.stop_grace).max();
        let time = grace.unwrap_or_default() + STOP_SLACK;
        log_send_error(self.parts.notifications.stopping());
        log_send_error(self.parts.notifications.extend_timeout(time));
        self.step(Event::Shutdown);
    }

    /// Sends READY once, and STATUS whenever it changes.
    fn notify_supervisor(&mut self, now: Instant) {
        if !self.parts.notifications.has_listener() {
            return;
        }
        let status = summary(&self.machine.borrow(), &self.parts.config, now);
        if self.announce_ready {
            self.announce_ready = false;
            log_send_error(self.parts.notifications.ready(&status));
        } else if status != self.sent_status {
            log_send_error(self.parts.notifications.status(&status));
        } else {
            return;
        }
        self.sent_status = status;
    }
}

/// Why the loop has been late, in words. No work of the loop for a service takes long.
fn cause_of_lateness() -> String {
    match process::host() {
        Ok(host) if host.runnable > host.cpus => format!(
            "the host is loaded ({} threads are runnable on {} processors)",
            host.runnable, host.cpus
        ),
        Ok(_) | Err(_) => "stayd was stopped, or the machine stood still".into(),
    }
}

/// The name, question and program of a service, for the sentences of the state machine.
pub(super) fn description_of(service: &config::Service) -> state::ServiceDescription {
    let program = service.command.first().map_or("", String::as_str);
    let program = program.rsplit('/').next().unwrap_or(program).to_owned();
    let question = service
        .probe
        .as_ref()
        .map(config::Probe::question)
        .unwrap_or_default();
    state::ServiceDescription {
        name: service.name.clone(),
        question,
        program,
        jitter_seed: super::stable_hash(&service.name),
    }
}
