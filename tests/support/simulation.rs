//! Simulates the operating system and the services around a `decide` machine, in virtual time.
//!
//! Every action has the outcome that the simulated service is set to have. [`Simulation::advance`] lets virtual time pass
//! and delivers the outcomes as events. Nothing waits and nothing is random: the same test always gives the same log.

use stayd::decide::action::{Action, Persist, RecordKind, ServiceAction};
use stayd::decide::clock::{Duration, Instant};
use stayd::decide::event::{
    Answer, Check, Event, Exit, Life, PersistedState, PortRelease, ProbeAttempt, Process, Request,
    ResourceSample, ScanOutcome, ServiceEvent, ServiceId, SpawnFailure, Survivors,
};
use stayd::decide::fleet::Machine;
use stayd::decide::policy::{
    Backoff, GiveUp, Mode, OnLeftover, OnStranger, Policy, Restart, StoppedIs, Watchdog,
};
use stayd::decide::snapshot::{Phase, Snapshot};
use stayd::decide::state::ServiceDescription;
use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

#[path = "simulated_service.rs"]
mod simulated_service;

pub(crate) use simulated_service::{
    FOREIGN, Preparation, SimulatedService, busy, idle, runtime, silence,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// How long the system takes for any action.
const SOON: Duration = Duration::from_millis(1);
/// How long SIGKILL is tried before it is reported as failed.
const KILL_DEADLINE: Duration = Duration::from_secs(2);
/// More events than this in one advance mean an endless loop.
const EVENTS_MAX: usize = 1_000_000;

/// The rules of a configuration with all defaults, and a watchdog.
pub(crate) fn policy() -> Policy {
    Policy {
        restart: Restart::Always,
        backoff: Backoff {
            min: Duration::from_millis(200),
            max: SECOND * 30,
            stable_after: MINUTE,
        },
        give_up: GiveUp {
            exits: 10,
            within: MINUTE * 5,
        },
        stop_grace: SECOND * 5,
        startup: MINUTE,
        startup_max: MINUTE * 10,
        leftover: OnLeftover::Adopt,
        stranger: OnStranger::Report,
        has_runtime: false,
        stopped_is: StoppedIs::Wedged,
        watchdog: Some(watchdog()),
        ready_probe: false,
        notifies_ready: false,
    }
}

pub(crate) fn watchdog() -> Watchdog {
    Watchdog {
        interval: SECOND * 5,
        timeout: SECOND * 3,
        failures: 3,
        busy_grace: SECOND * 20,
        degraded_kills: false,
        first_grace: None,
        mode: Mode::Kill,
        evidence_extra: Duration::ZERO,
    }
}

/// An outcome that is due later.
#[derive(Clone, Debug)]
enum Due {
    ServiceEvent(ServiceId, ServiceEvent),
    /// The main process ends by itself, if it has not ended yet.
    Ends(ServiceId, Life, Exit, Survivors),
    Killed(ServiceId, Life),
}

/// An action that the machine returned, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedAction {
    pub(crate) at: Instant,
    pub(crate) action: Action,
}

/// The machine, the simulated services, and the log of everything that happened.
pub(crate) struct Simulation {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    pub(crate) log: Vec<LoggedAction>,
    /// Every event as the machine got it.
    pub(crate) history: Vec<(Instant, Event)>,
    simulated: Vec<SimulatedService>,
    policies: Vec<Policy>,
    due: BTreeMap<(Instant, usize), Due>,
    scheduled: usize,
}

