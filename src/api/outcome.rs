//! Decides whether a command has succeeded, by comparing the service before the command and now.

use super::routes::Verb;
use super::wire::Service;
use std::time::Duration;

/// A service without a probe counts as running when its new instance has lived for this long.
const LIFE_MIN: Duration = Duration::from_secs(1);

/// What has become of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// In progress.
    Pending,
    /// It succeeded.
    Reached,
    /// It did not succeed, and waiting longer does not help.
    Failed,
    /// A later request, of this verb, wants the opposite.
    Replaced(Verb),
}

/// The outcome of the command `verb`, accepted when the service was as in `before`.
pub(super) fn outcome_of(verb: Verb, before: &Service, now: &Service) -> Outcome {
    match verb {
        Verb::Reload | Verb::Hold | Verb::Release => Outcome::Reached,
        Verb::Stop => match now.state.as_str() {
            "stopped" | "destroyed" => Outcome::Reached,
            "unkillable" => Outcome::Failed,
            _ => Outcome::Pending,
        },
        Verb::Start => outcome_of_start(before, now, true),
        // If the present instance had no process before the restart, it is already the new one.
        Verb::Restart => {
            outcome_of_start(before, now, now.life > before.life || before.pid.is_none())
        }
    }
}

/// `is_new`: the present instance is the one that the command asked for, not the one that it replaces.
fn outcome_of_start(before: &Service, now: &Service, is_new: bool) -> Outcome {
    let next_life = now.life > before.life;
    match now.state.as_str() {
        "running" if is_new => Outcome::Reached,
        "attached" if is_new && now.healthy => Outcome::Reached,
        "blocked" | "parked" | "unkillable" | "attached" | "destroyed" => Outcome::Failed,
        "unproven" if is_new => Outcome::Failed,
        "backoff" if next_life || before.state != "backoff" => Outcome::Failed,
        // It has done its work, and `restart` wants no other instance.
        "stopped" if next_life && now.healthy => Outcome::Reached,
        "stopped" if next_life => Outcome::Failed,
        _ => Outcome::Pending,
    }
}

/// The first instance that a command has led to, where no probe shows that it works: such a service counts as running as soon
/// as its program is started, and many a program ends at once.
#[derive(Debug, Default)]
pub(super) struct NewInstance(Option<(u32, Duration)>);

impl NewInstance {
    /// Turns what [`outcome_of`] says into the outcome of the command at the awake time `now`: where that is reached, it is
    /// pending until an instance without a probe has run for [`LIFE_MIN`], and failed as soon as another instance follows it.
    pub(super) fn confirm(
        &mut self,
        outcome: Outcome,
        before: &Service,
        service: &Service,
        now: Duration,
    ) -> Outcome {
        if let Some((life, _)) = self.0
            && life != service.life
        {
            return Outcome::Failed;
        }
        let is_old = service.life == before.life && service.pid == before.pid;
        let is_shown = service.pid.is_none() || is_old || !service.probes.is_empty();
        if outcome != Outcome::Reached || is_shown {
            return outcome;
        }
        self.0.get_or_insert((service.life, now));
        match self.time_left(now) {
            Some(_) => Outcome::Pending,
            None => Outcome::Reached,
        }
    }

