//! From nothing to a process: down, preparing, spawning.

use super::super::action::{Kind, Persist, ServiceAction};
use super::super::clock::{Duration, Instant, in_words};
use super::super::cure;
use super::super::event::{Exit, ServiceEvent, SpawnFailure};
use super::super::policy::Restart;
use super::super::restart::{self, Next};
use super::materializing::RUNS_FROM_AN_EARLIER;
use super::{Actual, Down, Service, Turn, Up, Value};

/// Preparation may take the startup budget, and this much more for writing and looking.
const PREPARATION_SLACK: Duration = Duration::from_secs(10);

impl Service {
    pub(super) fn begin_life(&mut self, step: &mut Turn<'_>) {
        if !self.surveyed {
            return self.survey(false, None, step);
        }
        // A refused start has used no number up: lives are counted, not tries.
        if !core::mem::take(&mut self.number_is_free) {
            self.life = self.life.next();
        }
        self.await_nothing(step);
        self.adopted = false;
        self.former.clear();
        self.since = step.now;
        if self.policy.has_runtime {
            self.materialize(step);
        } else {
            self.prepare(step);
        }
    }

    pub(super) fn prepare(&mut self, step: &mut Turn<'_>) {
        let until = step.now.after(self.policy.startup).after(PREPARATION_SLACK);
        self.actual = Actual::Preparing {
            until,
            cancelled: false,
            copying: false,
        };
        step.out.push(ServiceAction::Prepare(self.life));
    }

    pub(super) fn time_in_down(&mut self, step: &mut Turn<'_>) {
        let Actual::Down(down) = &self.actual else {
            return;
        };
        let due = match down {
            Down::Stopped => return,
            Down::Backoff { until } | Down::Parked { until } | Down::Blocked { until } => *until,
        };
        if step.now >= due && self.wanted_up && !self.leaving {
            self.begin_life(step);
        }
    }

    pub(super) fn fact_in_down(&mut self, fact: &ServiceEvent, step: &mut Turn<'_>) {
        if *fact == ServiceEvent::Changed && !matches!(self.actual, Actual::Down(Down::Stopped)) {
            self.forgive(step);
            self.reason = "tried again: what it is started from has changed".into();
            self.record(Kind::Backoff, self.reason.clone(), Vec::new(), step.out);
            self.begin_life(step);
        }
    }

    pub(super) fn cancel_preparation(&mut self, step: &mut Turn<'_>) {
        if let Actual::Preparing { cancelled, .. } = &mut self.actual
            && !*cancelled
        {
            *cancelled = true;
            step.out.push(ServiceAction::CancelPreparation(self.life));
        }
    }

    pub(super) fn fact_in_preparing(&mut self, fact: ServiceEvent, step: &mut Turn<'_>) {
        let Actual::Preparing { cancelled, .. } = self.actual else {
            return;
        };
        match fact {
            ServiceEvent::Prepared(_) if cancelled || !self.wanted_up || self.leaving => {
                step.out.push(ServiceAction::Retire(self.life));
                self.not_prepared(SpawnFailure::cancelled(), step);
            }
            ServiceEvent::Prepared(life) => {
                self.actual = Actual::Spawning;
                step.out.push(ServiceAction::Spawn(life));
            }
            ServiceEvent::Materialized(_, offer) => self.materialized(&offer, step),
            ServiceEvent::NotPrepared(_, failure) => self.not_prepared(failure, step),
            ServiceEvent::BeforeFailed(_, failure) => self.before_failed(failure, step),
            ServiceEvent::PortHeld(_, holder) => self.port_held(&holder, cancelled, step),
            ServiceEvent::Configured(_)
            | ServiceEvent::Requested(_)
            | ServiceEvent::RecoveryScanned(_)
            | ServiceEvent::ForeignProcessLeft(..)
            | ServiceEvent::Spawned(..)
            | ServiceEvent::NotSpawned(..)
            | ServiceEvent::Exited(..)
            | ServiceEvent::Emptied(_)
            | ServiceEvent::NotEmptied { .. }
            | ServiceEvent::Probed(..)
            | ServiceEvent::EvidenceTaken(_)
            | ServiceEvent::ServiceMessage(..)
            | ServiceEvent::Changed => {}
        }
    }

