//! A stage for `decide` in virtual time: services as actors, the operating system played by the stage itself.
//!
//! Every order has an outcome, as the actor's part says; [`Stage::drive`] lets virtual time pass and delivers what
//! becomes true. Nothing waits, nothing is random: the same play gives the same log.

use stayd::decide::action::{Action, Kind, Persist, ServiceAction};
use stayd::decide::clock::{Duration, Instant};
use stayd::decide::event::{
    Answer, Check, Departure, Event, Exit, Life, PersistedState, ProbeAttempt, Process, Request,
    ResourceSample, ScanOutcome, ServiceEvent, ServiceId, SpawnFailure, Survivors,
};
use stayd::decide::fleet::Machine;
use stayd::decide::policy::{
    Backoff, GiveUp, Mode, OnLeftover, OnStranger, Policy, Restart, StoppedIs, Watchdog,
};
use stayd::decide::snapshot::{Phase, Snapshot};
use stayd::decide::state::Identity;
use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

#[path = "simulated_service.rs"]
mod actor;

pub(crate) use actor::{Actor, Preparation, STRANGER, busy, idle, runtime, silence};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// What the system takes for anything.
const SOON: Duration = Duration::from_millis(1);
/// How long SIGKILL is tried before it is said to have failed.
const KILL_DEADLINE: Duration = Duration::from_secs(2);
/// More events than this in one drive: somebody spins.
const EVENTS_MAX: usize = 1_000_000;

/// The rules that a configuration without any words gives, with a watchdog.
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
        told_by_service: false,
    }
}

/// What is on its way.
#[derive(Clone, Debug)]
enum Due {
    ServiceEvent(ServiceId, ServiceEvent),
    /// The main process ends by itself, if it has not ended yet.
    Ends(ServiceId, Life, Exit, Survivors),
    Killed(ServiceId, Life),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) at: Instant,
    pub(crate) action: Action,
}

/// The machine, its world, and everything that happened.
pub(crate) struct Stage {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    pub(crate) log: Vec<Done>,
    /// Every event as the machine got it.
    pub(crate) history: Vec<(Instant, Event)>,
    actors: Vec<Actor>,
    policies: Vec<Policy>,
    due: BTreeMap<(Instant, usize), Due>,
    scheduled: usize,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            machine: Machine::default(),
            now: Instant::START,
            log: Vec::new(),
            history: Vec::new(),
            actors: Vec::new(),
            policies: Vec::new(),
            due: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// A stage with one service that is ready and has been for a minute.
    pub(crate) fn with_one(policy: Policy) -> (Self, ServiceId) {
        let mut stage = Self::new();
        let id = stage.add(policy, PersistedState::default());
        stage.drive(MINUTE + SECOND);
        (stage, id)
    }

    pub(crate) fn add(&mut self, policy: Policy, past: PersistedState) -> ServiceId {
        let id = self.enlist(policy);
        self.tell(id, ServiceEvent::Configured(past));
        id
    }

    /// Into the machine, not configured yet.
    pub(crate) fn enlist(&mut self, policy: Policy) -> ServiceId {
        self.policies.push(policy);
        self.actors.push(Actor::new());
        add_to(&mut self.machine, policy)
    }

    pub(crate) fn tell(&mut self, id: ServiceId, fact: ServiceEvent) {
        self.happen(Event::Service(id, fact));
    }

    pub(crate) fn ask(&mut self, id: ServiceId, request: Request) {
        self.tell(id, ServiceEvent::Requested(request));
    }

    pub(crate) fn hold(&mut self, id: ServiceId, span: Duration) {
        let reason = "backup".into();
        self.ask(id, Request::Hold { span, reason });
    }

    /// An event at this moment, and what it leads to.
    pub(crate) fn happen(&mut self, event: Event) {
        self.history.push((self.now, event.clone()));
        for action in self.machine.step(self.now, event) {
            self.log.push(Done {
                at: self.now,
                action: action.clone(),
            });
            if let Action::Service(id, order) = action {
                self.execute(id, order);
            }
        }
    }

