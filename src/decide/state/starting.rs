//! The start of an instance: the states down, preparing and spawning.

use super::super::action::{RecordKind, RecordValue, ServiceAction};
use super::super::clock::{Duration, in_words};
use super::super::event::{Process, SpawnFailure};
use super::super::hints;
use super::super::restart;
use super::materializing::{COPYING_MAX, RUNS_FROM_AN_EARLIER};
use super::{Down, Monitored, Service, State, StepContext};

/// Preparation may take the startup budget, and this much more to write the claim and check the port.
const PREPARATION_SLACK: Duration = Duration::from_secs(10);
/// A refused start is not tried more often than this, whatever the backoff says.
const REFUSED_WAIT_MIN: Duration = Duration::from_millis(100);

impl Service {
    /// Begins the start of a new instance: a runtime if the service has one, then the preparation.
    pub(super) fn begin_start(&mut self, ctx: &mut StepContext<'_>) {
        if !self.scanned {
            return self.begin_recovery_scan(false, None, ctx);
        }
        // A refused start has not used its number, because numbers count instances, not attempts to start one.
        if !core::mem::take(&mut self.number_is_free) {
            self.life = self.life.next();
        }
        self.stop_awaiting_change(ctx);
        self.adopted = false;
        self.is_complete = false;
        self.changed_settings.clear();
        self.since = ctx.now;
        if self.policy.has_runtime {
            self.begin_materializing(ctx);
        } else {
            self.begin_preparing(ctx);
        }
    }

    pub(super) fn begin_preparing(&mut self, ctx: &mut StepContext<'_>) {
        let until = ctx.now.after(self.policy.startup).after(PREPARATION_SLACK);
        self.state = State::Preparing {
            until,
            cancelled: false,
            copying: false,
        };
        ctx.actions.push(ServiceAction::Prepare(self.life));
    }

    pub(super) fn tick_in_down(&mut self, ctx: &mut StepContext<'_>) {
        let State::Down(down) = &self.state else {
            return;
        };
        let due = match down {
            Down::Stopped => return,
            Down::Backoff { until } | Down::Parked { until } | Down::Blocked { until } => *until,
        };
        if ctx.now >= due && !self.must_stay_down() {
            self.begin_start(ctx);
        }
    }

    /// The program or the runtime source has changed: a service that waits to start tries again at once.
    pub(super) fn on_program_changed(&mut self, ctx: &mut StepContext<'_>) {
        let State::Down(down) = &self.state else {
            return;
        };
        if *down == Down::Stopped {
            return;
        }
        self.clear_failure_history(ctx);
        self.reason
            .set_past("tried again: what it is started from has changed".into());
        self.record(
            RecordKind::Backoff,
            self.reason.text().to_owned(),
            Vec::new(),
            ctx.actions,
        );
        self.begin_start(ctx);
    }

    pub(super) fn cancel_preparation(&mut self, ctx: &mut StepContext<'_>) {
        if let State::Preparing { cancelled, .. } = &mut self.state
            && !*cancelled
        {
            *cancelled = true;
            ctx.actions
                .push(ServiceAction::CancelPreparation(self.life));
        }
    }

    pub(super) fn on_prepared(&mut self, ctx: &mut StepContext<'_>) {
        let State::Preparing { cancelled, .. } = self.state else {
            return;
        };
        if cancelled || self.must_stay_down() {
            ctx.actions.push(ServiceAction::Retire(self.life));
            self.on_not_prepared(SpawnFailure::cancelled(), ctx);
        } else {
            self.state = State::Spawning;
            ctx.actions.push(ServiceAction::Spawn(self.life));
        }
    }

    /// A cancelled preparation ends for one of three reasons: a request that still holds, a request that was taken back
    /// meanwhile, or the deadline.
    pub(super) fn on_not_prepared(&mut self, failure: SpawnFailure, ctx: &mut StepContext<'_>) {
        let State::Preparing {
            until,
            cancelled,
            copying,
        } = self.state
        else {
            return;
        };
        if !cancelled || self.must_stay_down() {
            self.refuse_start(failure, ctx);
        } else if ctx.now < until {
            self.begin_start(ctx);
        } else {
            let (what, budget) = if copying {
                ("copy its runtime", COPYING_MAX)
            } else {
                ("prepare it", self.policy.startup + PREPARATION_SLACK)
            };
            let failure = SpawnFailure {
                message: format!("cannot {what}: not done within {}", in_words(budget)),
                lasting: false,
            };
            self.refuse_start(failure, ctx);
        }
    }

    pub(super) fn on_spawned(&mut self, main: Process, ctx: &mut StepContext<'_>) {
        if self.state != State::Spawning {
            return;
        }
        self.refusals = 0;
        self.restarts += u32::from(self.last_exit.is_some());
        self.since = ctx.now;
        let facts = vec![("pid", RecordValue::Number(main.pid.unsigned_abs().into()))];
        self.record(
            RecordKind::Started,
            format!("started as pid {}", main.pid),
            facts,
            ctx.actions,
        );
        let mut monitored = Monitored::new(Some(main), ctx.now, &self.policy);
        if let Some(why) = &self.runtimes.why_older {
            self.reason
                .set_present(format!("{RUNS_FROM_AN_EARLIER}{why}"));
            monitored.keeps_reason = true;
        }
        self.state = State::Up(monitored);
        if self.must_stay_down() {
            self.begin_stop(ctx);
        } else {
            self.become_ready_by_exec(ctx);
        }
    }

    pub(super) fn on_not_spawned(&mut self, failure: SpawnFailure, ctx: &mut StepContext<'_>) {
        if self.state != State::Spawning {
            return;
        }
        ctx.actions.push(ServiceAction::Retire(self.life));
        self.refuse_start(failure, ctx);
    }

    /// Handles a start that produced no process: stops the service if that was requested meanwhile, else blocks it until the
    /// next attempt.
    pub(super) fn refuse_start(&mut self, failure: SpawnFailure, ctx: &mut StepContext<'_>) {
        if self.must_stay_down() {
            self.reason.set_present("stopped on request".into());
            self.become_down(Down::Stopped, ctx);
            return;
        }
        self.refusals = self.refusals.saturating_add(1);
        self.number_is_free = true;
        let backoff = &self.policy.backoff;
        let wait = restart::wait(
            backoff,
            self.refusals as usize,
            self.description.jitter_seed,
            self.life,
        )
        .max(REFUSED_WAIT_MIN);
        let until = ctx.now.after(wait);
        if self.reason.text() != failure.message {
            let sentence = hints::again_in(&failure.message, wait);
            let facts = vec![("lasting", RecordValue::Flag(failure.lasting))];
            self.record(RecordKind::Blocked, sentence, facts, ctx.actions);
            self.reason.set_present(failure.message);
        }
        self.become_down(Down::Blocked { until }, ctx);
    }
}
