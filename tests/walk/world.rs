//! The world around the machine: plays the operating system, and holds every order against the laws.

use super::law::{is_restart, spawned, surveyed, touches};
use stayd::decide::action::{Action, ServiceAction};
use stayd::decide::clock::{Duration, Instant};
use stayd::decide::event::{
    Answer, Event, Life, PersistedState, Request, ScanOutcome, ServiceEvent, ServiceId,
    ServiceMessage,
};
use stayd::decide::fleet::Machine;
use stayd::decide::policy::Policy;
use stayd::decide::snapshot::Phase;
use stayd::decide::state::Identity;
use std::hash::{BuildHasher, RandomState};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const ID: ServiceId = ServiceId(0);

/// What is the case outside the machine, for one service.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Main process alive (as a zombie too) of this life.
    pub(crate) main: Option<Life>,
    /// Members of the tree besides the main process.
    pub(crate) others: bool,
    /// SIGKILL ordered for this life.
    pub(crate) killed: Option<Life>,
    /// A question of this life is under way, with its times.
    pub(crate) asked: Option<(Life, Instant, Instant)>,
    /// An answer of this service's current life has come.
    pub(crate) answered: bool,
    /// Dead rounds delivered since the last round that was not, for this life.
    pub(crate) dead_row: u32,
    pub(crate) hold: bool,
    pub(crate) debugged: bool,
    pub(crate) ever_answered: bool,
    pub(crate) wanted_up: bool,
    pub(crate) surveying: bool,
    /// Somebody else's process holds the port, of which this life's preparation has told.
    pub(crate) held: Option<Life>,
    /// That process is watched, under the number of this life.
    pub(crate) attached: Option<Life>,
    /// Something that may be a copy runs, and cannot be proven.
    pub(crate) unclear: bool,
    /// The runtimes of this life are looked at.
    pub(crate) copying: Option<Life>,
    pub(crate) preparing: Option<Life>,
    pub(crate) spawning: Option<Life>,
    pub(crate) taking_evidence: Option<Life>,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    pub(crate) outside: Outside,
    /// Facts about lives that are over, still on their way.
    pub(crate) leaving: bool,
    pub(crate) finished: bool,
}

/// What may happen next.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    Deadline,
    PastDeadline,
    Shutdown,
    Slept,
    Late,
    ServiceEvent(ServiceEvent),
    StaleFact(ServiceEvent),
}

impl World {
    /// Nothing was left by an earlier stayd.
    pub(crate) fn new(policy: Policy, past: PersistedState) -> Self {
        let mut world = Self::before_the_survey(policy, past);
        world.become_true(ServiceEvent::RecoveryScanned(ScanOutcome::Nothing(Life(0))));
        world
    }

    pub(crate) fn before_the_survey(policy: Policy, past: PersistedState) -> Self {
        let mut machine = Machine::default();
        let identity = Identity {
            name: "db".into(),
            question: "SELECT 1".into(),
            program: "victim".into(),
            salt: 1,
        };
        let id = machine.add(policy, identity);
        assert_eq!(id, ID);
        let outside = Outside {
            wanted_up: !past.stopped,
            ever_answered: past.proven,
            ..Outside::default()
        };
        let mut world = Self {
            machine,
            now: Instant::START,
            outside,
            leaving: false,
            finished: false,
        };
        world.deliver(Event::Service(ID, ServiceEvent::Configured(past)), false);
        world
    }

    /// Steps the machine and checks every order against the world.
    #[expect(clippy::needless_pass_by_value, reason = "handed over, as in the loop")]
    pub(crate) fn deliver(&mut self, event: Event, is_dead_round: bool) {
        let before = self.machine.clone();
        let actions = self.machine.step(self.now, event.clone());
        let mut again = before;
        assert_eq!(
            again.step(self.now, event.clone()),
            actions,
            "same input, same output"
        );
        for action in actions {
            match action {
                Action::Service(id, order) => {
                    assert_eq!(id, ID);
                    self.check_and_do(order, is_dead_round, &event);
                }
                Action::AnnounceReady => assert!(!self.leaving),
                Action::Finish => {
                    let shown = self.machine.snapshot(self.now, ID);
                    let stuck = shown.is_some_and(|shown| shown.phase == Phase::Unkillable);
                    let runs = self.outside.main.is_some() && !stuck;
                    assert!(!runs, "ends only when nothing runs that could be ended");
                    assert!(self.outside.spawning.is_none());
                    self.finished = true;
                }
            }
        }
    }

