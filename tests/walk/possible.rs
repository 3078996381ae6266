//! What may happen next in a world: every outcome of every order, now or after its life.

use stayd::decide::clock::{Duration, Instant};
use stayd::decide::event::{
    AdoptableInstance, Answer, ChangedSetting, Check, Departure, Exit, Holder, Life, ProbeAttempt,
    Process, Request, ResourceSample, ScanOutcome, ServiceEvent, ServiceMessage, SpawnFailure,
    Survivors,
};

use stayd::decide::policy::{
    Backoff, GiveUp, Mode, OnLeftover, OnStranger, Policy, Restart, StoppedIs, Watchdog,
};
use stayd::decide::runtime::{Offer, RuntimeId};

use super::world::{ID, Next, SECOND, World};

impl World {
    /// Everything that may become true now.
    pub(crate) fn possibilities(&self) -> Vec<Next> {
        let outside = &self.outside;
        let mut next = Vec::new();
        if self.machine.deadline() != Instant::NEVER {
            next.push(Next::Deadline);
            next.push(Next::PastDeadline);
        }
        if !self.leaving {
            next.push(Next::Shutdown);
            next.extend(
                [Request::Stop, Request::Start, Request::Restart]
                    .map(|request| Next::ServiceEvent(ServiceEvent::Requested(request))),
            );
            let hold = Request::Hold {
                span: SECOND * 2,
                reason: "backup".into(),
            };
            next.push(Next::ServiceEvent(ServiceEvent::Requested(
                if outside.hold { Request::Release } else { hold },
            )));
        }
        // A look that was under way when it was no longer wanted may still tell.
        next.push(Next::ServiceEvent(ServiceEvent::Changed));
        if outside.surveying {
            next.extend(
                surveys().map(|survey| Next::ServiceEvent(ServiceEvent::RecoveryScanned(survey))),
            );
        }
        if let Some(life) = outside.copying {
            next.extend(
                offers().map(|offer| Next::ServiceEvent(ServiceEvent::Materialized(life, offer))),
            );
            next.push(Next::ServiceEvent(ServiceEvent::NotPrepared(
                life,
                failure(),
            )));
        }
        if let Some(life) = outside.preparing {
            next.push(Next::ServiceEvent(ServiceEvent::Prepared(life)));
            next.push(Next::ServiceEvent(ServiceEvent::NotPrepared(
                life,
                failure(),
            )));
            next.push(Next::ServiceEvent(ServiceEvent::BeforeFailed(
                life,
                failure(),
            )));
            for main in [Some(STRANGER), None] {
                next.push(Next::ServiceEvent(ServiceEvent::PortHeld(
                    life,
                    holder(main),
                )));
            }
        }
        if let Some(life) = outside.spawning {
            next.push(Next::ServiceEvent(ServiceEvent::Spawned(
                life,
                proc_of(life),
            )));
            next.push(Next::ServiceEvent(ServiceEvent::NotSpawned(
                life,
                failure(),
            )));
        }
        if let Some(life) = outside.main {
            self.about_the_living(life, &mut next);
        }
        if let Some(life) = outside.attached {
            for left in [Departure::Ended(Exit::Unknown), Departure::LeftPort] {
                next.push(Next::ServiceEvent(ServiceEvent::ForeignProcessLeft(
                    life, left,
                )));
            }
            self.about_the_asked(life, &mut next);
        }
        if let Some(life) = outside.killed {
            next.push(Next::ServiceEvent(ServiceEvent::NotEmptied {
                life,
                left: 1,
                stuck: 1,
            }));
            if outside.main.is_none() {
                next.push(Next::ServiceEvent(ServiceEvent::Emptied(life)));
            }
        }
        if let Some(life) = outside.taking_evidence {
            next.push(Next::ServiceEvent(ServiceEvent::EvidenceTaken(life)));
        }
        next.push(Next::Slept);
        next.push(Next::Late);
        self.stale(&mut next);
        next
    }

