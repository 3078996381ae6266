//! After an instance has ended: start the next one, wait (backoff), give up (parked), or stay stopped.

use super::super::action::{Persist, RecordKind, RecordValue, ServiceAction};
use super::super::clock::{Duration, in_words};
use super::super::event::Exit;
use super::super::policy::Restart;
use super::super::restart::{self, NextStart};
use super::{Down, Ending, Service, StepContext, millis};

impl Service {
    /// The instance is over and its process tree is empty: decide what comes next.
    pub(super) fn instance_over(&mut self, end: &Ending, ctx: &mut StepContext<'_>) {
        let exit = end.exit.unwrap_or(Exit::Unknown);
        let why = self.reason.text().to_owned();
        self.last_exit = Some((exit, ctx.now));
        let restarting = end.by_request && self.wanted_up;
        let again = restart::should_restart(self.policy.restart, exit, end.by_watchdog);
        ctx.actions
            .push(if !self.must_stay_down() && !restarting && !again {
                ServiceAction::RetireKeepingClaim(self.life, exit)
            } else {
                ServiceAction::Retire(self.life)
            });
        if self.must_stay_down() {
            self.reason.set_present("stopped on request".into());
            self.record(
                RecordKind::Stopped,
                "stopped".into(),
                Vec::new(),
                ctx.actions,
            );
            self.become_down(Down::Stopped, ctx);
        } else if restarting || !end.by_request && self.rolls_back(&why, ctx) {
            self.begin_start(ctx);
        } else if again {
            self.restart_by_policy(end.ready_for, ctx);
        } else {
            let sentence = self.stays_stopped(exit);
            self.record(
                RecordKind::Stopped,
                sentence.clone(),
                Vec::new(),
                ctx.actions,
            );
            self.reason.set_present(sentence);
            self.is_complete = exit == Exit::Code(0);
            self.become_down(Down::Stopped, ctx);
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

    fn restart_by_policy(&mut self, ready_for: Option<Duration>, ctx: &mut StepContext<'_>) {
        let spread = (self.description.jitter_seed, self.life);
        let was_parked = self.history.is_parked();
        let (backoff, give_up) = (&self.policy.backoff, &self.policy.give_up);
        match self
            .history
            .after_end(ctx.now, ready_for, backoff, give_up, spread)
        {
            NextStart::Now => self.begin_start(ctx),
            NextStart::After(wait) => {
                let until = ctx.now.after(wait);
                self.become_down(Down::Backoff { until }, ctx);
                let sentence =
                    format!("starts again in {}: {}", in_words(wait), self.reason.text());
                self.record(
                    RecordKind::Backoff,
                    sentence,
                    vec![("wait_ms", millis(wait))],
                    ctx.actions,
                );
            }
            NextStart::Parked(wait) => self.park(wait, ctx),
        }
        if was_parked && !self.history.is_parked() {
            ctx.actions
                .push(ServiceAction::Persist(Persist::Parked(false)));
        }
    }

    /// Clears the failure history: after stable uptime, a user's request, or a changed program.
    pub(super) fn clear_failure_history(&mut self, ctx: &mut StepContext<'_>) {
        if self.history.is_parked() {
            ctx.actions
                .push(ServiceAction::Persist(Persist::Parked(false)));
        }
        self.history.clear();
        self.refusals = 0;
    }

    fn park(&mut self, wait: Duration, ctx: &mut StepContext<'_>) {
        let give_up = self.policy.give_up;
        let files = if self.policy.has_runtime {
            "runtime's source"
        } else {
            "program"
        };
        let sentence = format!(
            "gave up: {} instances ended within {} s, the last one: {}; tries again every {} s and when its \
             configuration or {files} changes",
            give_up.exits,
            give_up.within.as_secs(),
            self.reason.text(),
            wait.as_secs()
        );
        let facts = vec![("exits", RecordValue::Number(give_up.exits.into()))];
        self.record(RecordKind::GaveUp, sentence.clone(), facts, ctx.actions);
        ctx.actions
            .push(ServiceAction::Persist(Persist::Parked(true)));
        self.reason.set_present(sentence);
        let until = ctx.now.after(wait);
        self.become_down(Down::Parked { until }, ctx);
    }

    pub(super) fn parked_retry(&self) -> Duration {
        self.policy.give_up.within.max(self.policy.backoff.max)
    }
}
