//! The machine and the model of everything outside it. Delivers events to both, and checks every action that the machine
//! orders.

use super::invariants::{ServiceModel, Step, UNJUDGED_MAX};
use super::possible_events::Choices;
use stayd::decide::action::Action;
use stayd::decide::clock::{Duration, Instant};
use stayd::decide::event::{
    Answer, Check, Event, Life, PersistedState, ProbeAttempt, ResourceSample, ScanOutcome,
    ServiceEvent, ServiceId,
};
use stayd::decide::fleet::{COMMON_CAUSE_SERVICES_MIN, Machine};
use stayd::decide::policy::Policy;
use stayd::decide::snapshot::{Phase, Snapshot};
use stayd::decide::state::{Service, ServiceDescription};
use std::hash::{BuildHasher, RandomState};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    pub(crate) services: Vec<ServiceModel>,
    /// Which events may happen to each service; the same in the whole walk.
    pub(crate) choices: Vec<Choices>,
    /// Gives each event to a copy of the machine as well, and expects the same actions: same input, same output. Doubles
    /// the time of a walk.
    pub(crate) repeat_steps: bool,
    pub(crate) leaving: bool,
    announced: bool,
    pub(crate) finished: bool,
}

/// What may happen next.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// The clock reaches the machine's deadline.
    Deadline,
    /// The clock passes the machine's deadline by half a second.
    PastDeadline,
    Shutdown,
    Slept,
    Late,
    Event(ServiceId, ServiceEvent),
    /// A late event about an older instance, which must change nothing.
    StaleEvent(ServiceId, ServiceEvent),
}

impl World {
    /// Services whose recovery scan is under way.
    pub(crate) fn scanning(services: &[(Policy, PersistedState, Choices)]) -> Self {
        let mut world = Self {
            machine: Machine::default(),
            now: Instant::START,
            services: Vec::new(),
            choices: Vec::new(),
            repeat_steps: false,
            leaving: false,
            announced: false,
            finished: false,
        };
        for (index, (policy, past, choices)) in services.iter().enumerate() {
            let description = ServiceDescription {
                name: format!("db{index}"),
                question: "SELECT 1".into(),
                program: "server".into(),
                jitter_seed: 1,
            };
            let id = world.machine.add(*policy, description);
            assert_eq!(id, ServiceId(index));
            world.services.push(ServiceModel::new(past));
            world.choices.push(*choices);
        }
        for (index, (_, past, _)) in services.iter().enumerate() {
            world.event(ServiceId(index), ServiceEvent::Configured(past.clone()));
        }
        world
    }

