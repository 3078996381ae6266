//! The machine: all services together. It gives each event to its service, and decides what concerns all of them: which
//! deadline is next, whether the host is suspected (common cause), READY=1, and the end.

use super::action::{Action, Record, RecordKind, RecordValue, ServiceAction};
use super::clock::{Duration, Instant};
use super::common_cause::{self, SilentSpan};
use super::event::{Answer, Event, ServiceEvent, ServiceId};
use super::policy::Policy;
use super::snapshot::{Phase, Snapshot};
use super::state::{KillPermit, Service, ServiceDescription};
use std::collections::BTreeSet;

pub use super::common_cause::SERVICES_MIN as COMMON_CAUSE_SERVICES_MIN;

/// While the host is suspected, this much time passes before the first kill and between two kills.
pub const COMMON_CAUSE_WINDOW: Duration = Duration::from_secs(60);

/// All services: takes events, returns actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    services: Vec<Service>,
    /// The deadline of each service, in order, so that the next one is found without a scan of every service.
    deadlines: BTreeSet<(Instant, ServiceId)>,
    summaries: Vec<ServiceSummary>,
    counts: Counts,
    suspicion: Option<HostSuspicion>,
    shutting_down: bool,
    forced: bool,
    announced: bool,
    finished: bool,
    /// Actions of the step under way.
    pending: Vec<ServiceAction>,
}

/// The state of one service that concerns all services, so that no decision about all services has to scan each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ServiceSummary {
    due: Instant,
    /// Under an armed watchdog.
    watched: bool,
    /// Under an armed watchdog, and its last attempts were dead.
    silent: bool,
    /// Neither ready, nor known to be unable to become ready.
    undecided: bool,
    up: bool,
}

impl ServiceSummary {
    fn of(service: &Service) -> Self {
        let watch = service.under_watch();
        Self {
            due: service.deadline(),
            watched: watch.is_some(),
            silent: watch.is_some_and(|watch| watch.dead_since.is_some()),
            undecided: !service.has_verdict(),
            up: !service.is_down(),
        }
    }
}

/// How many services are in each of these states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Counts {
    watched: usize,
    silent: usize,
    undecided: usize,
    up: usize,
}

impl Counts {
    fn add(&mut self, summary: ServiceSummary) {
        self.watched += usize::from(summary.watched);
        self.silent += usize::from(summary.silent);
        self.undecided += usize::from(summary.undecided);
        self.up += usize::from(summary.up);
    }

    fn remove(&mut self, summary: ServiceSummary) {
        self.watched -= usize::from(summary.watched);
        self.silent -= usize::from(summary.silent);
        self.undecided -= usize::from(summary.undecided);
        self.up -= usize::from(summary.up);
    }
}

/// All watched services are silent at once, so the host is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct HostSuspicion {
    since: Instant,
    last_kill: Option<Instant>,
}

impl Machine {
    /// Adds a service; it waits for [`ServiceEvent::Configured`].
    pub fn add(&mut self, policy: Policy, description: ServiceDescription) -> ServiceId {
        let id = ServiceId(self.services.len());
        let service = Service::new(policy, description);
        let summary = ServiceSummary::of(&service); // it waits for `Configured`, so it has no deadline
        self.counts.add(summary);
        self.summaries.push(summary);
        self.services.push(service);
        id
    }

