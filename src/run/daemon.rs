//! The running loop.

use super::alarm::Alarm;
use super::clock::Clock;
use super::desk::{self, Counter, Identity, LeftSocket};
use super::home::Home;
use super::signals::{Arrived, Signals};
use super::stall::StallWatch;
use super::upgrade::{Course, progress};
use super::upkeep::{Reading, is_read, summary};
use super::{Ending, Options};
use crate::act::executor::Executor;
use crate::act::journal::{Past, Store};
use crate::act::notify::parent::ParentSupervisor;
use crate::act::notify::supervisor::SupervisorNotifications;
use crate::act::recovery::orphaned_services::forgotten;
use crate::api::desk::{Ask, Kind, Petition, Refusal, Taken};
use crate::config::{self, Config};
use crate::decide::action::{self, Action};
use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Event, Request, ServiceEvent, ServiceId};
use crate::decide::fleet::Machine;
use crate::decide::{state, state::StateHandover};
use crate::sys::reaper::{self, Reaped};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A loop that comes this late to its own deadline has nothing to say about what was in flight.
const LATE_MIN: Duration = Duration::from_millis(500);
/// Reaped at once, so that a storm of exits does not keep everything else waiting.
const REAP_MAX: usize = 256;
/// The last output is moved within this time, or left to the next stayd.
pub(super) const OUTPUT_CLOSE_MAX: Duration = Duration::from_secs(2);
/// More than the longest stop is asked of the supervisor, for what comes around it.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// What a daemon is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) signals: Signals,
    pub(super) notifications: SupervisorNotifications,
    pub(super) stall: Arc<StallWatch>,
    pub(super) clock: Clock,
    pub(super) executor: Executor,
    pub(super) store: Store,
    pub(super) past: Past,
    pub(super) home: Home,
    pub(super) options: Options,
    pub(super) facts: mpsc::Receiver<Event>,
    pub(super) ended: mpsc::Receiver<Reaped>,
}

/// The loop and everything it owns.
pub(super) struct Daemon {
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) parts: Parts,
    pub(super) counter: Counter,
    /// The configuration, while it is being read again.
    pub(super) reading: Option<Reading>,
    /// ServiceMessage to end.
    pub(super) leaving: bool,
    at_a_terminal: bool,
    ready: bool,
    status: String,
    finished: bool,
    /// A new version is on its way.
    pub(super) course: Option<Course>,
    /// What the version before knew of each service, until that is configured.
    carried: BTreeMap<String, StateHandover>,
    /// Tells the control socket that everything is known again.
    door: Option<oneshot::Sender<()>>,
}

/// What the version before has left to the loop.
pub(super) struct Left {
    pub(super) socket: LeftSocket,
    pub(super) carried: BTreeMap<String, StateHandover>,
}

/// Why the loop has ended.
pub(super) enum End {
    Over(Ending),
    /// A new version is to take over, and everything is at rest.
    AtRest,
}

impl Daemon {
    /// Opens the control socket, or goes on with the one that was left, and puts every service into the machine.
    pub(super) async fn new(
        parts: Parts,
        supervisor: ParentSupervisor,
        left: Option<Left>,
    ) -> io::Result<Self> {
        let mut machine = Machine::default();
        for service in &parts.config.services {
            machine.add(service.policy, identity_of(service));
        }
        let machine = Rc::new(RefCell::new(machine));
        let mut carried = BTreeMap::new();
        let mut door = None;
        let counter = match left {
            None => desk::open(&parts, Rc::clone(&machine)).await?,
            Some(left) => {
                let (opens, opened) = oneshot::channel();
                (door, carried) = (Some(opens), left.carried);
                desk::resume(&parts, Rc::clone(&machine), left.socket, opened).await?
            }
        };
        Ok(Self {
            machine,
            parts,
            counter,
            reading: None,
            leaving: false,
            at_a_terminal: supervisor == ParentSupervisor::Terminal,
            ready: false,
            status: String::new(),
            finished: false,
            course: None,
            carried,
            door,
        })
    }