    /// Services of which an earlier stayd left no process.
    pub(crate) fn new(services: &[(Policy, PersistedState, Choices)]) -> Self {
        let mut world = Self::scanning(services);
        for id in world.ids() {
            let nothing = ScanOutcome::Nothing(Life(0));
            world.event(id, ServiceEvent::RecoveryScanned(nothing));
        }
        world
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ServiceId> + use<> {
        (0..self.services.len()).map(ServiceId)
    }

    pub(crate) fn snapshot(&self, id: ServiceId) -> Snapshot {
        self.machine
            .snapshot(self.now, id)
            .expect("a service of this world")
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
                self.deliver(&Event::Shutdown, false);
            }
            Next::Slept => {
                for service in &mut self.services {
                    service.consecutive_dead = 0;
                }
                self.deliver(&Event::Slept(SECOND * 3600), false);
            }
            Next::Late => self.deliver(&Event::Late("the host is loaded".into()), false),
            Next::Event(id, event) => self.event(id, event),
            Next::StaleEvent(id, event) => {
                let before = self.machine.clone();
                let actions = self
                    .machine
                    .step(self.now, Event::Service(id, event.clone()));
                assert!(
                    actions.is_empty() && before == self.machine,
                    "a late event changes nothing: {event:?} gave {actions:?}"
                );
            }
        }
    }

    fn tick(&mut self) {
        for id in self.ids() {
            let hold = self.snapshot(id).hold;
            self.services[id.0].hold = hold.is_some_and(|(until, _)| until > self.now);
        }
        self.deliver(&Event::Tick, false);
    }

    /// Delivers an event about one service to the model and to the machine.
    pub(crate) fn event(&mut self, id: ServiceId, event: ServiceEvent) {
        let is_dead_attempt = self.services[id.0].apply_event(&event);
        self.deliver(&Event::Service(id, event), is_dead_attempt);
    }

    /// Ends the attempt that is under way. An attempt without an answer ends at its deadline.
    pub(crate) fn answer(&mut self, id: ServiceId, answer: &Answer, sample: ResourceSample) {
        let (life, asked_at, deadline) =
            self.services[id.0].asked.expect("an attempt is under way");
        if matches!(answer, Answer::Dead { .. }) {
            self.now = self.now.max(deadline);
        }
        let attempt = ProbeAttempt {
            asked_at,
            deadline,
            answer: answer.clone(),
            latency: self.now.since(asked_at),
            sample,
        };
        self.event(id, ServiceEvent::Probed(life, Check::Liveness, attempt));
    }

    fn deliver(&mut self, event: &Event, is_dead_attempt: bool) {
        let silent_together_since = self.silent_together_since(event);
        let copy = self.repeat_steps.then(|| self.machine.clone());
        let actions = self.machine.step(self.now, event.clone());
        if let Some(mut copy) = copy {
            let repeated = copy.step(self.now, event.clone());
            assert_eq!(repeated, actions, "same input, same output");
        }
        for action in actions {
            match action {
                Action::Service(id, action) => {
                    assert!(
                        !matches!(event, Event::Service(about, _) if *about != id),
                        "an event about one service leads to no action for another: {action:?}"
                    );
                    let step = Step {
                        now: self.now,
                        event,
                        is_dead_attempt,
                        leaving: self.leaving,
                        silent_together_since,
                    };
                    self.services[id.0].check_and_apply(&action, &step);
                }
                Action::AnnounceReady => {
                    assert!(!self.leaving && !self.announced, "READY=1 is sent once");
                    assert!(
                        self.machine.services().iter().all(Service::has_verdict),
                        "READY=1 waits for a verdict about each service"
                    );
                    self.announced = true;
                }
                Action::Finish => {
                    for id in self.ids() {
                        let service = &self.services[id.0];
                        let unkillable = self.snapshot(id).phase == Phase::Unkillable;
                        assert!(
                            (service.main.is_none() || unkillable) && service.spawning.is_none(),
                            "stayd ends only when no process runs that it could end"
                        );
                    }
                    self.finished = true;
                }
            }
        }
        for id in self.ids() {
            self.assert_is_shown_truly(id);
        }
    }

    /// A healthy service has answered, and not been without a verdict for long; and the reason fits the state.
    fn assert_is_shown_truly(&self, id: ServiceId) {
        let shown = self.snapshot(id);
        let service = &self.services[id.0];
        if shown.healthy && shown.phase != Phase::Stopped {
            assert!(service.answered, "healthy needs an answer: {shown:?}");
            assert!(
                service.consecutive_unjudged < UNJUDGED_MAX,
                "healthy after as many attempts without a verdict as a kill needs: {shown:?}"
            );
        }
        let is_about = |words: &str, phases: &[Phase]| {
            assert!(
                !shown.reason.starts_with(words) || phases.contains(&shown.phase),
                "{shown:?}"
            );
        };
        is_about("gave up", &[Phase::Parked]);
        is_about(
            "SIGKILL has not ended",
            &[Phase::Unkillable, Phase::Wedged, Phase::Stopping],
        );
        is_about("stopped on request", &[Phase::Stopped]);
        is_about(
            "answering",
            &[Phase::Running, Phase::Suspect, Phase::Unproven],
        );
    }

    /// If the event is a probe attempt of a service that fell silent together with at least two others: since when three of
    /// them are silent. Tries every instant at which a first dead attempt ended.
    fn silent_together_since(&self, event: &Event) -> Option<Instant> {
        let Event::Service(id, ServiceEvent::Probed(..)) = event else {
            return None;
        };
        let services = self.machine.services().iter().enumerate();
        let watched = services.filter_map(|(index, one)| {
            let watch = one.under_watch()?;
            let joins = (index == id.0).then_some(self.now);
            let alive_at = watch.answered_at.unwrap_or(watch.began_at);
            Some((index, alive_at, watch.dead_since.or(joins)))
        });
        let watched: Vec<_> = watched.collect();
        let instants = watched.iter().filter_map(|(_, _, dead_at)| *dead_at);
        instants.into_iter().find_map(|instant| {
            let fell_silent = watched.iter().filter_map(|(index, alive_at, dead_at)| {
                let dead_at =
                    dead_at.filter(|dead_at| *alive_at < instant && instant <= *dead_at)?;
                Some((*index, dead_at))
            });
            let fell_silent: Vec<(usize, Instant)> = fell_silent.collect();
            let has_subject = fell_silent.iter().any(|(index, _)| *index == id.0);
            let is_refuted = watched.iter().any(|(_, alive_at, _)| *alive_at >= instant);
            let mut ends: Vec<Instant> = fell_silent.iter().map(|(_, dead_at)| *dead_at).collect();
            ends.sort();
            let third = ends.get(COMMON_CAUSE_SERVICES_MIN - 1).copied();
            third.filter(|_| has_subject && !is_refuted)
        })
    }

    pub(crate) fn fingerprint(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((&self.machine, self.now, &self.services, self.leaving))
    }
}