    pub(crate) fn check_and_do(
        &mut self,
        order: ServiceAction,
        is_dead_round: bool,
        event: &Event,
    ) {
        let outside = &mut self.outside;
        assert!(
            outside.attached.is_none() || !touches(&order),
            "nobody touches a stranger: {order:?}"
        );
        match order {
            ServiceAction::ScanOutcome => {
                assert!(!outside.surveying && outside.main.is_none() && !outside.others);
                outside.surveying = true;
                outside.unclear = false;
            }
            ServiceAction::Materialize(life) => {
                assert!(!outside.surveying && !outside.unclear && !self.leaving);
                assert!(outside.main.is_none() && !outside.others);
                assert!(outside.copying.is_none() && outside.preparing.is_none());
                outside.copying = Some(life);
            }
            ServiceAction::Prepare(life) => {
                assert!(outside.copying.is_none(), "runs from what is whole");
                assert!(!outside.surveying && !outside.unclear, "never two copies");
                assert!(!self.leaving, "the end wins over every pending start");
                assert!(
                    outside.main.is_none() && !outside.others,
                    "never two copies: {life:?} while one lives"
                );
                assert!(outside.preparing.is_none() && outside.spawning.is_none());
                outside.preparing = Some(life);
            }
            ServiceAction::Spawn(life) => {
                assert!(!self.leaving && outside.wanted_up);
                assert!(
                    outside.main.is_none() && !outside.others,
                    "never two copies"
                );
                assert!(outside.spawning.is_none());
                outside.spawning = Some(life);
            }
            ServiceAction::Attach { life, .. } => {
                assert_eq!(outside.held, Some(life), "somebody holds the port");
                assert!(outside.wanted_up && !self.leaving);
                assert!(outside.main.is_none() && !outside.others);
                outside.held = None;
                outside.attached = Some(life);
                outside.answered = false;
                outside.dead_row = 0;
            }
            ServiceAction::CancelPreparation(life) => {
                assert_eq!(outside.preparing.or(outside.copying), Some(life));
            }
            ServiceAction::TakeEvidence { life, .. } => {
                assert_eq!(outside.main.or(outside.attached), Some(life));
                let triggered = matches!(
                    event,
                    Event::Service(_, ServiceEvent::ServiceMessage(_, ServiceMessage::Trigger))
                );
                assert!(
                    is_dead_round || triggered,
                    "only a dead round condemns, not {event:?}"
                );
                assert!(
                    outside.ever_answered
                        || triggered
                        || outside.attached.is_some() && outside.answered,
                    "none before the first answer"
                );
                assert!(!outside.hold, "a hold kills nobody");
                assert!(
                    triggered || outside.dead_row >= 2,
                    "a row of {} is no wedge",
                    outside.dead_row
                );
                outside.taking_evidence = Some(life);
            }
            ServiceAction::SignalFirst(life) => assert_eq!(outside.main, Some(life)),
            ServiceAction::KillTree(life) => {
                assert!(
                    outside.spawning.is_none(),
                    "no kill before exec is reported"
                );
                assert!(
                    outside.main == Some(life) || outside.others,
                    "a kill needs somebody to kill"
                );
                outside.killed = Some(life);
            }
            ServiceAction::Terminate { life, tree } => {
                assert!(
                    tree || outside.main == Some(life),
                    "terminates its own main process"
                );
                assert!(
                    !outside.wanted_up
                        || self.leaving
                        || is_restart(event)
                        || tree
                        || spawned(event)
                        || surveyed(event)
                );
            }
            ServiceAction::SuperviseSuccessor { life, .. } => {
                outside.main = Some(life);
                outside.others = false;
            }
            ServiceAction::Probe { life, deadline, .. } => {
                assert_eq!(outside.main.or(outside.attached), Some(life));
                assert!(deadline > self.now);
                outside.asked = Some((life, self.now, deadline));
            }
            ServiceAction::Retire(_) | ServiceAction::Conclude(..) => {
                assert!(outside.main.is_none() && !outside.others);
                outside.held = None;
                outside.attached = None;
                outside.asked = None;
                outside.killed = None;
                outside.taking_evidence = None;
                outside.dead_row = 0;
            }
            ServiceAction::Record(record) => {
                assert!(!record.sentence.is_empty());
                if record.sentence.starts_with("ready after") {
                    outside.dead_row = 0;
                }
            }
            ServiceAction::CloseSockets => assert!(outside.main.is_none() && !self.leaving),
            ServiceAction::Persist(_)
            | ServiceAction::AwaitChange(_)
            | ServiceAction::UseRuntime(_)
            | ServiceAction::MarkRuntimeGood(_)
            | ServiceAction::MarkRuntimeBad(..) => {}
        }
    }

