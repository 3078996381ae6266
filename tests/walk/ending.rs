//! The end of a world.

use super::possible::{failure, proc_of};
use super::world::{ID, Next, World};
use stayd::decide::clock::Instant;
use stayd::decide::event::{Event, Exit, Life, ScanOutcome, ServiceEvent, Survivors};

impl World {
    /// From here the world behaves: does everything end, and is no deadline left behind?
    pub(crate) fn drains(mut self) {
        self.leaving = true;
        self.deliver(Event::Shutdown, false);
        for _ in 0..50 {
            if self.finished {
                assert_eq!(
                    self.machine.deadline(),
                    Instant::NEVER,
                    "no deadline is left"
                );
                return;
            }
            let outside = self.outside.clone();
            if outside.surveying {
                self.become_true(ServiceEvent::RecoveryScanned(ScanOutcome::Nothing(Life(0))));
            } else if let Some(life) = outside.preparing.or(outside.copying) {
                self.become_true(ServiceEvent::NotPrepared(life, failure()));
            } else if let Some(life) = outside.spawning {
                self.become_true(ServiceEvent::Spawned(life, proc_of(life)));
            } else if let (Some(life), true) = (outside.main, outside.killed.is_some()) {
                self.become_true(ServiceEvent::Exited(
                    life,
                    Exit::Signal(9),
                    Survivors::default(),
                ));
                if !self.finished {
                    self.become_true(ServiceEvent::Emptied(life));
                }
            } else if let Some(life) = outside.killed {
                self.become_true(ServiceEvent::Emptied(life));
            } else {
                assert_ne!(
                    self.machine.deadline(),
                    Instant::NEVER,
                    "stuck: {:?}",
                    self.outside
                );
                self.happen(Next::Deadline);
            }
        }
        panic!(
            "does not end: {:?} {:?}",
            self.outside,
            self.machine.snapshot(self.now, ID)
        );
    }
}
