//! What may happen next in a world: every outcome of every order, now or after its life.

use stayd::decide::clock::{Duration, Moment};
use stayd::decide::event::{
    Answer, Check, Departure, Exit, Fact, Former, Holder, Leftover, Life, Proc, Round, Sight,
    SpawnFailure, Survey, Survivors, Told, Wish,
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
        if self.machine.deadline() != Moment::NEVER {
            next.push(Next::Deadline);
            next.push(Next::PastDeadline);
        }
        if !self.leaving {
            next.push(Next::Shutdown);
            next.extend(
                [Wish::Stop, Wish::Start, Wish::Restart].map(|wish| Next::Fact(Fact::Asked(wish))),
            );
            let hold = Wish::Hold {
                span: SECOND * 2,
                reason: "backup".into(),
            };
            next.push(Next::Fact(Fact::Asked(if outside.hold {
                Wish::Release
            } else {
                hold
            })));
        }
        // A look that was under way when it was no longer wanted may still tell.
        next.push(Next::Fact(Fact::Changed));
        if outside.surveying {
            next.extend(surveys().map(|survey| Next::Fact(Fact::Surveyed(survey))));
        }
        if let Some(life) = outside.copying {
            next.extend(offers().map(|offer| Next::Fact(Fact::Materialized(life, offer))));
            next.push(Next::Fact(Fact::NotPrepared(life, failure())));
        }
        if let Some(life) = outside.preparing {
            next.push(Next::Fact(Fact::Prepared(life)));
            next.push(Next::Fact(Fact::NotPrepared(life, failure())));
            next.push(Next::Fact(Fact::BeforeFailed(life, failure())));
            for main in [Some(STRANGER), None] {
                next.push(Next::Fact(Fact::PortHeld(life, holder(main))));
            }
        }
        if let Some(life) = outside.spawning {
            next.push(Next::Fact(Fact::Spawned(life, proc_of(life))));
            next.push(Next::Fact(Fact::NotSpawned(life, failure())));
        }
        if let Some(life) = outside.main {
            self.about_the_living(life, &mut next);
        }
        if let Some(life) = outside.attached {
            for left in [Departure::Ended(Exit::Unknown), Departure::LeftPort] {
                next.push(Next::Fact(Fact::StrangerLeft(life, left)));
            }
            self.about_the_asked(life, &mut next);
        }
        if let Some(life) = outside.killed {
            next.push(Next::Fact(Fact::NotEmptied {
                life,
                left: 1,
                stuck: 1,
            }));
            if outside.main.is_none() {
                next.push(Next::Fact(Fact::Emptied(life)));
            }
        }
        if let Some(life) = outside.taking_evidence {
            next.push(Next::Fact(Fact::EvidenceTaken(life)));
        }
        next.push(Next::Slept);
        next.push(Next::Late);
        self.stale(&mut next);
        next
    }

    pub(crate) fn about_the_living(&self, life: Life, next: &mut Vec<Next>) {
        for exit in [Exit::Code(0), Exit::Signal(9)] {
            next.push(Next::Fact(Fact::Exited(life, exit, Survivors::default())));
        }
        let heir = Some(Proc { pid: 900, birth: 9 });
        for (exit, listens) in [(0, true), (0, false), (1, true)] {
            let survivors = Survivors {
                count: 1,
                heir,
                heir_listens: Some(listens),
                ..Survivors::default()
            };
            next.push(Next::Fact(Fact::Exited(life, Exit::Code(exit), survivors)));
        }
        next.push(Next::Fact(Fact::Told(life, Told::Trigger)));
        self.about_the_asked(life, next);
    }

    fn about_the_asked(&self, life: Life, next: &mut Vec<Next>) {
        if let Some((asked_life, asked_at, deadline)) = self.outside.asked
            && asked_life == life
        {
            for (answer, sight) in answers() {
                let silent = matches!(answer, Answer::Dead { .. });
                let done = if silent {
                    deadline.max(self.now)
                } else {
                    self.now
                };
                let round = Round {
                    asked_at,
                    deadline,
                    answer,
                    latency: done.since(asked_at),
                    sight,
                };
                next.push(Next::Fact(Fact::Probed(life, Check::Liveness, round)));
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
        let round = Round {
            asked_at: self.now,
            deadline: self.now,
            answer: Answer::Dead {
                how: "stale".into(),
            },
            latency: SECOND,
            sight: Sight::default(),
        };
        next.push(Next::StaleFact(Fact::Probed(old, Check::Liveness, round)));
        next.push(Next::StaleFact(Fact::Exited(
            old,
            Exit::Code(1),
            Survivors::default(),
        )));
        next.push(Next::StaleFact(Fact::Emptied(old)));
        next.push(Next::StaleFact(Fact::StrangerLeft(
            old,
            Departure::LeftPort,
        )));
        next.push(Next::StaleFact(Fact::Spawned(old, proc_of(old))));
        next.push(Next::StaleFact(Fact::EvidenceTaken(old)));
        next.push(Next::StaleFact(Fact::Told(old, Told::Trigger)));
    }
}

/// Everything that an earlier stayd can have left.
fn surveys() -> [Survey; 8] {
    let life = Life(7);
    let ours = |main, same_command: bool| {
        Survey::Ours(Leftover {
            runtime: None,
            life,
            main,
            ending: false,
            age: SECOND,
            former: (!same_command)
                .then_some(Former::Command)
                .into_iter()
                .collect(),
        })
    };
    [
        Survey::Nothing(Life(0)),
        Survey::Nothing(life),
        Survey::Ended { life, exit: None },
        Survey::Ended {
            life,
            exit: Some(Exit::Code(0)),
        },
        ours(Some(proc_of(life)), true),
        ours(Some(proc_of(life)), false),
        ours(None, true),
        Survey::Unclear("pid 7 shows no mark".into()),
    ]
}

pub(crate) fn answers() -> Vec<(Answer, Sight)> {
    let silence = Answer::Dead {
        how: "no answer".into(),
    };
    let idle = Sight {
        watched: SECOND,
        ..Sight::default()
    };
    vec![
        (Answer::Alive, Sight::default()),
        (
            Answer::NoVerdict {
                why: "EMFILE".into(),
            },
            Sight::default(),
        ),
        (
            silence.clone(),
            Sight {
                traced: true,
                ..idle
            },
        ),
        (
            silence.clone(),
            Sight {
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
pub(crate) const STRANGER: Proc = Proc { pid: 906, birth: 1 };

pub(crate) fn holder(main: Option<Proc>) -> Holder {
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

pub(crate) fn proc_of(life: Life) -> Proc {
    Proc {
        pid: 100 + i32::try_from(life.0).expect("few lives"),
        birth: life.0.into(),
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