    /// Runs until everything is stopped, or at rest for a new version.
    pub(super) async fn live(&mut self) -> End {
        self.configure_all();
        // What ended while one version took the other's place has sent its signal to the one before.
        self.reap();
        let ping_every = self.parts.notifications.ping_every();
        let mut next_ping = Instant::START;
        let alarm = Alarm::new();
        while !self.finished {
            self.parts.stall.goes_on();
            let due = self.machine.borrow().deadline();
            let now = self.parts.clock.origin().now();
            self.look_after_home(now).await;
            if self.is_at_rest(now) {
                return End::AtRest;
            }
            tokio::select! {
                biased;
                arrived = self.parts.signals.arrived() => match arrived {
                    Ok(arrived) => self.on_signals(arrived),
                    Err(error) => {
                        tracing::error!("cannot hear signals: {error}; ending");
                        return End::Over(Ending::Bug);
                    }
                },
                Some(reaped) = self.parts.ended.recv() => self.parts.executor.reaped([reaped]),
                Some(event) = self.parts.facts.recv() => self.step(event),
                Some(petition) = self.counter.petitions.recv() => self.on_petition(petition),
                Some(petition) = self.counter.upgrades.recv() => self.on_upgrade(petition),
                progress = progress(&mut self.course) => self.on_progress(progress),
                read = is_read(&mut self.reading) => self.on_read(read),
                () = alarm.wait(due, now) => self.on_time(due),
                () = tokio::time::sleep(next_ping.since(now)), if ping_every.is_some() => {
                    // Sent from the loop itself: a loop that hangs is silent, and the supervisor ends it.
                    super::heard(self.parts.notifications.watchdog());
                    next_ping = self.parts.clock.origin().now().after(ping_every.unwrap_or_default());
                }
            }
        }
        self.parts.executor.close_sockets().await;
        let shared = self.parts.executor.shared();
        if !shared.output.borrow_mut().close(OUTPUT_CLOSE_MAX) {
            tracing::warn!(
                "the disk does not take the last output; it stays in the services' FIFOs"
            );
        }
        self.parts.store.close();
        End::Over(Ending::Done)
    }

    fn configure_all(&mut self) {
        for index in 0..self.parts.config.services.len() {
            self.configure(ServiceId(index));
        }
        let configured = self.parts.config.services.iter();
        let configured: Vec<&str> = configured.map(|service| service.name.as_str()).collect();
        let shared = self.parts.executor.shared();
        for left in forgotten(shared, &configured) {
            shared.report_process(action::RecordKind::OrphanedService, left);
        }
        if self.parts.config.services.is_empty() {
            tracing::warn!("the configuration has no service; nothing to do until it has one");
        }
    }

    /// Tells the machine that the service is there, and what is remembered of it.
    pub(super) fn configure(&mut self, id: ServiceId) {
        let Some(service) = self.parts.config.services.get(id.0) else {
            return;
        };
        let mut past = self.parts.past.of(&service.name, &service.proof_key());
        past.handover = self.carried.remove(&service.name).map(Box::new);
        self.step(Event::Service(id, ServiceEvent::Configured(past)));
    }

    /// One step of the machine: the whole of what this daemon does.
    fn step(&mut self, event: Event) {
        let reading = self.parts.clock.read();
        if let Some(span) = reading.slept {
            tracing::info!("the machine slept {} s", span.as_secs());
            let actions = self
                .machine
                .borrow_mut()
                .step(reading.now, Event::Slept(span));
            self.execute(actions);
        }
        let actions = self.machine.borrow_mut().step(reading.now, event);
        self.execute(actions);
        self.tell_status(reading.now);
        self.open_the_door();
    }

    /// The control socket of the version before is served when everything is known again.
    fn open_the_door(&mut self) {
        let surveys = |service: &state::Service| !service.is_scanned();
        if self.door.is_some() && !self.machine.borrow().services().iter().any(surveys) {
            self.door = None;
        }
    }

