//! All services together: whose turn it is, common cause, READY, the end.

use super::action::{Action, Kind, Record, ServiceAction, Value};
use super::clock::{Duration, Instant};
use super::event::{Event, ServiceEvent, ServiceId};
use super::policy::Policy;
use super::snapshot::{Phase, Snapshot};
use super::state::{Identity, Permit, Service};
use std::collections::BTreeSet;

/// From this many services on, all of them silent at once accuse the host.
pub const COMMON_CAUSE_SERVICES_MIN: usize = 3;
/// A suspected host is given this long before the first kill, and between two kills.
pub const COMMON_CAUSE_WINDOW: Duration = Duration::from_secs(60);

/// The whole machine: facts in, actions out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    services: Vec<Service>,
    periods: Vec<Duration>,
    /// Each service's deadline, so that the next one is found without asking all.
    deadlines: BTreeSet<(Instant, ServiceId)>,
    listed: Vec<Listed>,
    tally: Tally,
    suspicion: Option<Suspicion>,
    leaving: bool,
    forced: bool,
    announced: bool,
    finished: bool,
    orders: Vec<ServiceAction>,
}

/// What the fleet has to know of one service, so that no question about all of them asks each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Listed {
    due: Instant,
    watched: bool,
    silent: bool,
    undecided: bool,
    up: bool,
}

impl Listed {
    fn of(service: &Service) -> Self {
        let watch = service.under_watch();
        Self {
            due: service.deadline(),
            watched: watch.is_some(),
            silent: watch.is_some_and(|(_, row)| row.is_some()),
            undecided: !service.has_verdict(),
            up: !service.is_down(),
        }
    }
}

/// How many of the services are so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Tally {
    watched: usize,
    silent: usize,
    undecided: usize,
    up: usize,
}

impl Tally {
    fn add(&mut self, listed: Listed) {
        self.watched += usize::from(listed.watched);
        self.silent += usize::from(listed.silent);
        self.undecided += usize::from(listed.undecided);
        self.up += usize::from(listed.up);
    }

    fn remove(&mut self, listed: Listed) {
        self.watched -= usize::from(listed.watched);
        self.silent -= usize::from(listed.silent);
        self.undecided -= usize::from(listed.undecided);
        self.up -= usize::from(listed.up);
    }
}

/// Everything is silent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Suspicion {
    since: Instant,
    last_kill: Option<Instant>,
}

impl Machine {
    /// Adds a service; it waits for [`ServiceEvent::Configured`].
    pub fn add(&mut self, policy: Policy, identity: Identity) -> ServiceId {
        let id = ServiceId(self.services.len());
        self.periods.push(
            policy
                .watchdog
                .map_or(Duration::ZERO, |rules| rules.period()),
        );
        let service = Service::new(policy, identity);
        let listed = Listed::of(&service); // waits for facts alone: no deadline
        self.tally.add(listed);
        self.listed.push(listed);
        self.services.push(service);
        id
    }

