//! The running loop.

use super::alarm::Alarm;
use super::clock::Clock;
use super::desk::{self, Counter, Identity};
use super::home::Home;
use super::signals::{Arrived, Signals};
use super::stall::StallWatch;
use super::upkeep::{Reading, is_read};
use super::{Ending, Options};
use crate::act::forgotten::forgotten;
use crate::act::performer::Performer;
use crate::act::store::{Past, Store};
use crate::act::supervisor::Supervisor;
use crate::act::upward::Upward;
use crate::api::desk::{Ask, Kind, Petition, Refusal, Taken};
use crate::config::{self, Config};
use crate::decide::action::{self, Action};
use crate::decide::clock::{Duration, Moment};
use crate::decide::event::{Event, Fact, ServiceId, Wish};
use crate::decide::fleet::Machine;
use crate::decide::{snapshot::Phase, state};
use crate::sys::reaper::{self, Reaped};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A loop that comes this late to its own deadline has nothing to say about what was in flight.
const LATE_MIN: Duration = Duration::from_millis(500);
/// Reaped at once, so that a storm of exits does not keep everything else waiting.
const REAP_MAX: usize = 256;
/// The last output is moved within this time, or left to the next stayd.
const OUTPUT_CLOSE_MAX: Duration = Duration::from_secs(2);
/// More than the longest stop is asked of the supervisor, for what comes around it.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// What a daemon is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) signals: Signals,
    pub(super) upward: Upward,
    pub(super) stall: Arc<StallWatch>,
    pub(super) clock: Clock,
    pub(super) performer: Performer,
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
    /// Told to end.
    pub(super) leaving: bool,
    at_a_terminal: bool,
    ready: bool,
    status: String,
    finished: bool,
}

impl Daemon {
    /// Opens the control socket and puts every service into the machine.
    pub(super) async fn new(parts: Parts, supervisor: Supervisor) -> io::Result<Self> {
        let mut machine = Machine::default();
        for service in &parts.config.services {
            machine.add(service.policy, identity_of(service));
        }
        let machine = Rc::new(RefCell::new(machine));
        let counter = desk::open(&parts, Rc::clone(&machine)).await?;
        Ok(Self {
            machine,
            parts,
            counter,
            reading: None,
            leaving: false,
            at_a_terminal: supervisor == Supervisor::Terminal,
            ready: false,
            status: String::new(),
            finished: false,
        })
    }

    /// Runs until everything is stopped.
    pub(super) async fn live(&mut self) -> Ending {
        self.configure_all();
        let ping_every = self.parts.upward.ping_every();
        let mut next_ping = Moment::START;
        let alarm = Alarm::new();
        while !self.finished {
            self.parts.stall.goes_on();
            let due = self.machine.borrow().deadline();
            let now = self.parts.clock.origin().now();
            self.look_after_home(now).await;
            tokio::select! {
                biased;
                arrived = self.parts.signals.arrived() => match arrived {
                    Ok(arrived) => self.on_signals(arrived),
                    Err(error) => {
                        tracing::error!("cannot hear signals: {error}; ending");
                        return Ending::Bug;
                    }
                },
                Some(reaped) = self.parts.ended.recv() => self.parts.performer.reaped([reaped]),
                Some(event) = self.parts.facts.recv() => self.step(event),
                Some(petition) = self.counter.petitions.recv() => self.on_petition(petition),
                read = is_read(&mut self.reading) => self.on_read(read),
                () = alarm.wait(due, now) => self.on_time(due),
                () = tokio::time::sleep(next_ping.since(now)), if ping_every.is_some() => {
                    // Sent from the loop itself: a loop that hangs is silent, and the supervisor ends it.
                    super::heard(self.parts.upward.watchdog());
                    next_ping = self.parts.clock.origin().now().after(ping_every.unwrap_or_default());
                }
            }
        }
        self.parts.performer.close_sockets().await;
        let shared = self.parts.performer.shared();
        if !shared.output.borrow_mut().close(OUTPUT_CLOSE_MAX) {
            tracing::warn!(
                "the disk does not take the last output; it stays in the services' FIFOs"
            );
        }
        self.parts.store.close();
        Ending::Done
    }

