//! A tree on its way out: the stop signal, its grace, SIGKILL, and what SIGKILL does not end.

use super::super::action::{Kind, ServiceAction, Value};
use super::super::clock::{Duration, in_words};
use super::super::event::ServiceEvent;
use super::{Actual, Ending, KillPending, Service, Step, Turn};

/// What SIGKILL did not end is killed again this much later.
const UNKILLABLE_AGAIN: Duration = Duration::from_secs(10);

impl Service {
    /// Ends a running life on a wish: the stop signal first.
    pub(super) fn begin_stop(&mut self, step: &mut Turn<'_>) {
        let (up, kill_pending) = match &self.actual {
            Actual::Up(up) => (up, false),
            Actual::KillPending {
                up,
                step: KillPending::Evidence { .. } | KillPending::First { .. },
            } => (up, true),
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Down(_)
            | Actual::Preparing { .. }
            | Actual::Spawning
            | Actual::Attached(_)
            | Actual::Ending(_) => return,
        };
        let grace = if self.hurried {
            Duration::ZERO
        } else {
            self.policy.stop_grace
        };
        let ending = Ending {
            main: up.main,
            ready_for: up.ready_for(step.now),
            exit: None,
            by_watchdog: kill_pending,
            by_wish: true,
            step: Step::Grace {
                kill_at: step.now.after(grace),
            },
        };
        self.actual = Actual::Ending(ending);
        self.since = step.now;
        step.out.push(ServiceAction::Terminate {
            life: self.life,
            tree: false,
        });
    }

    /// A wish to be up that comes while the tree ends: the next life begins whatever the restart policy says.
    pub(super) fn wish_in_ending(&mut self) {
        if let Actual::Ending(ending) = &mut self.actual {
            ending.by_wish = true;
        }
    }

    pub(super) fn time_in_ending(&mut self, step: &mut Turn<'_>) {
        let (life, grace) = (self.life, self.policy.stop_grace);
        let Actual::Ending(ending) = &mut self.actual else {
            return;
        };
        match ending.step {
            Step::Grace { kill_at } if step.now >= kill_at => {
                ending.step = Step::Kill;
                let sentence = format!(
                    "the stop signal did not end it within {}: SIGKILL",
                    in_words(grace)
                );
                step.out.push(ServiceAction::KillTree(life));
                self.record(
                    Kind::Killed,
                    sentence,
                    vec![("grace_ms", super::millis(grace))],
                    step.out,
                );
            }
            Step::Unkillable { again_at } if step.now >= again_at => {
                ending.step = Step::Kill;
                step.out.push(ServiceAction::KillTree(life));
            }
            Step::Grace { .. } | Step::Kill | Step::Unkillable { .. } => {}
        }
    }

    pub(super) fn fact_in_ending(&mut self, fact: ServiceEvent, step: &mut Turn<'_>) {
        match fact {
            ServiceEvent::Exited(life, exit, survivors) => {
                let Actual::Ending(ending) = &mut self.actual else {
                    return;
                };
                ending.exit = Some(exit);
                match ending.step {
                    Step::Grace { .. } if survivors.count > 0 => {
                        step.out.push(ServiceAction::Terminate { life, tree: true });
                    }
                    Step::Grace { .. } => self.end_now(step),
                    // The kill has given up and reports no more: this exit was the last of it.
                    Step::Unkillable { .. } if survivors.count == 0 => self.end_now(step),
                    Step::Kill | Step::Unkillable { .. } => {}
                }
            }
            ServiceEvent::Emptied(_) => self.emptied(step),
            ServiceEvent::NotEmptied { left, stuck, .. } => self.not_emptied(left, stuck, step),
            ServiceEvent::Configured(_)
            | ServiceEvent::Requested(_)
            | ServiceEvent::RecoveryScanned(_)
            | ServiceEvent::Materialized(..)
            | ServiceEvent::Prepared(_)
            | ServiceEvent::NotPrepared(..)
            | ServiceEvent::BeforeFailed(..)
            | ServiceEvent::PortHeld(..)
            | ServiceEvent::ForeignProcessLeft(..)
            | ServiceEvent::Spawned(..)
            | ServiceEvent::NotSpawned(..)
            | ServiceEvent::Probed(..)
            | ServiceEvent::EvidenceTaken(_)
            | ServiceEvent::ServiceMessage(..)
            | ServiceEvent::Changed => {}
        }
    }

    /// No member is left. The exit of the main process comes first, always: both are needed.
    fn emptied(&mut self, step: &mut Turn<'_>) {
        let Actual::Ending(ending) = &self.actual else {
            return;
        };
        if ending.exit.is_some() {
            self.end_now(step);
        }
    }

    fn end_now(&mut self, step: &mut Turn<'_>) {
        let Actual::Ending(ending) = &self.actual else {
            return;
        };
        let ending = ending.clone();
        self.life_over(&ending, step);
    }

    fn not_emptied(&mut self, left: usize, stuck: usize, step: &mut Turn<'_>) {
        let Actual::Ending(ending) = &mut self.actual else {
            return;
        };
        if ending.step != Step::Kill {
            return;
        }
        ending.step = Step::Unkillable {
            again_at: step.now.after(UNKILLABLE_AGAIN),
        };
        let sentence = format!(
            "SIGKILL has not ended {left} of its processes, {stuck} of them stuck in the kernel (state D); nothing \
             is started until they are gone, trying again in {} s",
            UNKILLABLE_AGAIN.as_secs()
        );
        if self.reason != sentence {
            let count = |number: usize| Value::Number(u64::try_from(number).unwrap_or(u64::MAX));
            let facts = vec![("left", count(left)), ("stuck", count(stuck))];
            self.record(Kind::Unkillable, sentence.clone(), facts, step.out);
            self.reason = sentence;
            self.since = step.now;
        }
    }
}