    /// Takes one event at `now` and returns the actions that follow.
    #[must_use]
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {
                // Each service once: a handler that leaves its deadline unchanged must not keep the others waiting.
                let due = self.deadlines.range(..=(now, ServiceId(usize::MAX)));
                let due: Vec<ServiceId> = due.map(|(_, id)| *id).collect();
                for id in due {
                    self.step_one(now, id, None, &mut actions);
                }
            }
            Event::Slept(duration) => {
                self.suspicion = None;
                self.for_all(&mut actions, |service, out| {
                    service.slept(now, duration, out);
                });
            }
            Event::Late(cause) => {
                self.for_all(&mut actions, |service, _| service.was_late(now, &cause));
            }
            Event::Shutdown => {
                let at_once = self.shutting_down;
                self.forced = at_once;
                self.shutting_down = true;
                self.for_all(&mut actions, |service, out| {
                    service.shut_down(now, at_once, out);
                });
            }
            Event::Service(id, event) => {
                if id.0 < self.services.len() {
                    self.step_one(now, id, Some(event), &mut actions);
                }
            }
        }
        self.conclude_step(&mut actions);
        actions
    }

    /// When the machine next needs an [`Event::Tick`]; [`Instant::NEVER`] when it waits only for events.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        if self.finished {
            return Instant::NEVER;
        }
        self.deadlines
            .first()
            .map_or(Instant::NEVER, |(due, _)| *due)
    }

    /// One service as users see it at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant, id: ServiceId) -> Option<Snapshot> {
        self.services.get(id.0).map(|service| service.snapshot(now))
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Why `restart` and `reload` of `id` are refused: it is attached to a foreign process. `None` otherwise.
    #[must_use]
    pub fn control_refusal(&self, id: ServiceId) -> Option<String> {
        self.services.get(id.0)?.control_refusal()
    }

    fn step_one(
        &mut self,
        now: Instant,
        id: ServiceId,
        event: Option<ServiceEvent>,
        actions: &mut Vec<Action>,
    ) {
        let is_attempt = matches!(event, Some(ServiceEvent::Probed(..)));
        let may_kill = matches!(
            &event,
            Some(ServiceEvent::Probed(_, _, attempt))
                if matches!(attempt.answer, Answer::Dead { .. } | Answer::Degraded { .. }) || attempt.sample.stopped
        );
        let permit = if may_kill {
            self.permit(now, id)
        } else {
            KillPermit::Allowed
        };
        let was_wedged = self.services[id.0].phase() == Phase::Wedged;
        self.services[id.0].step(now, event, permit, &mut self.pending);
        self.update(id, actions);
        if is_attempt {
            let kill_pending = !was_wedged && self.services[id.0].phase() == Phase::Wedged;
            self.update_suspicion(now, id, kill_pending, actions);
        }
    }

    fn for_all(
        &mut self,
        actions: &mut Vec<Action>,
        mut each: impl FnMut(&mut Service, &mut Vec<ServiceAction>),
    ) {
        for index in 0..self.services.len() {
            each(&mut self.services[index], &mut self.pending);
            self.update(ServiceId(index), actions);
        }
    }

    /// Moves a service's actions out, and updates its summary and its deadline.
    fn update(&mut self, id: ServiceId, actions: &mut Vec<Action>) {
        actions.extend(
            self.pending
                .drain(..)
                .map(|action| Action::Service(id, action)),
        );
        let new = ServiceSummary::of(&self.services[id.0]);
        let old = core::mem::replace(&mut self.summaries[id.0], new);
        self.counts.remove(old);
        self.counts.add(new);
        if old.due != new.due {
            self.deadlines.remove(&(old.due, id));
            if new.due != Instant::NEVER {
                self.deadlines.insert((new.due, id));
            }
        }
    }

    fn conclude_step(&mut self, actions: &mut Vec<Action>) {
        if !self.announced && !self.shutting_down && self.counts.undecided == 0 {
            self.announced = true;
            actions.push(Action::AnnounceReady);
        }
        // Wait for unkillable processes, unless shutdown was requested twice; their claims stay on disk.
        let is_over =
            self.counts.up == 0 || self.forced && self.services.iter().all(Service::is_past_ending);
        if self.shutting_down && !self.finished && is_over {
            self.finished = true;
            actions.push(Action::Finish);
        }
    }

    /// Whether a dead attempt of `id` that ends now may kill.
    fn permit(&self, now: Instant, id: ServiceId) -> KillPermit {
        let suspected = self.suspicion.or_else(|| {
            self.has_common_cause(now, id).then_some(HostSuspicion {
                since: now,
                last_kill: None,
            })
        });
        let Some(suspicion) = suspected else {
            return KillPermit::Allowed;
        };
        let last = suspicion.last_kill.unwrap_or(suspicion.since);
        if now.since(last) >= COMMON_CAUSE_WINDOW {
            KillPermit::Allowed
        } else {
            KillPermit::HostSuspected
        }
    }

    /// Whether `id` may have fallen silent together with others because of the host. A service that is not silent yet
    /// counts as silent from now on.
    fn has_common_cause(&self, now: Instant, id: ServiceId) -> bool {
        let joins = self.summaries[id.0].watched && !self.summaries[id.0].silent;
        let silent = self.counts.silent + usize::from(joins);
        if silent < common_cause::SERVICES_MIN {
            return false;
        }
        let span_of = |at: usize, one: &Service| {
            let watch = one.under_watch()?;
            let joined = (joins && at == id.0).then_some(now);
            Some(SilentSpan {
                alive_at: watch.answered_at.unwrap_or(watch.began_at),
                dead_at: watch.dead_since.or(joined),
            })
        };
        let Some(subject) = span_of(id.0, &self.services[id.0]) else {
            return false;
        };
        let spans = self.services.iter().enumerate();
        let spans: Vec<SilentSpan> = spans.filter_map(|(at, one)| span_of(at, one)).collect();
        common_cause::is_possible(subject, &spans)
    }

    /// After an attempt: begins the suspicion if the services fell silent together, notes a kill, and ends the suspicion
    /// if a service answers without a kill.
    fn update_suspicion(
        &mut self,
        now: Instant,
        id: ServiceId,
        kill_pending: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(suspicion) = &mut self.suspicion else {
            if self.summaries[id.0].silent && self.has_common_cause(now, id) {
                self.suspicion = Some(HostSuspicion {
                    since: now,
                    last_kill: kill_pending.then_some(now),
                });
                let sentence = format!(
                    "all services that were asked fell silent at once: the host is suspected; no kill for {} s, then one each {} s",
                    COMMON_CAUSE_WINDOW.as_secs(),
                    COMMON_CAUSE_WINDOW.as_secs()
                );
                actions.push(self.common_cause_record(id, sentence));
            }
            return;
        };
        if kill_pending {
            suspicion.last_kill = Some(now);
            return;
        }
        let since = suspicion.since;
        if self.is_cleared_by(id, since) {
            self.suspicion = None;
            actions.push(self.common_cause_record(
                id,
                "services answer again: the host is no longer suspected".into(),
            ));
        }
    }

    /// An answer clears the host when it came without a kill, or when no instance is left that ran when the suspicion
    /// began. The latter scans all services, but only while the host is suspected and a new instance reports.
    fn is_cleared_by(&self, id: ServiceId, since: Instant) -> bool {
        let is_older = |one: &Service| {
            one.under_watch()
                .is_some_and(|watch| watch.began_at < since)
        };
        let reporter = &self.services[id.0];
        reporter.answers() && (is_older(reporter) || !self.services.iter().any(is_older))
    }

    fn common_cause_record(&self, id: ServiceId, sentence: String) -> Action {
        let count = u64::try_from(self.counts.watched).unwrap_or(u64::MAX);
        let facts = vec![("services", RecordValue::Number(count))];
        Action::Service(
            id,
            ServiceAction::Record(Record {
                kind: RecordKind::CommonCause,
                life: None,
                sentence,
                facts,
            }),
        )
    }
}