    /// The time until an instance that still runs counts as running; none if there is nothing to wait for, so never zero.
    pub(super) fn time_left(&self, now: Duration) -> Option<Duration> {
        let (_, since) = self.0?;
        let left = LIFE_MIN.checked_sub(now.saturating_sub(since))?;
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::{LIFE_MIN, NewInstance, Outcome, outcome_of};
    use crate::api::routes::Verb;
    use crate::api::wire::Service;
    use std::time::Duration;

    /// A service that has a process.
    fn at(state: &str, life: u32) -> Service {
        Service {
            pid: Some(7),
            state: state.to_owned(),
            life,
            ..Service::default()
        }
    }

    #[test]
    fn a_restart_succeeds_only_with_a_new_instance() {
        let before = at("running", 3);
        assert_eq!(
            outcome_of(Verb::Restart, &before, &at("running", 3)),
            Outcome::Pending
        );
        assert_eq!(
            outcome_of(Verb::Restart, &before, &at("stopping", 3)),
            Outcome::Pending
        );
        assert_eq!(
            outcome_of(Verb::Restart, &before, &at("running", 4)),
            Outcome::Reached
        );
        assert_eq!(
            outcome_of(Verb::Restart, &before, &at("backoff", 4)),
            Outcome::Failed
        );
    }

    #[test]
    fn a_restart_of_an_instance_without_a_process_succeeds_with_that_instance() {
        let before = Service {
            pid: None,
            ..at("starting", 3)
        };
        assert_eq!(
            outcome_of(Verb::Restart, &before, &before),
            Outcome::Pending
        );
        assert_eq!(
            outcome_of(Verb::Restart, &before, &at("running", 3)),
            Outcome::Reached
        );
    }

    #[test]
    fn a_start_succeeds_only_when_the_service_answers() {
        let before = at("stopped", 1);
        assert_eq!(
            outcome_of(Verb::Start, &before, &at("starting", 2)),
            Outcome::Pending
        );
        assert_eq!(
            outcome_of(Verb::Start, &before, &at("running", 2)),
            Outcome::Reached
        );
        assert_eq!(
            outcome_of(Verb::Start, &before, &at("blocked", 2)),
            Outcome::Failed
        );
        assert_eq!(
            outcome_of(Verb::Start, &before, &at("unproven", 2)),
            Outcome::Failed
        );
        assert_eq!(
            outcome_of(Verb::Start, &at("backoff", 2), &at("backoff", 2)),
            Outcome::Pending
        );
    }

    #[test]
    fn a_start_succeeds_when_an_attached_process_answers() {
        let before = at("stopped", 1);
        let attached = |healthy| Service {
            healthy,
            ..at("attached", 2)
        };
        assert_eq!(
            outcome_of(Verb::Start, &before, &attached(true)),
            Outcome::Reached
        );
        assert_eq!(
            outcome_of(Verb::Start, &before, &attached(false)),
            Outcome::Failed
        );
    }

    #[test]
    fn a_new_instance_without_a_probe_has_to_live_for_a_second() {
        let (before, began) = (at("running", 3), Duration::from_secs(7));
        let after = |life, millis, new: &mut NewInstance| {
            let at_that_time = began + Duration::from_millis(millis);
            new.confirm(
                Outcome::Reached,
                &before,
                &at("running", life),
                at_that_time,
            )
        };
        let mut new = NewInstance::default();
        assert_eq!(after(3, 0, &mut new), Outcome::Reached, "it is the old one");
        assert_eq!(after(4, 0, &mut new), Outcome::Pending);
        assert_eq!(after(4, 999, &mut new), Outcome::Pending);
        assert_eq!(after(4, 1000, &mut new), Outcome::Reached);
        assert_eq!(after(5, 1000, &mut new), Outcome::Failed, "it has ended");
        let probed = Service {
            probes: vec![Default::default()],
            ..at("running", 4)
        };
        let confirmed = NewInstance::default().confirm(Outcome::Reached, &before, &probed, began);
        assert_eq!(confirmed, Outcome::Reached);
    }

    #[test]
    fn a_new_instance_that_ends_early_is_never_waited_for_without_a_pause() {
        let (before, began) = (at("running", 3), Duration::from_secs(7));
        let mut new = NewInstance::default();
        new.confirm(Outcome::Reached, &before, &at("running", 4), began);
        assert_eq!(new.time_left(began), Some(LIFE_MIN));
        let later = began + LIFE_MIN;
        let stopping = new.confirm(Outcome::Pending, &before, &at("stopping", 4), later);
        assert_eq!(stopping, Outcome::Pending);
        assert_eq!(new.time_left(later), None, "a pause of zero is a busy loop");
        let next = new.confirm(Outcome::Pending, &before, &at("starting", 5), later);
        assert_eq!(next, Outcome::Failed, "it has ended");
    }

    #[test]
    fn a_start_of_a_one_shot_succeeds_when_it_has_ended_well() {
        let before = at("stopped", 1);
        let ended = |healthy| Service {
            pid: None,
            healthy,
            ..at("stopped", 2)
        };
        let outcome = |healthy| outcome_of(Verb::Start, &before, &ended(healthy));
        assert_eq!(outcome(true), Outcome::Reached);
        assert_eq!(outcome(false), Outcome::Failed);
    }

    #[test]
    fn a_stop_succeeds_when_no_process_runs() {
        let before = at("running", 1);
        assert_eq!(
            outcome_of(Verb::Stop, &before, &at("stopping", 1)),
            Outcome::Pending
        );
        assert_eq!(
            outcome_of(Verb::Stop, &before, &at("stopped", 1)),
            Outcome::Reached
        );
        assert_eq!(
            outcome_of(Verb::Stop, &before, &at("unkillable", 1)),
            Outcome::Failed
        );
    }
}
