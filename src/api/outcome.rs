//! Decides whether a command has succeeded, by comparing the service before the command and now.

use super::routes::Verb;
use super::wire::Service;

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
        "stopped" if next_life => Outcome::Failed,
        _ => Outcome::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, outcome_of};
    use crate::api::routes::Verb;
    use crate::api::wire::Service;

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
