//! The state ending: the stop signal, its grace, SIGKILL, and repeated SIGKILL for unkillable processes.

use super::super::action::{RecordKind, RecordValue, ServiceAction};
use super::super::clock::{Duration, in_words};
use super::super::event::{Exit, Survivors};
use super::{Ending, EndingStage, KillStage, Service, State, StepContext};

/// Processes that SIGKILL did not end get SIGKILL again this much later.
const UNKILLABLE_AGAIN: Duration = Duration::from_secs(10);

impl Service {
    /// Ends a running instance on a request: the stop signal first.
    pub(super) fn begin_stop(&mut self, ctx: &mut StepContext<'_>) {
        let (monitored, kill_pending) = match &self.state {
            State::Up(monitored) => (monitored, false),
            State::KillPending {
                monitored,
                stage: KillStage::Evidence { .. } | KillStage::FirstSignal { .. },
            } => (monitored, true),
            State::Unconfigured
            | State::Scanning { .. }
            | State::Down(_)
            | State::Preparing { .. }
            | State::Spawning
            | State::Attached(_)
            | State::Ending(_) => return,
        };
        let grace = if self.forced {
            Duration::ZERO
        } else {
            self.policy.stop_grace
        };
        let ending = Ending {
            main: monitored.main,
            ready_for: monitored.ready_for(ctx.now),
            exit: None,
            by_watchdog: kill_pending,
            by_request: true,
            stage: EndingStage::Grace {
                kill_at: ctx.now.after(grace),
            },
        };
        self.state = State::Ending(ending);
        self.since = ctx.now;
        ctx.actions.push(ServiceAction::Terminate {
            life: self.life,
            tree: false,
        });
    }

    /// Makes the next instance begin regardless of the restart policy, because a start was requested while the tree ends.
    pub(super) fn start_after_ending(&mut self) {
        if let State::Ending(ending) = &mut self.state {
            ending.by_request = true;
        }
    }

    pub(super) fn tick_in_ending(&mut self, ctx: &mut StepContext<'_>) {
        let (life, grace) = (self.life, self.policy.stop_grace);
        let State::Ending(ending) = &mut self.state else {
            return;
        };
        match ending.stage {
            EndingStage::Grace { kill_at } if ctx.now >= kill_at => {
                ending.stage = EndingStage::Kill;
                let sentence = format!(
                    "the stop signal did not end it within {}: SIGKILL",
                    in_words(grace)
                );
                ctx.actions.push(ServiceAction::KillTree(life));
                self.record(
                    RecordKind::Killed,
                    sentence,
                    vec![("grace_ms", super::millis(grace))],
                    ctx.actions,
                );
            }
            EndingStage::Unkillable { again_at } if ctx.now >= again_at => {
                ending.stage = EndingStage::Kill;
                ctx.actions.push(ServiceAction::KillTree(life));
            }
            EndingStage::Grace { .. } | EndingStage::Kill | EndingStage::Unkillable { .. } => {}
        }
    }

    pub(super) fn exited_in_ending(
        &mut self,
        exit: Exit,
        survivors: &Survivors,
        ctx: &mut StepContext<'_>,
    ) {
        let life = self.life;
        let State::Ending(ending) = &mut self.state else {
            return;
        };
        ending.exit = Some(exit);
        match ending.stage {
            EndingStage::Grace { .. } if survivors.count > 0 => {
                ctx.actions
                    .push(ServiceAction::Terminate { life, tree: true });
            }
            EndingStage::Grace { .. } => self.end_instance(ctx),
            // The kill has timed out and reports nothing more, so this exit was the last of the tree.
            EndingStage::Unkillable { .. } if survivors.count == 0 => self.end_instance(ctx),
            EndingStage::Kill | EndingStage::Unkillable { .. } => {}
        }
    }

    /// Ends the instance, because no member of the tree is left. The exit of the main process is always reported before that.
    pub(super) fn on_tree_emptied(&mut self, ctx: &mut StepContext<'_>) {
        let State::Ending(ending) = &self.state else {
            return;
        };
        if ending.exit.is_some() {
            self.end_instance(ctx);
        }
    }

    fn end_instance(&mut self, ctx: &mut StepContext<'_>) {
        let State::Ending(ending) = &self.state else {
            return;
        };
        let ending = ending.clone();
        self.instance_over(&ending, ctx);
    }

    pub(super) fn on_kill_timed_out(
        &mut self,
        left: usize,
        stuck: usize,
        refusal: Option<&str>,
        ctx: &mut StepContext<'_>,
    ) {
        let State::Ending(ending) = &mut self.state else {
            return;
        };
        if ending.stage != EndingStage::Kill {
            return;
        }
        ending.stage = EndingStage::Unkillable {
            again_at: ctx.now.after(UNKILLABLE_AGAIN),
        };
        let refused =
            refusal.map(|cause| format!(", because the system refused the signal: {cause}"));
        let stuck_in_kernel =
            (stuck > 0).then(|| format!(", {stuck} of them stuck in the kernel (state D)"));
        let sentence = format!(
            "SIGKILL has not ended {left} of its processes{}{}; nothing is started until they are gone, trying again in \
             {} s",
            stuck_in_kernel.unwrap_or_default(),
            refused.unwrap_or_default(),
            UNKILLABLE_AGAIN.as_secs()
        );
        if self.reason.text() != sentence {
            let count =
                |number: usize| RecordValue::Number(u64::try_from(number).unwrap_or(u64::MAX));
            let facts = vec![("left", count(left)), ("stuck", count(stuck))];
            self.record(RecordKind::Unkillable, sentence.clone(), facts, ctx.actions);
            self.reason.set_present(sentence);
            self.since = ctx.now;
        }
    }
}
