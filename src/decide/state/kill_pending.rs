//! The verdict is spoken: evidence, perhaps a first signal, then the kill.

use super::super::action::{Kind, ServiceAction};
use super::super::event::ServiceEvent;
use super::super::policy::Watchdog;
use super::{Actual, Ending, KillPending, Service, Step, Turn};

impl Service {
    pub(super) fn time_in_condemned(&mut self, step: &mut Turn<'_>) {
        let Actual::KillPending { step: at, .. } = &self.actual else {
            return;
        };
        match *at {
            KillPending::Evidence { until } if step.now >= until => self.after_evidence(step),
            KillPending::First { until } if step.now >= until => self.kill_condemned(step),
            KillPending::Evidence { .. } | KillPending::First { .. } => {}
        }
    }

    pub(super) fn fact_in_condemned(&mut self, fact: ServiceEvent, step: &mut Turn<'_>) {
        let Actual::KillPending { step: at, .. } = &self.actual else {
            return;
        };
        match fact {
            ServiceEvent::EvidenceTaken(_) if matches!(at, KillPending::Evidence { .. }) => {
                self.after_evidence(step);
            }
            ServiceEvent::Exited(_, exit, survivors) => {
                let Some(mut ending) = self.condemned_ending(step) else {
                    return;
                };
                ending.exit = Some(exit);
                self.actual = Actual::Ending(ending.clone());
                if survivors.count == 0 {
                    self.life_over(&ending, step);
                } else {
                    step.out.push(ServiceAction::KillTree(self.life));
                }
            }
            ServiceEvent::EvidenceTaken(_)
            | ServiceEvent::Configured(_)
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
            | ServiceEvent::Emptied(_)
            | ServiceEvent::NotEmptied { .. }
            | ServiceEvent::Probed(..)
            | ServiceEvent::ServiceMessage(..)
            | ServiceEvent::Changed => {}
        }
    }

    fn after_evidence(&mut self, step: &mut Turn<'_>) {
        match self.policy.watchdog {
            Some(Watchdog {
                first_grace: Some(grace),
                ..
            }) => {
                let Actual::KillPending { step: at, .. } = &mut self.actual else {
                    return;
                };
                *at = KillPending::First {
                    until: step.now.after(grace),
                };
                step.out.push(ServiceAction::SignalFirst(self.life));
            }
            Some(_) | None => self.kill_condemned(step),
        }
    }

    fn kill_condemned(&mut self, step: &mut Turn<'_>) {
        let Some(ending) = self.condemned_ending(step) else {
            return;
        };
        self.actual = Actual::Ending(ending);
        step.out.push(ServiceAction::KillTree(self.life));
    }

    fn condemned_ending(&self, step: &Turn<'_>) -> Option<Ending> {
        let Actual::KillPending { up, .. } = &self.actual else {
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
        let Actual::KillPending { up, .. } = &self.actual else {
            return;
        };
        let mut up = up.clone();
        up.row.distrust_before(step.now);
        self.actual = Actual::Up(up);
        self.reason = "not killed: a hold came before the SIGKILL".into();
        self.record(Kind::Suppressed, self.reason.clone(), Vec::new(), step.out);
    }
}