    pub(crate) fn happen(&mut self, next: Next) {
        match next {
            Next::Deadline => {
                self.now = self.machine.deadline().max(self.now);
                self.tick();
            }
            Next::PastDeadline => {
                self.now = self.machine.deadline().max(self.now).after(SECOND / 2);
                self.tick();
            }
            Next::Shutdown => {
                self.leaving = true;
                self.deliver(Event::Shutdown, false);
            }
            Next::Slept => {
                self.outside.dead_row = 0;
                self.deliver(Event::Slept(SECOND * 3600), false);
            }
            Next::Late => self.deliver(Event::Late(SECOND), false),
            Next::StaleFact(fact) => {
                let before = self.machine.clone();
                let actions = self
                    .machine
                    .step(self.now, Event::Service(ID, fact.clone()));
                assert!(
                    actions.is_empty(),
                    "a late fact changes nothing: {fact:?} gave {actions:?}"
                );
                assert_eq!(
                    before, self.machine,
                    "a late fact changes nothing: {fact:?}"
                );
            }
            Next::ServiceEvent(fact) => self.become_true(fact),
        }
    }

    pub(crate) fn tick(&mut self) {
        self.outside.hold = self
            .machine
            .snapshot(self.now, ID)
            .is_some_and(|shown| shown.hold.is_some_and(|(until, _)| until > self.now));
        self.deliver(Event::Tick, false);
    }

    pub(crate) fn become_true(&mut self, fact: ServiceEvent) {
        let outside = &mut self.outside;
        let mut dead = false;
        match &fact {
            ServiceEvent::Requested(Request::Stop) => outside.wanted_up = false,
            ServiceEvent::Requested(Request::Start | Request::Restart) => outside.wanted_up = true,
            ServiceEvent::Requested(Request::Hold { .. }) => outside.hold = true,
            ServiceEvent::Requested(Request::Release) => outside.hold = false,
            ServiceEvent::Materialized(..) => outside.copying = None,
            ServiceEvent::Prepared(_)
            | ServiceEvent::NotPrepared(..)
            | ServiceEvent::BeforeFailed(..) => {
                outside.preparing = None;
                outside.copying = None;
            }
            ServiceEvent::PortHeld(life, _) => {
                outside.preparing = None;
                outside.held = Some(*life);
            }
            ServiceEvent::Spawned(life, _) => {
                outside.spawning = None;
                outside.main = Some(*life);
                outside.answered = false;
                outside.dead_row = 0;
            }
            ServiceEvent::NotSpawned(..) => outside.spawning = None,
            ServiceEvent::Exited(_, _, survivors) => {
                outside.main = None;
                outside.asked = None;
                outside.others = survivors.count > 0;
            }
            ServiceEvent::Emptied(_) => outside.others = false,
            ServiceEvent::Probed(_, _, attempt) => {
                outside.asked = None;
                let answered = matches!(attempt.answer, Answer::Alive | Answer::Degraded { .. });
                outside.answered |= answered;
                // what a stranger answers proves nothing about our own command
                outside.ever_answered |= answered && outside.attached.is_none();
                outside.debugged = attempt.sample.traced;
                dead = matches!(attempt.answer, Answer::Dead { .. }) && !attempt.sample.traced;
                outside.dead_row = match attempt.answer {
                    Answer::NoVerdict { .. } => outside.dead_row,
                    _ if dead => outside.dead_row + 1,
                    _ => 0,
                };
            }
            ServiceEvent::EvidenceTaken(_) => outside.taking_evidence = None,
            ServiceEvent::NotEmptied { .. } => outside.others = outside.main.is_none(),
            ServiceEvent::RecoveryScanned(survey) => {
                outside.surveying = false;
                outside.unclear = matches!(survey, ScanOutcome::Unclear(_));
                if let ScanOutcome::Ours(left) = survey {
                    outside.main = left.main.map(|_| left.life);
                    outside.others = left.main.is_none();
                }
            }
            ServiceEvent::Configured(_)
            | ServiceEvent::ForeignProcessLeft(..)
            | ServiceEvent::ServiceMessage(..)
            | ServiceEvent::Changed => {}
        }
        self.deliver(Event::Service(ID, fact), dead);
    }

    pub(crate) fn fingerprint(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((&self.machine, self.now, &self.outside, self.leaving))
    }
}