    fn execute(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Service(id, order) => self.parts.executor.execute(id, order),
                Action::AnnounceReady => self.ready = true,
                Action::Finish => self.finish(),
            }
        }
    }

    fn finish(&mut self) {
        let shared = self.parts.executor.shared();
        shared.claims.borrow_mut().release_ended();
        self.finished = true;
    }

    fn on_time(&mut self, due: Instant) {
        let late = self.parts.clock.origin().now().since(due);
        if late >= LATE_MIN {
            tracing::warn!(
                "stayd was {} ms late; what was asked meanwhile says nothing",
                late.as_millis()
            );
            self.step(Event::Late(late));
        }
        self.step(Event::Tick);
    }

    fn on_signals(&mut self, arrived: Arrived) {
        if arrived.child {
            self.reap();
        }
        if arrived.hangup && !self.at_a_terminal {
            self.read_again();
        }
        let ends = arrived.end + u32::from(arrived.hangup && self.at_a_terminal);
        for _ in 0..ends {
            self.shut_down();
        }
    }

    fn reap(&mut self) {
        loop {
            let reaped = reaper::drain(REAP_MAX);
            let all = reaped.len() < REAP_MAX;
            self.parts.executor.reaped(reaped);
            if all {
                break;
            }
        }
    }

    fn shut_down(&mut self) {
        self.leaving = true;
        let grace = self
            .parts
            .config
            .services
            .iter()
            .map(|service| service.policy.stop_grace)
            .max();
        super::heard(self.parts.notifications.stopping());
        super::heard(
            self.parts
                .notifications
                .extend_timeout(grace.unwrap_or_default() + STOP_SLACK),
        );
        self.step(Event::Shutdown);
    }

    fn on_petition(&mut self, petition: Petition) {
        let Petition {
            service,
            ask,
            reply,
        } = petition;
        let is_wish = matches!(ask, Ask::Request(_));
        match self.heed(&service, ask) {
            Ok(()) if is_wish => {
                tokio::task::spawn_local(confirm(self.parts.store.clone(), reply));
            }
            // Whoever asked may have gone.
            answer => drop(reply.send(answer.map(|()| Taken::default()))),
        }
    }

    fn heed(&mut self, service: &str, ask: Ask) -> Result<(), Refusal> {
        let services = &self.parts.config.services;
        let index = services.iter().position(|known| known.name == service);
        let id = index
            .map(ServiceId)
            .ok_or_else(|| Refusal::new(Kind::NoService, format!("no service named {service}")))?;
        let not_ours = self.machine.borrow().control_refusal(id);
        let not_ours = not_ours.map(|why| format!("cannot {} {service}: {why}", ask.verb()));
        let refused = match ask {
            Ask::Request(request) => {
                let refused = not_ours.filter(|_| request == Request::Restart);
                // A refusal is recorded as well.
                self.step(Event::Service(id, ServiceEvent::Requested(request)));
                refused
            }
            Ask::Reload => not_ours.or_else(|| self.parts.executor.reload(id).err()),
        };
        refused.map_or(Ok(()), |why| Err(Refusal::new(Kind::Conflict, why)))
    }

    /// READY once, and STATUS when it says something new.
    fn tell_status(&mut self, now: Instant) {
        if !self.parts.notifications.is_heard() {
            return;
        }
        let status = summary(&self.machine.borrow(), &self.parts.config, now);
        if self.ready {
            self.ready = false;
            super::heard(self.parts.notifications.ready(&status));
        } else if status != self.status {
            super::heard(self.parts.notifications.status(&status));
        } else {
            return;
        }
        self.status = status;
    }
}

/// Tells that a wish was taken, once it outlives this process; or that it does not.
async fn confirm(store: Store, reply: oneshot::Sender<Result<Taken, Refusal>>) {
    let unsaved = |why| {
        format!(
            "cannot store the wish: {why}; it is carried out, and stored when the disk takes it, but a stayd that ends before \
             that leaves nothing of it to the next"
        )
    };
    let warning = store.saved().await.err().map(unsaved);
    // Whoever asked may have gone.
    drop(reply.send(Ok(Taken { warning })));
}

/// What the machine has to know of a service besides its policy.
pub(super) fn identity_of(service: &config::Service) -> state::ServiceDescription {
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
        jitter_seed: super::salt(&service.name),
    }
}
