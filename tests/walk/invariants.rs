//! The model of one service outside the machine, and the invariants: what must hold for every action that the machine
//! orders for the service.

use stayd::decide::action::{RecordKind, ServiceAction};
use stayd::decide::clock::Instant;
use stayd::decide::event::{
    Answer, Event, Life, PersistedState, Request, ScanOutcome, ServiceEvent, ServiceMessage,
};
use stayd::decide::fleet::COMMON_CAUSE_WINDOW;

/// As many attempts without a verdict as a kill needs dead ones.
pub(crate) const UNJUDGED_MAX: u32 = 2;

/// What is the case outside the machine, for one service.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub(crate) struct ServiceModel {
    /// The main process of this instance exists (perhaps as a zombie).
    pub(crate) main: Option<Life>,
    /// Members of the tree exist besides the main process.
    pub(crate) others: bool,
    /// SIGKILL is ordered for this instance.
    pub(crate) killed: Option<Life>,
    /// A probe attempt of this instance is under way: when it was asked, and its deadline.
    pub(crate) asked: Option<(Life, Instant, Instant)>,
    /// The current instance has answered.
    pub(crate) answered: bool,
    /// Dead attempts delivered since the last attempt that was not dead, for the current instance.
    pub(crate) consecutive_dead: u32,
    /// Consecutive attempts without a verdict, counted up to [`UNJUDGED_MAX`].
    pub(crate) consecutive_unjudged: u32,
    pub(crate) hold: bool,
    /// An instance of the service has answered this probe.
    pub(crate) ever_answered: bool,
    pub(crate) wanted_up: bool,
    pub(crate) scanning: bool,
    /// The preparation of this instance has reported that a foreign process holds the port.
    pub(crate) held: Option<Life>,
    /// That process is monitored, under this number.
    pub(crate) attached: Option<Life>,
    /// A process runs that may be a copy and cannot be proven ours.
    pub(crate) unclear: bool,
    /// The runtimes for this instance are looked at.
    pub(crate) copying: Option<Life>,
    pub(crate) preparing: Option<Life>,
    pub(crate) spawning: Option<Life>,
    pub(crate) collecting_evidence: Option<Life>,
}

/// The step in which an action was ordered.
pub(crate) struct Step<'a> {
    pub(crate) now: Instant,
    pub(crate) event: &'a Event,
    /// The event is a dead attempt.
    pub(crate) is_dead_attempt: bool,
    /// Shutdown was requested.
    pub(crate) leaving: bool,
    /// With this attempt all services are silent at once, the last of them since then.
    pub(crate) silent_together_since: Option<Instant>,
}

impl Step<'_> {
    fn is(&self, matches: impl Fn(&ServiceEvent) -> bool) -> bool {
        matches!(self.event, Event::Service(_, event) if matches(event))
    }
}

impl ServiceModel {
    pub(crate) fn new(past: &PersistedState) -> Self {
        Self {
            wanted_up: !past.stopped,
            ever_answered: past.proven,
            ..Self::default()
        }
    }

    const fn runs(&self) -> bool {
        self.main.is_some() || self.others
    }

