//! Checks that from any state a shutdown comes to its end.

use super::possible_events::{failure, process_of};
use super::world::{Next, World};
use stayd::decide::clock::Instant;
use stayd::decide::event::{Exit, Life, ScanOutcome, ServiceEvent, Survivors};

/// A shutdown that needs more events than this per service does not end.
const EVENTS_MAX: usize = 50;

impl World {
    /// Requests a shutdown, and a second time in a copy, which forces it. Both must end.
    pub(crate) fn assert_shutdown_ends(mut self) {
        if !self.leaving {
            self.happen(Next::Shutdown);
        }
        if !self.finished {
            let mut forced = self.clone();
            forced.happen(Next::Shutdown);
            forced.assert_ends();
        }
        self.assert_ends();
    }

    /// Lets every action have its usual outcome. stayd must finish, and leave no deadline.
    fn assert_ends(mut self) {
        for _ in 0..EVENTS_MAX * self.services.len() {
            if self.finished {
                assert_eq!(
                    self.machine.deadline(),
                    Instant::NEVER,
                    "no deadline is left"
                );
                return;
            }
            let outcome = self
                .ids()
                .find_map(|id| Some((id, self.usual_outcome(id.0)?)));
            match outcome {
                Some((id, event)) => self.event(id, event),
                None => {
                    assert_ne!(
                        self.machine.deadline(),
                        Instant::NEVER,
                        "stuck: {:?}",
                        self.services
                    );
                    self.happen(Next::Deadline);
                }
            }
        }
        panic!("the shutdown does not end: {:?}", self.services);
    }

    /// The outcome of what is under way for a service; `None` if it only waits for time to pass.
    fn usual_outcome(&self, index: usize) -> Option<ServiceEvent> {
        let service = &self.services[index];
        if service.scanning {
            let nothing = ScanOutcome::Nothing(Life(0));
            Some(ServiceEvent::RecoveryScanned(nothing))
        } else if let Some(life) = service.preparing.or(service.copying) {
            Some(ServiceEvent::NotPrepared(life, failure()))
        } else if let Some(life) = service.spawning {
            Some(ServiceEvent::Spawned(life, process_of(life)))
        } else if let (Some(life), true) = (service.main, service.killed.is_some()) {
            let survivors = Survivors::default();
            Some(ServiceEvent::Exited(life, Exit::Signal(9), survivors))
        } else {
            service.killed.map(ServiceEvent::TreeEmptied)
        }
    }
}