impl Simulation {
    pub(crate) fn new() -> Self {
        Self {
            machine: Machine::default(),
            now: Instant::START,
            log: Vec::new(),
            history: Vec::new(),
            simulated: Vec::new(),
            policies: Vec::new(),
            due: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// A simulation with one service that has been ready for a minute.
    pub(crate) fn with_ready_service(policy: Policy) -> (Self, ServiceId) {
        let mut simulation = Self::new();
        let id = simulation.add(policy, PersistedState::default());
        simulation.advance(MINUTE + SECOND);
        (simulation, id)
    }

    /// A simulation with one service; `change` sets its outcomes before it is configured.
    pub(crate) fn with_service(
        policy: Policy,
        past: PersistedState,
        change: impl FnOnce(&mut SimulatedService),
    ) -> (Self, ServiceId) {
        let mut simulation = Self::new();
        let id = simulation.add_unconfigured(policy);
        change(&mut simulation[id]);
        simulation.deliver_to(id, ServiceEvent::Configured(past));
        (simulation, id)
    }

    pub(crate) fn add(&mut self, policy: Policy, past: PersistedState) -> ServiceId {
        let id = self.add_unconfigured(policy);
        self.deliver_to(id, ServiceEvent::Configured(past));
        id
    }

    /// Adds a service that is not configured yet, so that a test can set its outcomes first.
    pub(crate) fn add_unconfigured(&mut self, policy: Policy) -> ServiceId {
        self.policies.push(policy);
        self.simulated.push(SimulatedService::new());
        add_to(&mut self.machine, policy)
    }

    pub(crate) fn deliver_to(&mut self, id: ServiceId, event: ServiceEvent) {
        self.deliver(Event::Service(id, event));
    }

    pub(crate) fn request(&mut self, id: ServiceId, request: Request) {
        self.deliver_to(id, ServiceEvent::Requested(request));
    }

    pub(crate) fn hold(&mut self, id: ServiceId, duration: Duration) {
        let reason = "backup".into();
        self.request(id, Request::Hold { duration, reason });
    }

    /// Gives the machine an event at the present time, and begins the actions that it returns.
    pub(crate) fn deliver(&mut self, event: Event) {
        self.history.push((self.now, event.clone()));
        for action in self.machine.step(self.now, event) {
            self.log.push(LoggedAction {
                at: self.now,
                action: action.clone(),
            });
            if let Action::Service(id, action) = action {
                self.execute(id, action);
            }
        }
    }

    /// Lets `duration` pass.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        for _ in 0..EVENTS_MAX {
            let arrives = self.due.first_key_value().map(|((at, _), _)| *at);
            let next = arrives
                .unwrap_or(Instant::NEVER)
                .min(self.machine.deadline());
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            match arrives.filter(|at| *at <= self.now) {
                Some(_) => self.deliver_first(),
                None => {
                    self.deliver(Event::Tick);
                    assert!(
                        self.machine.deadline() > self.now,
                        "a tick moves the deadline"
                    );
                }
            }
        }
        panic!("{EVENTS_MAX} events in {duration:?}");
    }

    /// stayd and all services stand still for `duration`; then stayd notices that it was late.
    pub(crate) fn stall(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        self.deliver(Event::Late("the host is loaded".into()));
    }

    fn deliver_first(&mut self) {
        let Some((_, due)) = self.due.pop_first() else {
            return;
        };
        match due {
            Due::ServiceEvent(id, event) => {
                if let ServiceEvent::Spawned(life, _) = event {
                    self.instance_started(id, life);
                }
                self.deliver_to(id, event);
            }
            Due::Ends(id, life, exit, survivors) => {
                self.end_main_process(id, life, exit, survivors);
            }
            Due::Killed(id, life) if self[id].unkillable => {
                let event = ServiceEvent::KillTimedOut {
                    life,
                    left: 1,
                    stuck: 1,
                    refusal: None,
                };
                self.deliver_to(id, event);
            }
            Due::Killed(id, life) => {
                self.end_main_process(id, life, Exit::Signal(9), Survivors::default());
                self.deliver_to(id, ServiceEvent::TreeEmptied(life));
            }
        }
    }

    fn instance_started(&mut self, id: ServiceId, life: Life) {
        assert_eq!(self[id].alive, None, "never two copies");
        self[id].alive = Some(life);
        if let Some((after, exit, survivors)) = self[id].exits_by_itself.clone() {
            self.schedule(after, Due::Ends(id, life, exit, survivors));
        }
    }

    /// The main process of `life` ends now, if it has not ended yet.
    pub(crate) fn end_main_process(
        &mut self,
        id: ServiceId,
        life: Life,
        exit: Exit,
        survivors: Survivors,
    ) {
        if self[id].alive == Some(life) {
            self[id].alive = survivors.successor.map(|_| life);
            self.deliver_to(id, ServiceEvent::Exited(life, exit, survivors));
        }
    }