    /// Applies an event to the model. Returns whether it is a dead attempt.
    pub(crate) fn apply_event(&mut self, event: &ServiceEvent) -> bool {
        let mut dead = false;
        match event {
            ServiceEvent::Requested(Request::Stop) => self.wanted_up = false,
            ServiceEvent::Requested(Request::Start | Request::Restart) => self.wanted_up = true,
            ServiceEvent::Requested(Request::Hold { .. }) => self.hold = true,
            ServiceEvent::Requested(Request::Release) => self.hold = false,
            ServiceEvent::Materialized(..) => self.copying = None,
            ServiceEvent::Prepared(_)
            | ServiceEvent::NotPrepared(..)
            | ServiceEvent::BeforeFailed(..) => {
                self.preparing = None;
                self.copying = None;
            }
            ServiceEvent::PortHeld(life, _) => {
                self.preparing = None;
                self.held = Some(*life);
            }
            ServiceEvent::Spawned(life, _) => {
                self.spawning = None;
                self.main = Some(*life);
                self.answered = false;
                self.consecutive_dead = 0;
                self.consecutive_unjudged = 0;
            }
            ServiceEvent::NotSpawned(..) => self.spawning = None,
            ServiceEvent::Exited(_, _, survivors) => {
                self.main = None;
                self.asked = None;
                self.others = survivors.count > 0;
            }
            ServiceEvent::TreeEmptied(_) => self.others = false,
            ServiceEvent::KillTimedOut { .. } => self.others = self.main.is_none(),
            ServiceEvent::Probed(_, _, attempt) => {
                self.asked = None;
                let answered = attempt.answer.is_answer();
                self.answered |= answered;
                // The answers of a foreign process prove nothing about the configured command.
                self.ever_answered |= answered && self.attached.is_none();
                dead = matches!(attempt.answer, Answer::Dead { .. }) && !attempt.sample.traced;
                self.consecutive_unjudged = if answered || dead {
                    0
                } else {
                    (self.consecutive_unjudged + 1).min(UNJUDGED_MAX)
                };
                self.consecutive_dead = match attempt.answer {
                    Answer::NoVerdict { .. } => self.consecutive_dead,
                    _ if dead => self.consecutive_dead + 1,
                    _ => 0,
                };
            }
            ServiceEvent::EvidenceCollected(_) => self.collecting_evidence = None,
            ServiceEvent::RecoveryScanned(outcome) => {
                self.scanning = false;
                self.unclear = matches!(outcome, ScanOutcome::Unclear(_));
                if let ScanOutcome::Adoptable(instance) = outcome {
                    self.main = instance.main.map(|_| instance.life);
                    self.others = instance.main.is_none();
                    self.answered = false;
                }
            }
            ServiceEvent::Configured(_)
            | ServiceEvent::ForeignProcessLeft(..)
            | ServiceEvent::Notified(..)
            | ServiceEvent::Changed => {}
        }
        dead
    }

    /// Checks an action against the invariants, and applies it to the model.
    pub(crate) fn check_and_apply(&mut self, action: &ServiceAction, step: &Step<'_>) {
        assert!(
            self.attached.is_none() || !affects_a_process(action),
            "no action affects a foreign process: {action:?}"
        );
        match action {
            ServiceAction::RecoveryScan => {
                assert!(!self.scanning && !self.runs());
                self.scanning = true;
                self.unclear = false;
            }
            ServiceAction::Materialize(life) => {
                self.assert_may_start(step);
                assert!(self.copying.is_none() && self.preparing.is_none());
                self.copying = Some(*life);
            }
            ServiceAction::Prepare(life) => {
                self.assert_may_start(step);
                assert!(self.copying.is_none(), "starts only from a complete copy");
                assert!(self.preparing.is_none() && self.spawning.is_none());
                self.preparing = Some(*life);
            }
            ServiceAction::Spawn(life) => {
                self.assert_may_start(step);
                assert!(self.wanted_up && self.spawning.is_none());
                self.spawning = Some(*life);
            }
            ServiceAction::Attach { life, .. } => {
                assert_eq!(self.held, Some(*life), "a foreign process holds the port");
                assert!(self.wanted_up && !step.leaving && !self.runs());
                self.held = None;
                self.attached = Some(*life);
                self.answered = false;
                self.consecutive_dead = 0;
                self.consecutive_unjudged = 0;
            }
            ServiceAction::CancelPreparation(life) => {
                assert_eq!(self.preparing.or(self.copying), Some(*life));
            }
            ServiceAction::CollectEvidence { life, .. } => {
                assert_eq!(self.main.or(self.attached), Some(*life));
                self.assert_may_kill(step);
                self.collecting_evidence = Some(*life);
            }
            ServiceAction::SignalFirst(life) => assert_eq!(self.main, Some(*life)),
            ServiceAction::KillTree(life) => {
                assert!(self.spawning.is_none(), "no kill before exec is reported");
                assert!(
                    self.main == Some(*life) || self.others,
                    "a kill needs a process"
                );
                self.killed = Some(*life);
            }
            ServiceAction::Terminate { life, tree } => {
                assert!(*tree || self.main == Some(*life), "only its own process");
                let requested =
                    step.is(|event| matches!(event, ServiceEvent::Requested(Request::Restart)));
                let unwanted_when_found = step.is(|event| {
                    matches!(
                        event,
                        ServiceEvent::Spawned(..) | ServiceEvent::RecoveryScanned(_)
                    )
                });
                assert!(
                    !self.wanted_up || step.leaving || *tree || requested || unwanted_when_found
                );
            }
            ServiceAction::SuperviseSuccessor { life, .. } => {
                self.main = Some(*life);
                self.others = false;
            }
            ServiceAction::Probe { life, deadline, .. } => {
                assert_eq!(self.main.or(self.attached), Some(*life));
                assert!(*deadline > step.now);
                self.asked = Some((*life, step.now, *deadline));
            }
            ServiceAction::Retire(_) | ServiceAction::RetireKeepingClaim(..) => {
                assert!(!self.runs(), "retired only when its tree is empty");
                self.held = None;
                self.attached = None;
                self.asked = None;
                self.killed = None;
                self.collecting_evidence = None;
                self.consecutive_dead = 0;
            }
            ServiceAction::Record(record) => {
                assert!(!record.sentence.is_empty());
                if record.kind == RecordKind::Ready {
                    self.consecutive_dead = 0;
                }
            }
            ServiceAction::CloseSockets => assert!(self.main.is_none() && !step.leaving),
            ServiceAction::Persist(_)
            | ServiceAction::AwaitChange(_)
            | ServiceAction::UseRuntime(_)
            | ServiceAction::MarkRuntimeGood(_)
            | ServiceAction::MarkRuntimeBad(..) => {}
            ServiceAction::MarkReady(life) => assert_eq!(self.main, Some(*life)),
        }
    }