    /// A preparation that was cancelled ends for one of three reasons: a wish that still holds, a wish that was taken
    /// back meanwhile, or its time.
    pub(super) fn not_prepared(&mut self, failure: SpawnFailure, step: &mut Turn<'_>) {
        let Actual::Preparing {
            until,
            cancelled,
            copying,
        } = self.actual
        else {
            return;
        };
        if !cancelled || self.leaving || !self.wanted_up {
            self.refused(failure, step);
        } else if step.now < until {
            self.begin_life(step);
        } else {
            let (what, budget) = if copying {
                ("copy its runtime", super::materializing::COPYING_MAX)
            } else {
                ("prepare it", self.policy.startup + PREPARATION_SLACK)
            };
            let failure = SpawnFailure {
                message: format!("cannot {what}: not done within {}", in_words(budget)),
                lasting: false,
            };
            self.refused(failure, step);
        }
    }

    pub(super) fn fact_in_spawning(&mut self, fact: ServiceEvent, step: &mut Turn<'_>) {
        match fact {
            ServiceEvent::Spawned(life, main) => {
                if core::mem::take(&mut self.refusals) > 0 {
                    self.reason.clear(); // what kept it from starting is over
                }
                self.restarts += u32::from(self.last_exit.is_some());
                self.since = step.now;
                let facts = vec![("pid", Value::Number(main.pid.unsigned_abs().into()))];
                self.record(
                    Kind::Started,
                    format!("started as pid {}", main.pid),
                    facts,
                    step.out,
                );
                let mut up = Up::new(Some(main), step.now, &self.policy);
                if let Some(why) = &self.runtimes.why_older {
                    self.reason = format!("{RUNS_FROM_AN_EARLIER}{why}");
                    up.keeps_reason = true;
                }
                self.actual = Actual::Up(up);
                if self.leaving || !self.wanted_up {
                    self.begin_stop(step);
                } else {
                    self.enter_up(step);
                }
                debug_assert_eq!(
                    life, self.life,
                    "facts of other lives are dropped at the door"
                );
            }
            ServiceEvent::NotSpawned(life, failure) => {
                step.out.push(ServiceAction::Retire(life));
                self.refused(failure, step);
            }
            ServiceEvent::Configured(_)
            | ServiceEvent::Requested(_)
            | ServiceEvent::RecoveryScanned(_)
            | ServiceEvent::Materialized(..)
            | ServiceEvent::Prepared(_)
            | ServiceEvent::NotPrepared(..)
            | ServiceEvent::BeforeFailed(..)
            | ServiceEvent::PortHeld(..)
            | ServiceEvent::ForeignProcessLeft(..)
            | ServiceEvent::Exited(..)
            | ServiceEvent::Emptied(_)
            | ServiceEvent::NotEmptied { .. }
            | ServiceEvent::Probed(..)
            | ServiceEvent::EvidenceTaken(_)
            | ServiceEvent::ServiceMessage(..)
            | ServiceEvent::Changed => {}
        }
    }

    /// No process came of it: stopped if that is wished by now, else blocked, and quietly tried again.
    pub(super) fn refused(&mut self, failure: SpawnFailure, step: &mut Turn<'_>) {
        if self.leaving || !self.wanted_up {
            self.reason = "stopped on request".into();
            self.become_down(Down::Stopped, step);
            return;
        }
        self.refusals = self.refusals.saturating_add(1);
        self.number_is_free = true;
        let backoff = &self.policy.backoff;
        let wait = restart::wait(
            backoff,
            self.refusals as usize,
            self.identity.salt,
            self.life,
        )
        .max(REFUSED_WAIT_MIN);
        let until = step.now.after(wait);
        if self.reason != failure.message {
            let sentence = cure::again_in(&failure.message, wait);
            let facts = vec![("lasting", Value::Flag(failure.lasting))];
            self.record(Kind::Blocked, sentence, facts, step.out);
            self.reason = failure.message;
        }
        self.become_down(Down::Blocked { until }, step);
    }

