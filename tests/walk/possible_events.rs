//! What may happen next in a world: every outcome of every action that is under way, requests, and late events.

use super::world::{Next, SECOND, World};
use stayd::decide::clock::{Duration, Instant};
use stayd::decide::event::{
    AdoptableInstance, Answer, ChangedSetting, Check, Exit, Life, PortHolder, PortRelease,
    ProbeAttempt, Process, Request, ResourceSample, ScanOutcome, ServiceEvent, ServiceId,
    ServiceMessage, ServingEvidence, SpawnFailure, Survivors,
};
use stayd::decide::policy::{
    Backoff, GiveUp, Mode, OnLeftover, OnStranger, Policy, Restart, StoppedIs, Watchdog,
};
use stayd::decide::runtime::{Offer, RuntimeId};

/// Which events may happen to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choices {
    /// Every outcome, every request, and late events.
    All,
    /// One success and one failure of each action, stop and start, and no late events.
    Few,
}

impl World {
    /// Everything that may happen now.
    pub(crate) fn possible(&self) -> Vec<Next> {
        let mut next = Vec::new();
        if self.machine.deadline() != Instant::NEVER {
            next.extend([Next::Deadline, Next::PastDeadline]);
        }
        if !self.leaving {
            next.push(Next::Shutdown);
        }
        next.extend([Next::Slept, Next::Late]);
        for id in self.ids() {
            let mut events = Vec::new();
            match self.choices[id.0] {
                Choices::All => {
                    self.all_events(id, &mut events);
                    self.stale_events(id, &mut next);
                }
                Choices::Few => self.few_events(id, &mut events),
            }
            next.extend(events.into_iter().map(|event| Next::Event(id, event)));
        }
        next
    }

    fn all_events(&self, id: ServiceId, events: &mut Vec<ServiceEvent>) {
        let service = &self.services[id.0];
        if !self.leaving {
            let hold = Request::Hold {
                duration: SECOND * 2,
                reason: "backup".into(),
            };
            let requests = [
                Request::Stop,
                Request::Start,
                Request::Restart,
                if service.hold { Request::Release } else { hold },
            ];
            events.extend(requests.map(ServiceEvent::Requested));
        }
        // A check for changes that was under way when the service stopped waiting may still report.
        events.push(ServiceEvent::Changed);
        if service.scanning {
            events.extend(scan_outcomes().map(ServiceEvent::RecoveryScanned));
        }
        if let Some(life) = service.copying {
            events.extend(offers().map(|offer| ServiceEvent::Materialized(life, offer)));
            events.push(ServiceEvent::NotPrepared(life, failure()));
        }
        if let Some(life) = service.preparing {
            events.extend([
                ServiceEvent::Prepared(life),
                ServiceEvent::NotPrepared(life, failure()),
                ServiceEvent::BeforeFailed(life, failure()),
                ServiceEvent::PortHeld(life, holder(Some(FOREIGN))),
                ServiceEvent::PortHeld(life, holder(None)),
            ]);
        }
        if let Some(life) = service.spawning {
            events.push(ServiceEvent::Spawned(life, process_of(life)));
            events.push(ServiceEvent::NotSpawned(life, failure()));
        }
        if let Some(life) = service.main {
            events.extend(exits(life));
            events.push(ServiceEvent::Notified(life, ServiceMessage::Trigger));
        }
        if let Some(life) = service.attached {
            events.extend(
                [PortRelease::Ended(Exit::Unknown), PortRelease::LeftPort]
                    .map(|how| ServiceEvent::ForeignProcessLeft(life, how)),
            );
        }
        self.attempt_results(id, answers(), events);
        if let Some(life) = service.killed {
            events.push(ServiceEvent::KillTimedOut {
                life,
                left: 1,
                stuck: 1,
                refusal: None,
            });
            if service.main.is_none() {
                events.push(ServiceEvent::TreeEmptied(life));
            }
        }
        if let Some(life) = service.collecting_evidence {
            events.push(ServiceEvent::EvidenceCollected(life));
        }
    }