    fn assert_may_start(&self, step: &Step<'_>) {
        assert!(!step.leaving, "shutdown wins over every pending start");
        assert!(
            !self.scanning && !self.unclear && !self.runs(),
            "never two copies: {self:?}"
        );
    }

    /// Evidence is collected only for a wedge that leads to a kill, or that would if the process were ours.
    fn assert_may_kill(&self, step: &Step<'_>) {
        let triggered =
            step.is(|event| matches!(event, ServiceEvent::Notified(_, ServiceMessage::Trigger)));
        assert!(!self.hold, "no kill during a hold");
        if triggered {
            return;
        }
        assert!(
            step.is_dead_attempt,
            "only a dead attempt leads to a kill, not {:?}",
            step.event
        );
        assert!(
            self.ever_answered || self.attached.is_some() && self.answered,
            "no kill before the first answer"
        );
        assert!(
            self.consecutive_dead >= 2,
            "{} consecutive dead attempts are no wedge",
            self.consecutive_dead
        );
        assert!(
            step.silent_together_since
                .is_none_or(|since| step.now.since(since) >= COMMON_CAUSE_WINDOW),
            "all services are silent at once: no kill in the first window"
        );
    }
}

/// Whether an action signals a process, or starts one: forbidden while a foreign process is monitored.
fn affects_a_process(action: &ServiceAction) -> bool {
    match action {
        ServiceAction::Terminate { .. }
        | ServiceAction::SignalFirst(_)
        | ServiceAction::KillTree(_)
        | ServiceAction::SuperviseSuccessor { .. }
        | ServiceAction::Prepare(_)
        | ServiceAction::Spawn(_)
        | ServiceAction::RecoveryScan => true,
        ServiceAction::Attach { .. }
        | ServiceAction::CancelPreparation(_)
        | ServiceAction::Probe { .. }
        | ServiceAction::CollectEvidence { .. }
        | ServiceAction::Retire(_)
        | ServiceAction::RetireKeepingClaim(..)
        | ServiceAction::CloseSockets
        | ServiceAction::AwaitChange(_)
        | ServiceAction::Record(_)
        | ServiceAction::Materialize(_)
        | ServiceAction::UseRuntime(_)
        | ServiceAction::MarkRuntimeGood(_)
        | ServiceAction::MarkRuntimeBad(..)
        | ServiceAction::MarkReady(_)
        | ServiceAction::Persist(_) => false,
    }
}