    pub(crate) fn about_the_living(&self, life: Life, next: &mut Vec<Next>) {
        for exit in [Exit::Code(0), Exit::Signal(9)] {
            next.push(Next::ServiceEvent(ServiceEvent::Exited(
                life,
                exit,
                Survivors::default(),
            )));
        }
        let successor = Some(Process {
            pid: 900,
            start_time: 9,
        });
        for (exit, listens) in [(0, true), (0, false), (1, true)] {
            let survivors = Survivors {
                count: 1,
                successor,
                successor_listens: Some(listens),
                ..Survivors::default()
            };
            next.push(Next::ServiceEvent(ServiceEvent::Exited(
                life,
                Exit::Code(exit),
                survivors,
            )));
        }
        next.push(Next::ServiceEvent(ServiceEvent::ServiceMessage(
            life,
            ServiceMessage::Trigger,
        )));
        self.about_the_asked(life, next);
    }

    fn about_the_asked(&self, life: Life, next: &mut Vec<Next>) {
        if let Some((asked_life, asked_at, deadline)) = self.outside.asked
            && asked_life == life
        {
            for (answer, sample) in answers() {
                let silent = matches!(answer, Answer::Dead { .. });
                let done = if silent {
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
                next.push(Next::ServiceEvent(ServiceEvent::Probed(
                    life,
                    Check::Liveness,
                    attempt,
                )));
            }
        }
    }

    /// Facts about lives that are over: they change nothing.
    pub(crate) fn stale(&self, next: &mut Vec<Next>) {
        let Some(current) = self.machine.snapshot(self.now, ID).map(|shown| shown.life) else {
            return;
        };
        if current.0 < 2 {
            return;
        }
        let old = Life(current.0 - 1);
        let attempt = ProbeAttempt {
            asked_at: self.now,
            deadline: self.now,
            answer: Answer::Dead {
                how: "stale".into(),
            },
            latency: SECOND,
            sample: ResourceSample::default(),
        };
        next.push(Next::StaleFact(ServiceEvent::Probed(
            old,
            Check::Liveness,
            attempt,
        )));
        next.push(Next::StaleFact(ServiceEvent::Exited(
            old,
            Exit::Code(1),
            Survivors::default(),
        )));
        next.push(Next::StaleFact(ServiceEvent::Emptied(old)));
        next.push(Next::StaleFact(ServiceEvent::ForeignProcessLeft(
            old,
            Departure::LeftPort,
        )));
        next.push(Next::StaleFact(ServiceEvent::Spawned(old, proc_of(old))));
        next.push(Next::StaleFact(ServiceEvent::EvidenceTaken(old)));
        next.push(Next::StaleFact(ServiceEvent::ServiceMessage(
            old,
            ServiceMessage::Trigger,
        )));
    }
}

/// Everything that an earlier stayd can have left.
fn surveys() -> [ScanOutcome; 8] {
    let life = Life(7);
    let ours = |main, same_command: bool| {
        ScanOutcome::Ours(AdoptableInstance {
            runtime: None,
            life,
            main,
            ending: false,
            age: SECOND,
            former: (!same_command)
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
        ours(Some(proc_of(life)), true),
        ours(Some(proc_of(life)), false),
        ours(None, true),
        ScanOutcome::Unclear("pid 7 shows no mark".into()),
    ]
}

pub(crate) fn answers() -> Vec<(Answer, ResourceSample)> {
    let silence = Answer::Dead {
        how: "no answer".into(),
    };
    let idle = ResourceSample {
        watched: SECOND,
        ..ResourceSample::default()
    };
    vec![
        (Answer::Alive, ResourceSample::default()),
        (
            Answer::NoVerdict {
                why: "EMFILE".into(),
            },
            ResourceSample::default(),
        ),
        (
            silence.clone(),
            ResourceSample {
                traced: true,
                ..idle
            },
        ),
        (
            silence.clone(),
            ResourceSample {
                tree_cpu: SECOND,
                ..idle
            },
        ),
        (silence, idle),
    ]
}

/// What the disk may have: a new runtime beside a good one, nothing but the good one, nothing at all.
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

/// Somebody else's process.
pub(crate) const STRANGER: Process = Process {
    pid: 906,
    start_time: 1,
};

pub(crate) fn holder(main: Option<Process>) -> Holder {
    Holder {
        port: 1,
        main,
        words: "port 1 is held".into(),
    }
}

pub(crate) fn failure() -> SpawnFailure {
    SpawnFailure {
        message: "cannot run it: no such file".into(),
        lasting: true,
    }
}

pub(crate) fn proc_of(life: Life) -> Process {
    Process {
        pid: 100 + i32::try_from(life.0).expect("few lives"),
        start_time: life.0.into(),
    }
}

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
            told_by_service: false,
        }),
        ready_probe: false,
        notifies_ready: false,
    }
}