    /// The foreign process leaves, and its port is free.
    pub(crate) fn foreign_process_leaves(&mut self, id: ServiceId, release: PortRelease) {
        self[id].preparation = Preparation::Succeeds;
        let life = self[id].attached.expect("a foreign process is monitored");
        self.deliver_to(id, ServiceEvent::ForeignProcessLeft(life, release));
    }

    fn schedule(&mut self, after: Duration, due: Due) {
        self.scheduled += 1;
        self.due
            .insert((self.now.after(after), self.scheduled), due);
    }

    fn execute(&mut self, id: ServiceId, action: ServiceAction) {
        match action {
            ServiceAction::RecoveryScan => {
                let scan_outcome = self[id].scan_outcome.clone();
                if let ScanOutcome::Adoptable(instance) = &scan_outcome {
                    self[id].alive = instance.main.map(|_| instance.life);
                }
                self.deliver_to(id, ServiceEvent::RecoveryScanned(scan_outcome));
            }
            ServiceAction::Materialize(life) => {
                let offer = self[id].offer.clone();
                self.later(id, ServiceEvent::Materialized(life, offer));
            }
            ServiceAction::UseRuntime(runtime) => self[id].runs_from.push(runtime),
            ServiceAction::MarkRuntimeBad(runtime, _) => self[id].offer.refused = Some(runtime),
            ServiceAction::Prepare(life) => match self[id].preparation {
                Preparation::Succeeds => self.later(id, ServiceEvent::Prepared(life)),
                Preparation::PortHeld => {
                    self.later(
                        id,
                        ServiceEvent::PortHeld(life, simulated_service::holder()),
                    );
                }
                Preparation::Fails(what) => {
                    let failure = SpawnFailure {
                        message: what.into(),
                        lasting: false,
                    };
                    self.later(id, ServiceEvent::BeforeFailed(life, failure));
                }
                Preparation::Hangs => {}
            },
            ServiceAction::CancelPreparation(life)
                if self[id].preparation == Preparation::Hangs =>
            {
                self.later(
                    id,
                    ServiceEvent::NotPrepared(life, SpawnFailure::cancelled()),
                );
            }
            ServiceAction::Spawn(life) => {
                let main = Process {
                    pid: 100,
                    start_time: life.0.into(),
                };
                let due = Due::ServiceEvent(id, ServiceEvent::Spawned(life, main));
                self.schedule(self[id].spawn_takes, due);
            }
            ServiceAction::Terminate { life, .. } if self[id].obeys_term => {
                self.schedule(
                    SOON,
                    Due::Ends(id, life, Exit::Signal(15), Survivors::default()),
                );
            }
            ServiceAction::KillTree(life) => {
                let takes = if self[id].unkillable {
                    KILL_DEADLINE
                } else {
                    SOON
                };
                self.schedule(takes, Due::Killed(id, life));
            }
            ServiceAction::Probe {
                life,
                check,
                deadline,
            } => self.answer_probe(id, life, check, deadline),
            ServiceAction::CollectEvidence { life, .. } => {
                self.schedule(
                    self[id].evidence_takes,
                    Due::ServiceEvent(id, ServiceEvent::EvidenceCollected(life)),
                );
            }
            ServiceAction::Attach { life, .. } => self[id].attached = Some(life),
            ServiceAction::Retire(_) => self[id].attached = None,
            ServiceAction::CancelPreparation(_)
            | ServiceAction::Terminate { .. }
            | ServiceAction::SignalFirst(_)
            | ServiceAction::SuperviseSuccessor { .. }
            | ServiceAction::CloseSockets
            | ServiceAction::AwaitChange(_)
            | ServiceAction::MarkRuntimeGood(_)
            | ServiceAction::MarkReady(_)
            | ServiceAction::RetireKeepingClaim(..)
            | ServiceAction::Record(_)
            | ServiceAction::Persist(_) => {}
        }
    }

    fn later(&mut self, id: ServiceId, event: ServiceEvent) {
        self.schedule(SOON, Due::ServiceEvent(id, event));
    }