    fn few_events(&self, id: ServiceId, events: &mut Vec<ServiceEvent>) {
        let service = &self.services[id.0];
        if !self.leaving {
            let request = if service.wanted_up {
                Request::Stop
            } else {
                Request::Start
            };
            events.push(ServiceEvent::Requested(request));
        }
        if service.scanning {
            let nothing = ScanOutcome::Nothing(Life(0));
            events.push(ServiceEvent::RecoveryScanned(nothing));
        }
        if let Some(life) = service.preparing {
            events.push(ServiceEvent::Prepared(life));
            events.push(ServiceEvent::NotPrepared(life, failure()));
        }
        if let Some(life) = service.spawning {
            events.push(ServiceEvent::Spawned(life, process_of(life)));
        }
        if let Some(life) = service.main {
            let (exit, survivors) = (Exit::Signal(9), Survivors::default());
            events.push(ServiceEvent::Exited(life, exit, survivors));
        }
        let answers = [
            (Answer::Alive, ResourceSample::default()),
            (silence(), idle()),
        ];
        self.attempt_results(id, answers, events);
        if let (Some(life), None) = (service.killed, service.main) {
            events.push(ServiceEvent::TreeEmptied(life));
        }
        if let Some(life) = service.collecting_evidence {
            events.push(ServiceEvent::EvidenceCollected(life));
        }
    }

    /// Every result in `answers` of the attempt under way. Silence is reported at the deadline.
    fn attempt_results(
        &self,
        id: ServiceId,
        answers: impl IntoIterator<Item = (Answer, ResourceSample)>,
        events: &mut Vec<ServiceEvent>,
    ) {
        let Some((life, asked_at, deadline)) = self.services[id.0].asked else {
            return;
        };
        events.extend(answers.into_iter().map(|(answer, sample)| {
            let done = if matches!(answer, Answer::Dead { .. }) {
                deadline.max(self.now)
            } else {
                self.now
            };
            let attempt = ProbeAttempt {
                asked_at,
                deadline,
                answer,
                latency: done.since(asked_at),
                sample,
            };
            ServiceEvent::Probed(life, Check::Liveness, attempt)
        }));
    }

    /// Late events about the instance before the current one: they must change nothing.
    fn stale_events(&self, id: ServiceId, next: &mut Vec<Next>) {
        let snapshot = self.snapshot(id);
        // An answer of another service may have moved the time beyond the end of a hold. Then the next event ends the hold,
        // whatever it is about.
        let hold_is_over = snapshot.hold.is_some_and(|(until, _)| until <= self.now);
        let current = snapshot.life;
        if current.0 < 2 || hold_is_over {
            return;
        }
        let old = Life(current.0 - 1);
        let attempt = ProbeAttempt {
            asked_at: self.now,
            deadline: self.now,
            answer: silence(),
            latency: SECOND,
            sample: ResourceSample::default(),
        };
        next.extend(
            [
                ServiceEvent::Probed(old, Check::Liveness, attempt),
                ServiceEvent::Exited(old, Exit::Code(1), Survivors::default()),
                ServiceEvent::TreeEmptied(old),
                ServiceEvent::ForeignProcessLeft(old, PortRelease::LeftPort),
                ServiceEvent::Spawned(old, process_of(old)),
                ServiceEvent::EvidenceCollected(old),
                ServiceEvent::Notified(old, ServiceMessage::Trigger),
            ]
            .map(|event| Next::StaleEvent(id, event)),
        );
    }
}

/// Exits of a main process: without survivors, and with a descendant that may be its successor.
fn exits(life: Life) -> impl Iterator<Item = ServiceEvent> {
    let alone = [Exit::Code(0), Exit::Signal(9)]
        .map(|exit| ServiceEvent::Exited(life, exit, Survivors::default()));
    let successor = Some(Process {
        pid: 900,
        start_time: 9,
    });
    let with_successor = [
        (0, ServingEvidence::Listens),
        (0, ServingEvidence::Nothing),
        (1, ServingEvidence::Listens),
    ];
    let with_successor = with_successor.map(|(code, evidence)| {
        let survivors = Survivors {
            count: 1,
            successor,
            evidence,
            ..Survivors::default()
        };
        ServiceEvent::Exited(life, Exit::Code(code), survivors)
    });
    alone.into_iter().chain(with_successor)
}