    /// Lets `span` pass.
    pub(crate) fn drive(&mut self, span: Duration) {
        let end = self.now.after(span);
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
                    self.happen(Event::Tick);
                    assert!(
                        self.machine.deadline() > self.now,
                        "a tick leaves no deadline behind"
                    );
                }
            }
        }
        panic!("{EVENTS_MAX} events in {span:?}");
    }

    /// Nobody runs for `span`, stayd included; then it notices.
    pub(crate) fn stall(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.happen(Event::Late(span));
    }

    fn deliver_first(&mut self) {
        let Some((_, due)) = self.due.pop_first() else {
            return;
        };
        match due {
            Due::ServiceEvent(id, fact) => {
                if let ServiceEvent::Spawned(life, _) = fact {
                    self.is_born(id, life);
                }
                self.tell(id, fact);
            }
            Due::Ends(id, life, exit, survivors) => self.ends(id, life, exit, survivors),
            Due::Killed(id, life) if self[id].stuck => {
                let (left, stuck) = (1, 1);
                self.tell(id, ServiceEvent::NotEmptied { life, left, stuck });
            }
            Due::Killed(id, life) => {
                self.ends(id, life, Exit::Signal(9), Survivors::default());
                self.tell(id, ServiceEvent::Emptied(life));
            }
        }
    }

    fn is_born(&mut self, id: ServiceId, life: Life) {
        assert_eq!(self[id].alive, None, "never two copies");
        self[id].alive = Some(life);
        if let Some((after, exit, survivors)) = self[id].ends.clone() {
            self.schedule(after, Due::Ends(id, life, exit, survivors));
        }
    }

    /// The main process of `life` ends now, if it has not ended yet.
    pub(crate) fn ends(&mut self, id: ServiceId, life: Life, exit: Exit, survivors: Survivors) {
        if self[id].alive == Some(life) {
            self[id].alive = survivors.successor.map(|_| life);
            self.tell(id, ServiceEvent::Exited(life, exit, survivors));
        }
    }

    /// The stranger goes, and its port is free.
    pub(crate) fn stranger_leaves(&mut self, id: ServiceId, departure: Departure) {
        self[id].preparation = Preparation::Succeeds;
        let life = self[id].attached.expect("a stranger is watched");
        self.tell(id, ServiceEvent::ForeignProcessLeft(life, departure));
    }

    fn schedule(&mut self, after: Duration, due: Due) {
        self.scheduled += 1;
        self.due
            .insert((self.now.after(after), self.scheduled), due);
    }

    fn execute(&mut self, id: ServiceId, order: ServiceAction) {
        match order {
            ServiceAction::ScanOutcome => {
                let left = self[id].left.clone();
                if let ScanOutcome::Ours(leftover) = &left {
                    self[id].alive = leftover.main.map(|_| leftover.life);
                }
                self.tell(id, ServiceEvent::RecoveryScanned(left));
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
                    self.later(id, ServiceEvent::PortHeld(life, actor::holder()));
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
                let takes = if self[id].stuck { KILL_DEADLINE } else { SOON };
                self.schedule(takes, Due::Killed(id, life));
            }
            ServiceAction::Probe {
                life,
                check,
                deadline,
            } => self.is_asked(id, life, check, deadline),
            ServiceAction::TakeEvidence { life, .. } => {
                self.schedule(
                    self[id].evidence_takes,
                    Due::ServiceEvent(id, ServiceEvent::EvidenceTaken(life)),
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
            | ServiceAction::Conclude(..)
            | ServiceAction::Record(_)
            | ServiceAction::Persist(_) => {}
        }
    }

    fn later(&mut self, id: ServiceId, fact: ServiceEvent) {
        self.schedule(SOON, Due::ServiceEvent(id, fact));
    }

    fn is_asked(&mut self, id: ServiceId, life: Life, check: Check, deadline: Instant) {
        let actor = &self[id];
        let answer = match check {
            Check::Liveness => actor.answer.clone(),
            Check::Readiness => actor.readiness.clone(),
        };
        let silent = matches!(answer, Answer::Dead { .. });
        let asked_at = self.now.after(actor.send_late);
        let latency = if silent {
            deadline.since(asked_at)
        } else {
            SOON
        };
        let sample = if silent {
            actor.sample
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
        if !actor.mute {
            let takes = asked_at.since(self.now) + latency;
            self.schedule(
                takes,
                Due::ServiceEvent(id, ServiceEvent::Probed(life, check, attempt)),
            );
        }
    }

    pub(crate) fn shown(&self, id: ServiceId) -> Snapshot {
        self.machine
            .snapshot(self.now, id)
            .expect("a service of this stage")
    }

    pub(crate) fn phase(&self, id: ServiceId) -> Phase {
        self.shown(id).phase
    }

    /// When an order that `is` so was given for `id`.
    pub(crate) fn when(&self, id: ServiceId, is: impl Fn(&ServiceAction) -> bool) -> Vec<Instant> {
        self.orders(id)
            .filter(|(_, order)| is(order))
            .map(|(at, _)| at)
            .collect()
    }

    fn orders(&self, id: ServiceId) -> impl Iterator<Item = (Instant, &ServiceAction)> {
        self.log.iter().filter_map(move |done| match &done.action {
            Action::Service(of, order) if *of == id => Some((done.at, order)),
            Action::Service(..) | Action::AnnounceReady | Action::Finish => None,
        })
    }

    pub(crate) fn kills(&self, id: ServiceId) -> Vec<Instant> {
        self.when(id, |order| matches!(order, ServiceAction::KillTree(_)))
    }

    pub(crate) fn spawns(&self, id: ServiceId) -> Vec<Instant> {
        self.when(id, |order| matches!(order, ServiceAction::Spawn(_)))
    }

    /// What was recorded of this kind.
    pub(crate) fn said(&self, id: ServiceId, kind: Kind) -> Vec<String> {
        let records = self.orders(id).filter_map(|(_, order)| match order {
            ServiceAction::Record(record) if record.kind == kind => Some(record.sentence.clone()),
            _ => None,
        });
        records.collect()
    }

    pub(crate) fn kept(&self, id: ServiceId) -> Vec<Persist> {
        let kept = self.orders(id).filter_map(|(_, order)| match order {
            ServiceAction::Persist(keep) => Some(keep.clone()),
            _ => None,
        });
        kept.collect()
    }

    pub(crate) fn count(&self, action: &Action) -> usize {
        self.log
            .iter()
            .filter(|done| done.action == *action)
            .count()
    }

    /// What a new machine makes of the same events at the same moments.
    pub(crate) fn replayed(&self) -> Vec<Done> {
        let mut machine = Machine::default();
        for policy in &self.policies {
            add_to(&mut machine, *policy);
        }
        let mut log = Vec::new();
        for (at, event) in &self.history {
            let actions = machine.step(*at, event.clone());
            log.extend(actions.into_iter().map(|action| Done { at: *at, action }));
        }
        log
    }
}

impl Index<ServiceId> for Stage {
    type Output = Actor;

    fn index(&self, id: ServiceId) -> &Actor {
        &self.actors[id.0]
    }
}

impl IndexMut<ServiceId> for Stage {
    fn index_mut(&mut self, id: ServiceId) -> &mut Actor {
        &mut self.actors[id.0]
    }
}

fn add_to(machine: &mut Machine, policy: Policy) -> ServiceId {
    let identity = Identity {
        name: "db".into(),
        question: "SELECT 1".into(),
        program: "victim".into(),
        salt: 1,
    };
    machine.add(policy, identity)
}