    /// A life is over and its tree empty: what comes next?
    pub(super) fn life_over(&mut self, end: &super::Ending, step: &mut Turn<'_>) {
        let exit = end.exit.unwrap_or(Exit::Unknown);
        self.last_exit = Some((exit, step.now));
        let restarting = end.by_wish && self.wanted_up;
        let again = restart::wanted_again(self.policy.restart, exit, end.by_watchdog);
        let is_wanted = self.wanted_up && !self.leaving;
        step.out.push(if is_wanted && !restarting && !again {
            ServiceAction::Conclude(self.life, exit)
        } else {
            ServiceAction::Retire(self.life)
        });
        if self.leaving || !self.wanted_up {
            self.reason = "stopped on request".into();
            self.record(Kind::Stopped, "stopped".into(), Vec::new(), step.out);
            self.become_down(Down::Stopped, step);
        } else if restarting || !end.by_wish && self.rolls_back(&self.reason.clone(), step) {
            self.begin_life(step);
        } else if again {
            self.start_again(end.ready_for, step);
        } else {
            let sentence = self.stays_stopped(exit);
            self.record(Kind::Stopped, sentence.clone(), Vec::new(), step.out);
            self.reason = sentence;
            self.become_down(Down::Stopped, step);
        }
    }

    pub(super) fn stays_stopped(&self, exit: Exit) -> String {
        let policy = match self.policy.restart {
            Restart::Never => "never",
            Restart::OnFailure => "on-failure",
            Restart::Always => "always",
        };
        format!(
            "stays stopped: {}, and restart = \"{policy}\"",
            exit.in_words()
        )
    }

    fn start_again(&mut self, ready_for: Option<Duration>, step: &mut Turn<'_>) {
        let spread = (self.identity.salt, self.life);
        let was_parked = self.history.is_parked();
        let (backoff, give_up) = (&self.policy.backoff, &self.policy.give_up);
        match self
            .history
            .after_end(step.now, ready_for, backoff, give_up, spread)
        {
            Next::Now => self.begin_life(step),
            Next::After(wait) => {
                let until = step.now.after(wait);
                self.become_down(Down::Backoff { until }, step);
                let sentence = format!("starts again in {}: {}", in_words(wait), self.reason);
                self.record(
                    Kind::Backoff,
                    sentence,
                    vec![("wait_ms", super::millis(wait))],
                    step.out,
                );
            }
            Next::Parked(wait) => self.park(wait, step),
        }
        if was_parked && !self.history.is_parked() {
            step.out
                .push(ServiceAction::Persist(Persist::Parked(false)));
        }
    }

    /// The past does not count any more: a stable life, a person's wish, another program.
    pub(super) fn forgive(&mut self, step: &mut Turn<'_>) {
        if self.history.is_parked() {
            step.out
                .push(ServiceAction::Persist(Persist::Parked(false)));
        }
        self.history.clear();
        self.refusals = 0;
    }

    fn park(&mut self, wait: Duration, step: &mut Turn<'_>) {
        let give_up = self.policy.give_up;
        let files = if self.policy.has_runtime {
            "runtime's source"
        } else {
            "program"
        };
        let sentence = format!(
            "gave up: {} lives ended within {} s, the last one: {}; tries again every {} s and when its \
             configuration or {files} changes",
            give_up.exits,
            give_up.within.as_secs(),
            self.reason,
            wait.as_secs()
        );
        let facts = vec![("exits", Value::Number(give_up.exits.into()))];
        self.record(Kind::GaveUp, sentence.clone(), facts, step.out);
        step.out.push(ServiceAction::Persist(Persist::Parked(true)));
        self.reason = sentence;
        let until: Instant = step.now.after(wait);
        self.become_down(Down::Parked { until }, step);
    }

    pub(super) fn parked_retry(&self) -> Duration {
        self.policy.give_up.within.max(self.policy.backoff.max)
    }
}

/// A refused start is not tried more often than this, whatever the backoff says.
const REFUSED_WAIT_MIN: Duration = Duration::from_millis(100);
