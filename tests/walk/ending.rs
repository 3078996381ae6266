//! The end of a world.

use super::possible::{failure, proc_of};
use super::world::{ID, Next, World};
use stayd::decide::clock::Moment;
use stayd::decide::event::{Event, Exit, Fact, Life, Survey, Survivors};

impl World {
    /// From here the world behaves: does everything end, and is no deadline left behind?
    pub(crate) fn drains(mut self) {
        self.leaving = true;
        self.deliver(Event::Shutdown, false);
        for _ in 0..50 {
            if self.finished {
                assert_eq!(
                    self.machine.deadline(),
                    Moment::NEVER,
                    "no deadline is left"
                );
                return;
            }
            let outside = self.outside.clone();
            if outside.surveying {
                self.become_true(Fact::Surveyed(Survey::Nothing(Life(0))));
            } else if let Some(life) = outside.preparing.or(outside.copying) {
                self.become_true(Fact::NotPrepared(life, failure()));
            } else if let Some(life) = outside.spawning {
                self.become_true(Fact::Spawned(life, proc_of(life)));
            } else if let (Some(life), true) = (outside.main, outside.killed.is_some()) {
                self.become_true(Fact::Exited(life, Exit::Signal(9), Survivors::default()));
                if !self.finished {
                    self.become_true(Fact::Emptied(life));
                }
            } else if let Some(life) = outside.killed {
                self.become_true(Fact::Emptied(life));
            } else {
                assert_ne!(
                    self.machine.deadline(),
                    Moment::NEVER,
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
