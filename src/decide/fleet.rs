//! All services together: whose turn it is, common cause, READY, the end.

use super::action::{Action, Kind, Order, Record, Value};
use super::clock::{Duration, Moment};
use super::event::{Event, Fact, ServiceId};
use super::policy::Policy;
use super::snapshot::Snapshot;
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
    deadlines: BTreeSet<(Moment, ServiceId)>,
    listed: Vec<Moment>,
    suspicion: Option<Suspicion>,
    leaving: bool,
    announced: bool,
    finished: bool,
    orders: Vec<Order>,
}

/// Everything is silent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Suspicion {
    since: Moment,
    last_kill: Option<Moment>,
}

impl Machine {
    /// Adds a service; it waits for [`Fact::Configured`].
    pub fn add(&mut self, policy: Policy, identity: Identity) -> ServiceId {
        let id = ServiceId(self.services.len());
        self.periods.push(
            policy
                .watchdog
                .map_or(Duration::ZERO, |rules| rules.period()),
        );
        self.services.push(Service::new(policy, identity));
        self.listed.push(Moment::NEVER);
        id
    }

    /// Takes one event at `now` and says what to do.
    #[must_use]
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
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
                self.for_all(&mut actions, |service, out| service.slept(now, span, out));
            }
            Event::Late(_) => self.for_all(&mut actions, |service, _| service.was_late(now)),
            Event::Shutdown => {
                let at_once = self.leaving;
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

    /// When the machine next wants a [`Event::Tick`]; [`Moment::NEVER`] when it waits only for facts.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.deadlines
            .first()
            .map_or(Moment::NEVER, |(due, _)| *due)
    }

    /// One service as shown at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Moment, id: ServiceId) -> Option<Snapshot> {
        self.services.get(id.0).map(|service| service.snapshot(now))
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    fn step_one(
        &mut self,
        now: Moment,
        id: ServiceId,
        fact: Option<Fact>,
        actions: &mut Vec<Action>,
    ) {
        let is_round = matches!(fact, Some(Fact::Probed(..)));
        let permit = if is_round {
            self.permit(now)
        } else {
            Permit::Free
        };
        let was_up = self.services[id.0].under_watch();
        self.services[id.0].step(now, fact, permit, &mut self.orders);
        if is_round {
            self.watch_common_cause(now, id, was_up, actions);
        }
        self.settle(id, actions);
    }

    fn for_all(
        &mut self,
        actions: &mut Vec<Action>,
        mut each: impl FnMut(&mut Service, &mut Vec<Order>),
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
        let due = self.services[id.0].deadline();
        if self.listed[id.0] != due {
            self.deadlines.remove(&(self.listed[id.0], id));
            if due != Moment::NEVER {
                self.deadlines.insert((due, id));
            }
            self.listed[id.0] = due;
        }
    }

    fn close_step(&mut self, actions: &mut Vec<Action>) {
        if !self.announced && !self.leaving && self.services.iter().all(Service::has_verdict) {
            self.announced = true;
            actions.push(Action::AnnounceReady);
        }
        if self.leaving && !self.finished && self.services.iter().all(Service::is_down) {
            self.finished = true;
            actions.push(Action::Finish);
        }
    }

    fn permit(&self, now: Moment) -> Permit {
        let Some(suspicion) = self.suspicion.or_else(|| self.all_silent(now)) else {
            return Permit::Free;
        };
        let last = suspicion.last_kill.unwrap_or(suspicion.since);
        if now.since(last) >= COMMON_CAUSE_WINDOW {
            Permit::Free
        } else {
            Permit::HostSuspected
        }
    }

    /// Three or more under watch, all of them silent since within one (the longest) interval.
    fn all_silent(&self, now: Moment) -> Option<Suspicion> {
        let mut began = Vec::new();
        for service in &self.services {
            if let Some((_, row)) = service.under_watch() {
                began.push(row?);
            }
        }
        let (first, last) = (began.iter().min()?, began.iter().max()?);
        let longest = self.periods.iter().max()?;
        (began.len() >= COMMON_CAUSE_SERVICES_MIN && last.since(*first) <= *longest).then_some(
            Suspicion {
                since: now,
                last_kill: None,
            },
        )
    }

    /// After a round: does the whole fleet fail, has one recovered by itself, was one killed?
    fn watch_common_cause(
        &mut self,
        now: Moment,
        id: ServiceId,
        before: Option<(Moment, Option<Moment>)>,
        actions: &mut Vec<Action>,
    ) {
        let Some(suspicion) = &mut self.suspicion else {
            if let Some(found) = self.all_silent(now) {
                self.suspicion = Some(found);
                let sentence = format!(
                    "all services are silent at once: the host is suspected; no kill for {} s, then one each {} s",
                    COMMON_CAUSE_WINDOW.as_secs(),
                    COMMON_CAUSE_WINDOW.as_secs()
                );
                actions.push(self.common_cause_record(id, sentence));
            }
            return;
        };
        let service = &self.services[id.0];
        let condemned = service.phase() == super::snapshot::Phase::Wedged;
        if condemned {
            suspicion.last_kill = Some(now);
            return;
        }
        let since = suspicion.since;
        let recovered = matches!(service.under_watch(), Some((spawned, None)) if spawned < since)
            && before.is_some_and(|(_, row)| row.is_some());
        let renewed = self
            .services
            .iter()
            .filter_map(Service::under_watch)
            .all(|(spawned, _)| spawned >= since);
        if recovered || renewed {
            self.suspicion = None;
            actions.push(self.common_cause_record(
                id,
                "services answer again: the host is no longer suspected".into(),
            ));
        }
    }

    fn common_cause_record(&self, id: ServiceId, sentence: String) -> Action {
        let count = u64::try_from(self.services.len()).unwrap_or(u64::MAX);
        let facts = vec![("services", Value::Number(count))];
        Action::Service(
            id,
            Order::Record(Record {
                kind: Kind::CommonCause,
                life: None,
                sentence,
                facts,
            }),
        )
    }
}
