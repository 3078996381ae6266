//! The verdict is spoken: evidence, perhaps a first signal, then the kill.

use super::super::action::{Kind, Order};
use super::super::event::Fact;
use super::super::policy::Watchdog;
use super::{Actual, Condemned, Ending, Service, Step, Turn};

impl Service {
    pub(super) fn time_in_condemned(&mut self, step: &mut Turn<'_>) {
        let Actual::Condemned { step: at, .. } = &self.actual else {
            return;
        };
        match *at {
            Condemned::Evidence { until } if step.now >= until => self.after_evidence(step),
            Condemned::First { until } if step.now >= until => self.kill_condemned(step),
            Condemned::Evidence { .. } | Condemned::First { .. } => {}
        }
    }

    pub(super) fn fact_in_condemned(&mut self, fact: Fact, step: &mut Turn<'_>) {
        let Actual::Condemned { step: at, .. } = &self.actual else {
            return;
        };
        match fact {
            Fact::EvidenceTaken(_) if matches!(at, Condemned::Evidence { .. }) => {
                self.after_evidence(step);
            }
            Fact::Exited(_, exit, survivors) => {
                let Some(mut ending) = self.condemned_ending(step) else {
                    return;
                };
                ending.exit = Some(exit);
                self.actual = Actual::Ending(ending.clone());
                if survivors.count == 0 {
                    self.life_over(&ending, step);
                } else {
                    step.out.push(Order::KillTree(self.life));
                }
            }
            Fact::EvidenceTaken(_)
            | Fact::Configured(_)
            | Fact::Asked(_)
            | Fact::Surveyed(_)
            | Fact::Materialized(..)
            | Fact::Prepared(_)
            | Fact::NotPrepared(..)
            | Fact::BeforeFailed(..)
            | Fact::PortHeld(..)
            | Fact::StrangerLeft(..)
            | Fact::Spawned(..)
            | Fact::NotSpawned(..)
            | Fact::Emptied(_)
            | Fact::NotEmptied { .. }
            | Fact::Probed(..)
            | Fact::Told(..)
            | Fact::Changed => {}
        }
    }

    fn after_evidence(&mut self, step: &mut Turn<'_>) {
        match self.policy.watchdog {
            Some(Watchdog {
                first_grace: Some(grace),
                ..
            }) => {
                let Actual::Condemned { step: at, .. } = &mut self.actual else {
                    return;
                };
                *at = Condemned::First {
                    until: step.now.after(grace),
                };
                step.out.push(Order::SignalFirst(self.life));
            }
            Some(_) | None => self.kill_condemned(step),
        }
    }

    fn kill_condemned(&mut self, step: &mut Turn<'_>) {
        let Some(ending) = self.condemned_ending(step) else {
            return;
        };
        self.actual = Actual::Ending(ending);
        step.out.push(Order::KillTree(self.life));
    }

    fn condemned_ending(&self, step: &Turn<'_>) -> Option<Ending> {
        let Actual::Condemned { up, .. } = &self.actual else {
            return None;
        };
        Some(Ending {
            main: up.main,
            ready_for: up.ready_for(step.now),
            exit: None,
            by_watchdog: true,
            by_wish: false,
            step: Step::Kill,
        })
    }

    /// A hold that comes between verdict and kill: back to running, and the row begins anew.
    pub(super) fn reprieve(&mut self, step: &mut Turn<'_>) {
        let Actual::Condemned { up, .. } = &self.actual else {
            return;
        };
        let mut up = up.clone();
        up.row.distrust_before(step.now);
        self.actual = Actual::Up(up);
        self.reason = "not killed: a hold came before the SIGKILL".into();
        self.record(Kind::Spared, self.reason.clone(), Vec::new(), step.out);
    }
}