    fn configure_all(&mut self) {
        for index in 0..self.parts.config.services.len() {
            self.configure(ServiceId(index));
        }
        let configured = self.parts.config.services.iter();
        let configured: Vec<&str> = configured.map(|service| service.name.as_str()).collect();
        let shared = self.parts.performer.shared();
        for left in forgotten(shared, &configured) {
            shared.name_bystander(action::Kind::Forgotten, left);
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
        let past = self.parts.past.of(&service.name, &service.proof_key());
        self.step(Event::Service(id, Fact::Configured(past)));
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
            self.perform(actions);
        }
        let actions = self.machine.borrow_mut().step(reading.now, event);
        self.perform(actions);
        self.tell_status(reading.now);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Service(id, order) => self.parts.performer.perform(id, order),
                Action::AnnounceReady => self.ready = true,
                Action::Finish => self.finish(),
            }
        }
    }

    fn finish(&mut self) {
        let shared = self.parts.performer.shared();
        shared.claims.borrow_mut().release_ended();
        self.finished = true;
    }

    fn on_time(&mut self, due: Moment) {
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
            loop {
                let reaped = reaper::drain(REAP_MAX);
                let all = reaped.len() < REAP_MAX;
                self.parts.performer.reaped(reaped);
                if all {
                    break;
                }
            }
        }
        if arrived.hangup && !self.at_a_terminal {
            self.read_again();
        }
        let ends = arrived.end + u32::from(arrived.hangup && self.at_a_terminal);
        for _ in 0..ends {
            self.shut_down();
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
        super::heard(self.parts.upward.stopping());
        super::heard(
            self.parts
                .upward
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
        let is_wish = matches!(ask, Ask::Wish(_));
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
        let not_ours = self.machine.borrow().hands_off(id);
        let not_ours = not_ours.map(|why| format!("cannot {} {service}: {why}", ask.verb()));
        let refused = match ask {
            Ask::Wish(wish) => {
                let refused = not_ours.filter(|_| wish == Wish::Restart);
                // A refusal is recorded as well.
                self.step(Event::Service(id, Fact::Asked(wish)));
                refused
            }
            Ask::Reload => not_ours.or_else(|| self.parts.performer.reload(id).err()),
        };
        refused.map_or(Ok(()), |why| Err(Refusal::new(Kind::Conflict, why)))
    }

    /// READY once, and STATUS when it says something new.
    fn tell_status(&mut self, now: Moment) {
        if !self.parts.upward.is_heard() {
            return;
        }
        let status = summary(&self.machine.borrow(), &self.parts.config, now);
        if self.ready {
            self.ready = false;
            super::heard(self.parts.upward.ready(&status));
        } else if status != self.status {
            super::heard(self.parts.upward.status(&status));
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
pub(super) fn identity_of(service: &config::Service) -> state::Identity {
    let program = service.command.first().map_or("", String::as_str);
    let program = program.rsplit('/').next().unwrap_or(program).to_owned();
    let question = service
        .probe
        .as_ref()
        .map(config::Probe::question)
        .unwrap_or_default();
    state::Identity {
        name: service.name.clone(),
        question,
        program,
        salt: super::salt(&service.name),
    }
}

/// One line for the supervisor: how many are up, and what is wrong with the rest.
fn summary(machine: &Machine, config: &Config, now: Moment) -> String {
    let mut wrong = Vec::new();
    for (service, known) in machine.services().iter().zip(&config.services) {
        let phase = service.phase();
        let is_fine =
            phase == Phase::Running || phase == Phase::Attached && service.is_healthy(now);
        if !is_fine {
            wrong.push(format!("{} {}", known.name, phase.name()));
        }
    }
    let total = config.services.len();
    let running = total - wrong.len();
    if wrong.is_empty() {
        format!("{running} of {total} answering")
    } else {
        format!("{running} of {total} answering; {}", wrong.join(", "))
    }
}