    /// Takes one event at `now` and says what to do.
    #[must_use]
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {
                // Once each: a handler that left its deadline behind must not keep the others waiting.
                let due = self.deadlines.range(..=(now, ServiceId(usize::MAX)));
                let due: Vec<ServiceId> = due.map(|(_, id)| *id).collect();
                for id in due {
                    self.step_one(now, id, None, &mut actions);
                }
            }
            Event::Slept(span) => {
                self.suspicion = None;
                self.for_all(&mut actions, |service, out| service.slept(now, span, out));
            }
            Event::Late(_) => self.for_all(&mut actions, |service, _| service.was_late(now)),
            Event::Shutdown => {
                let at_once = self.leaving;
                self.forced = at_once;
                self.leaving = true;
                self.for_all(&mut actions, |service, out| {
                    service.leave(now, at_once, out);
                });
            }
            Event::Service(id, fact) => {
                if id.0 < self.services.len() {
                    self.step_one(now, id, Some(fact), &mut actions);
                }
            }
        }
        self.close_step(&mut actions);
        actions
    }

    /// When the machine next wants a [`Event::Tick`]; [`Instant::NEVER`] when it waits only for facts.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        if self.finished {
            return Instant::NEVER;
        }
        self.deadlines
            .first()
            .map_or(Instant::NEVER, |(due, _)| *due)
    }

    /// One service as shown at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant, id: ServiceId) -> Option<Snapshot> {
        self.services.get(id.0).map(|service| service.snapshot(now))
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Why neither `restart` nor `reload` can be done to `id`, where its process is somebody else's.
    #[must_use]
    pub fn hands_off(&self, id: ServiceId) -> Option<String> {
        self.services.get(id.0)?.hands_off()
    }

    fn step_one(
        &mut self,
        now: Instant,
        id: ServiceId,
        fact: Option<ServiceEvent>,
        actions: &mut Vec<Action>,
    ) {
        let asked_at = match &fact {
            Some(ServiceEvent::Probed(_, _, attempt)) => Some(attempt.asked_at),
            Some(_) | None => None,
        };
        let permit = asked_at.map_or(Permit::Free, |asked_at| self.permit(now, id, asked_at));
        let before = self.listed[id.0];
        let was_wedged = self.services[id.0].phase() == Phase::Wedged;
        self.services[id.0].step(now, fact, permit, &mut self.orders);
        self.settle(id, actions);
        if asked_at.is_some() {
            let kill_pending = !was_wedged && self.services[id.0].phase() == Phase::Wedged;
            self.watch_common_cause(now, id, before.silent, kill_pending, actions);
        }
    }

    fn for_all(
        &mut self,
        actions: &mut Vec<Action>,
        mut each: impl FnMut(&mut Service, &mut Vec<ServiceAction>),
    ) {
        for index in 0..self.services.len() {
            each(&mut self.services[index], &mut self.orders);
            self.settle(ServiceId(index), actions);
        }
    }

    /// Moves a service's orders out and lists its new deadline.
    fn settle(&mut self, id: ServiceId, actions: &mut Vec<Action>) {
        actions.extend(
            self.orders
                .drain(..)
                .map(|order| Action::Service(id, order)),
        );
        let new = Listed::of(&self.services[id.0]);
        let old = core::mem::replace(&mut self.listed[id.0], new);
        self.tally.remove(old);
        self.tally.add(new);
        if old.due != new.due {
            self.deadlines.remove(&(old.due, id));
            if new.due != Instant::NEVER {
                self.deadlines.insert((new.due, id));
            }
        }
    }

    fn close_step(&mut self, actions: &mut Vec<Action>) {
        if !self.announced && !self.leaving && self.tally.undecided == 0 {
            self.announced = true;
            actions.push(Action::AnnounceReady);
        }
        // What SIGKILL does not end is waited for, but not by somebody who asks twice: its claim stays on disk.
        let is_over =
            self.tally.up == 0 || self.forced && self.services.iter().all(Service::is_past_ending);
        if self.leaving && !self.finished && is_over {
            self.finished = true;
            actions.push(Action::Finish);
        }
    }

    /// Whether the silence of `id`, asked at `asked_at`, may kill.
    fn permit(&self, now: Instant, id: ServiceId, asked_at: Instant) -> Permit {
        let suspected = self.suspicion.or_else(|| {
            self.all_silent(Some((id, asked_at))).then_some(Suspicion {
                since: now,
                last_kill: None,
            })
        });
        let Some(suspicion) = suspected else {
            return Permit::Free;
        };
        let last = suspicion.last_kill.unwrap_or(suspicion.since);
        if now.since(last) >= COMMON_CAUSE_WINDOW {
            Permit::Free
        } else {
            Permit::HostSuspected
        }
    }

    /// Three or more under watch, all of them silent since within one (the longest) interval; `joining` would be
    /// silent from the given moment on.
    fn all_silent(&self, joining: Option<(ServiceId, Instant)>) -> bool {
        let joining = joining.filter(|(id, _)| {
            let listed = self.listed[id.0];
            listed.watched && !listed.silent
        });
        let silent = self.tally.silent + usize::from(joining.is_some());
        if silent < COMMON_CAUSE_SERVICES_MIN || silent < self.tally.watched {
            return false;
        }
        let rows = self.services.iter().filter_map(|one| one.under_watch()?.1);
        let began = || rows.clone().chain(joining.map(|(_, asked_at)| asked_at));
        let (Some(first), Some(last)) = (began().min(), began().max()) else {
            return false;
        };
        let longest = self.periods.iter().max().copied().unwrap_or_default();
        last.since(first) <= longest
    }

    /// After a round: does the whole fleet fail, has one recovered by itself, was one condemned?
    fn watch_common_cause(
        &mut self,
        now: Instant,
        id: ServiceId,
        was_silent: bool,
        kill_pending: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(suspicion) = &mut self.suspicion else {
            if self.all_silent(None) {
                self.suspicion = Some(Suspicion {
                    since: now,
                    last_kill: kill_pending.then_some(now),
                });
                let sentence = format!(
                    "all services that are watched are silent at once: the host is suspected; no kill for {} s, then one each {} s",
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
        if self.is_cleared_by(id, was_silent, since) {
            self.suspicion = None;
            actions.push(self.common_cause_record(
                id,
                "services answer again: the host is no longer suspected".into(),
            ));
        }
    }

    /// An answer clears the host when it came without a kill, or when nobody is left of those who accused it. The
    /// latter asks all services, but only under suspicion and when a new life reports.
    fn is_cleared_by(&self, id: ServiceId, was_silent: bool, since: Instant) -> bool {
        let is_old = |one: &Service| {
            one.under_watch()
                .is_some_and(|(spawned_at, _)| spawned_at < since)
        };
        let reporter = &self.services[id.0];
        reporter.answers()
            && if is_old(reporter) {
                was_silent
            } else {
                !self.services.iter().any(is_old)
            }
    }

    fn common_cause_record(&self, id: ServiceId, sentence: String) -> Action {
        let count = u64::try_from(self.tally.watched).unwrap_or(u64::MAX);
        let facts = vec![("services", Value::Number(count))];
        Action::Service(
            id,
            ServiceAction::Record(Record {
                kind: Kind::CommonCause,
                life: None,
                sentence,
                facts,
            }),
        )
    }
}