    fn answer_probe(&mut self, id: ServiceId, life: Life, check: Check, deadline: Instant) {
        let service = &self[id];
        let answer = match check {
            Check::Liveness => service.answer.clone(),
            Check::Readiness => service.readiness.clone(),
        };
        let silent = matches!(answer, Answer::Dead { .. });
        let asked_at = self.now.after(service.sent_late_by);
        let latency = if silent {
            deadline.since(asked_at)
        } else {
            SOON
        };
        let sample = if silent || matches!(answer, Answer::Degraded { .. }) {
            service.sample
        } else {
            ResourceSample::default()
        };
        let attempt = ProbeAttempt {
            asked_at,
            deadline,
            answer,
            latency,
            sample,
        };
        if !service.never_reports {
            let takes = asked_at.since(self.now) + latency;
            self.schedule(
                takes,
                Due::ServiceEvent(id, ServiceEvent::Probed(life, check, attempt)),
            );
        }
    }

    pub(crate) fn snapshot(&self, id: ServiceId) -> Snapshot {
        self.machine
            .snapshot(self.now, id)
            .expect("a service of this simulation")
    }

    pub(crate) fn phase(&self, id: ServiceId) -> Phase {
        self.snapshot(id).phase
    }

    /// When actions for `id` that match `is` were returned.
    pub(crate) fn times_of(
        &self,
        id: ServiceId,
        is: impl Fn(&ServiceAction) -> bool,
    ) -> Vec<Instant> {
        self.actions(id)
            .filter(|(_, action)| is(action))
            .map(|(at, _)| at)
            .collect()
    }

    fn actions(&self, id: ServiceId) -> impl Iterator<Item = (Instant, &ServiceAction)> {
        self.log.iter().filter_map(move |done| match &done.action {
            Action::Service(of, action) if *of == id => Some((done.at, action)),
            Action::Service(..) | Action::AnnounceReady | Action::Finish => None,
        })
    }

    pub(crate) fn kills(&self, id: ServiceId) -> Vec<Instant> {
        self.times_of(id, |action| matches!(action, ServiceAction::KillTree(_)))
    }

    pub(crate) fn spawns(&self, id: ServiceId) -> Vec<Instant> {
        self.times_of(id, |action| matches!(action, ServiceAction::Spawn(_)))
    }

    /// The sentences that were recorded for `id` under this kind.
    pub(crate) fn records(&self, id: ServiceId, kind: RecordKind) -> Vec<String> {
        let records = self.actions(id).filter_map(|(_, action)| match action {
            ServiceAction::Record(record) if record.kind == kind => Some(record.sentence.clone()),
            _ => None,
        });
        records.collect()
    }

    pub(crate) fn persisted(&self, id: ServiceId) -> Vec<Persist> {
        let persisted = self.actions(id).filter_map(|(_, action)| match action {
            ServiceAction::Persist(persist) => Some(persist.clone()),
            _ => None,
        });
        persisted.collect()
    }

    pub(crate) fn count(&self, action: &Action) -> usize {
        self.log
            .iter()
            .filter(|done| done.action == *action)
            .count()
    }

    /// The actions of a new machine that gets the same events at the same times.
    pub(crate) fn replayed(&self) -> Vec<LoggedAction> {
        let mut machine = Machine::default();
        for policy in &self.policies {
            add_to(&mut machine, *policy);
        }
        let mut log = Vec::new();
        for (at, event) in &self.history {
            let actions = machine.step(*at, event.clone());
            log.extend(
                actions
                    .into_iter()
                    .map(|action| LoggedAction { at: *at, action }),
            );
        }
        log
    }
}

impl Index<ServiceId> for Simulation {
    type Output = SimulatedService;

    fn index(&self, id: ServiceId) -> &SimulatedService {
        &self.simulated[id.0]
    }
}

impl IndexMut<ServiceId> for Simulation {
    fn index_mut(&mut self, id: ServiceId) -> &mut SimulatedService {
        &mut self.simulated[id.0]
    }
}

fn add_to(machine: &mut Machine, policy: Policy) -> ServiceId {
    let description = ServiceDescription {
        name: "db".into(),
        question: "SELECT 1".into(),
        program: "server".into(),
        jitter_seed: 1,
    };
    machine.add(policy, description)
}
