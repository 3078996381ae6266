//! The state kill pending: collects evidence, perhaps sends a first signal, then kills.

use super::super::action::{RecordKind, ServiceAction};
use super::super::event::{Exit, Survivors};
use super::super::policy::Watchdog;
use super::{Ending, EndingStage, KillStage, Service, State, StepContext};

impl Service {
    pub(super) fn tick_in_kill_pending(&mut self, ctx: &mut StepContext<'_>) {
        let State::KillPending { stage, .. } = &self.state else {
            return;
        };
        match *stage {
            KillStage::Evidence { until } if ctx.now >= until => self.after_evidence(ctx),
            KillStage::FirstSignal { until } if ctx.now >= until => self.kill_now(ctx),
            KillStage::Evidence { .. } | KillStage::FirstSignal { .. } => {}
        }
    }

    pub(super) fn on_evidence_collected(&mut self, ctx: &mut StepContext<'_>) {
        if let State::KillPending {
            stage: KillStage::Evidence { .. },
            ..
        } = &self.state
        {
            self.after_evidence(ctx);
        }
    }

    /// The main process ended by itself between the verdict and the kill.
    pub(super) fn exited_in_kill_pending(
        &mut self,
        exit: Exit,
        survivors: &Survivors,
        ctx: &mut StepContext<'_>,
    ) {
        let Some(mut ending) = self.ending_by_watchdog(ctx) else {
            return;
        };
        ending.exit = Some(exit);
        self.state = State::Ending(ending.clone());
        if survivors.count == 0 {
            self.instance_over(&ending, ctx);
        } else {
            ctx.actions.push(ServiceAction::KillTree(self.life));
        }
    }

    fn after_evidence(&mut self, ctx: &mut StepContext<'_>) {
        match self.policy.watchdog {
            Some(Watchdog {
                first_grace: Some(grace),
                ..
            }) => {
                let State::KillPending { stage, .. } = &mut self.state else {
                    return;
                };
                *stage = KillStage::FirstSignal {
                    until: ctx.now.after(grace),
                };
                ctx.actions.push(ServiceAction::SignalFirst(self.life));
            }
            Some(_) | None => self.kill_now(ctx),
        }
    }

    fn kill_now(&mut self, ctx: &mut StepContext<'_>) {
        let Some(ending) = self.ending_by_watchdog(ctx) else {
            return;
        };
        self.state = State::Ending(ending);
        ctx.actions.push(ServiceAction::KillTree(self.life));
    }

    fn ending_by_watchdog(&self, ctx: &StepContext<'_>) -> Option<Ending> {
        let State::KillPending { monitored, .. } = &self.state else {
            return None;
        };
        Some(Ending {
            main: monitored.main,
            ready_for: monitored.ready_for(ctx.now),
            exit: None,
            by_watchdog: true,
            by_request: false,
            stage: EndingStage::Kill,
        })
    }

    /// Cancels a pending kill because of a hold, and resets the count of dead attempts.
    pub(super) fn cancel_kill(&mut self, ctx: &mut StepContext<'_>) {
        let State::KillPending { monitored, .. } = &self.state else {
            return;
        };
        let mut monitored = monitored.clone();
        monitored.failures.void_before(ctx.now);
        self.state = State::Up(monitored);
        self.reason
            .set_past("not killed: a hold came before the SIGKILL".into());
        self.record(
            RecordKind::Suppressed,
            self.reason.text().to_owned(),
            Vec::new(),
            ctx.actions,
        );
    }
}