/// Everything that the recovery scan can find.
fn scan_outcomes() -> [ScanOutcome; 8] {
    let life = Life(7);
    let adoptable = |main, same_command: bool| {
        ScanOutcome::Adoptable(AdoptableInstance {
            runtime: None,
            life,
            main,
            was_ready: false,
            ending: false,
            age: SECOND,
            changed_settings: (!same_command)
                .then_some(ChangedSetting::Command)
                .into_iter()
                .collect(),
        })
    };
    [
        ScanOutcome::Nothing(Life(0)),
        ScanOutcome::Nothing(life),
        ScanOutcome::Ended { life, exit: None },
        ScanOutcome::Ended {
            life,
            exit: Some(Exit::Code(0)),
        },
        adoptable(Some(process_of(life)), true),
        adoptable(Some(process_of(life)), false),
        adoptable(None, true),
        ScanOutcome::Unclear("pid 7 shows no evidence".into()),
    ]
}

pub(crate) fn silence() -> Answer {
    Answer::Dead {
        how: "no answer".into(),
    }
}

pub(crate) fn idle() -> ResourceSample {
    ResourceSample {
        watched: SECOND,
        ..ResourceSample::default()
    }
}

/// A good answer, an attempt that could not ask, and silence: of a traced, a busy and an idle process.
fn answers() -> [(Answer, ResourceSample); 5] {
    let could_not_ask = Answer::NoVerdict {
        why: "EMFILE".into(),
    };
    let traced = ResourceSample {
        traced: true,
        ..idle()
    };
    let busy = ResourceSample {
        tree_cpu: SECOND,
        ..idle()
    };
    [
        (Answer::Alive, ResourceSample::default()),
        (could_not_ask, ResourceSample::default()),
        (silence(), traced),
        (silence(), busy),
        (silence(), idle()),
    ]
}

/// The runtimes on disk: a new one beside a good one, only a good one, none.
fn offers() -> impl Iterator<Item = Offer> {
    let id = |name: &str| RuntimeId(name.into());
    let cases = [
        (Ok(id("new")), Some(id("good"))),
        (Err(failure()), Some(id("good"))),
        (Err(failure()), None),
    ];
    cases.into_iter().map(|(source, fallback)| Offer {
        source,
        fallback,
        refused: None,
        good: false,
        warnings: Vec::new(),
    })
}

/// A foreign process.
pub(crate) const FOREIGN: Process = Process {
    pid: 906,
    start_time: 1,
};

pub(crate) fn holder(main: Option<Process>) -> PortHolder {
    PortHolder {
        port: 1,
        main,
        description: "port 1 is held".into(),
    }
}

pub(crate) fn failure() -> SpawnFailure {
    SpawnFailure {
        message: "cannot run it: no such file".into(),
        lasting: true,
    }
}

pub(crate) fn process_of(life: Life) -> Process {
    Process {
        pid: 100 + i32::try_from(life.0).expect("few instances"),
        start_time: life.0.into(),
    }
}

/// Rules with short times, so that few events lead far.
pub(crate) fn policy() -> Policy {
    Policy {
        restart: Restart::Always,
        backoff: Backoff {
            min: SECOND,
            max: SECOND * 2,
            stable_after: SECOND * 60,
        },
        give_up: GiveUp {
            exits: 3,
            within: SECOND * 60,
        },
        stop_grace: SECOND,
        startup: SECOND * 3,
        startup_max: SECOND * 30,
        leftover: OnLeftover::Adopt,
        stranger: OnStranger::Report,
        has_runtime: false,
        stopped_is: StoppedIs::Wedged,
        watchdog: Some(Watchdog {
            interval: SECOND,
            timeout: SECOND,
            failures: 2,
            busy_grace: SECOND * 3,
            degraded_kills: false,
            first_grace: None,
            mode: Mode::Kill,
            evidence_extra: Duration::ZERO,
        }),
        ready_probe: false,
        notifies_ready: false,
    }
}
