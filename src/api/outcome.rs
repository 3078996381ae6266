//! Whether a wish has come true: a function of the service before and now.

use super::routes::Verb;
use super::wire::Service;

/// What has become of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Under way.
    Pending,
    /// It came true.
    Reached,
    /// It did not, and will not by waiting a little longer.
    Missed,
}

/// Judges `verb`, asked for when the service was as `before`.
pub(super) fn judge(verb: Verb, before: &Service, now: &Service) -> Outcome {
    match verb {
        Verb::Reload | Verb::Hold | Verb::Release => Outcome::Reached,
        Verb::Stop => match now.state.as_str() {
            "stopped" | "destroyed" => Outcome::Reached,
            "unkillable" => Outcome::Missed,
            _ => Outcome::Pending,
        },
        Verb::Start => risen(before, now, true),
        // A life that had no process yet when it was asked for is the new one already.
        Verb::Restart => risen(before, now, now.life > before.life || before.pid.is_none()),
    }
}

/// `counts`: being up now is what was asked for, not the life that is to be replaced.
fn risen(before: &Service, now: &Service, counts: bool) -> Outcome {
    let new_life = now.life > before.life;
    match now.state.as_str() {
        "running" if counts => Outcome::Reached,
        "attached" if counts && now.healthy => Outcome::Reached,
        "blocked" | "parked" | "unkillable" | "attached" | "destroyed" => Outcome::Missed,
        "unproven" if counts => Outcome::Missed,
        "backoff" if new_life || before.state != "backoff" => Outcome::Missed,
        "stopped" if new_life => Outcome::Missed,
        _ => Outcome::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, judge};
    use crate::api::routes::Verb;
    use crate::api::wire::Service;

    /// A service with a process.
    fn at(state: &str, life: u32) -> Service {
        Service {
            pid: Some(7),
            state: state.to_owned(),
            life,
            ..Service::default()
        }
    }

    #[test]
    fn a_restart_wants_another_life() {
        let before = at("running", 3);
        assert_eq!(
            judge(Verb::Restart, &before, &at("running", 3)),
            Outcome::Pending
        );
        assert_eq!(
            judge(Verb::Restart, &before, &at("stopping", 3)),
            Outcome::Pending
        );
        assert_eq!(
            judge(Verb::Restart, &before, &at("running", 4)),
            Outcome::Reached
        );
        assert_eq!(
            judge(Verb::Restart, &before, &at("backoff", 4)),
            Outcome::Missed
        );
    }

    #[test]
    fn a_restart_of_a_life_that_is_only_being_prepared_is_that_life() {
        let before = Service {
            pid: None,
            ..at("starting", 3)
        };
        assert_eq!(judge(Verb::Restart, &before, &before), Outcome::Pending);
        assert_eq!(
            judge(Verb::Restart, &before, &at("running", 3)),
            Outcome::Reached
        );
    }

    #[test]
    fn a_start_is_reached_only_when_it_answers() {
        let before = at("stopped", 1);
        assert_eq!(
            judge(Verb::Start, &before, &at("starting", 2)),
            Outcome::Pending
        );
        assert_eq!(
            judge(Verb::Start, &before, &at("running", 2)),
            Outcome::Reached
        );
        assert_eq!(
            judge(Verb::Start, &before, &at("blocked", 2)),
            Outcome::Missed
        );
        assert_eq!(
            judge(Verb::Start, &before, &at("unproven", 2)),
            Outcome::Missed
        );
        assert_eq!(
            judge(Verb::Start, &at("backoff", 2), &at("backoff", 2)),
            Outcome::Pending
        );
    }

    #[test]
    fn a_start_is_reached_by_a_stranger_that_answers() {
        let before = at("stopped", 1);
        let attached = |healthy| Service {
            healthy,
            ..at("attached", 2)
        };
        assert_eq!(
            judge(Verb::Start, &before, &attached(true)),
            Outcome::Reached
        );
        assert_eq!(
            judge(Verb::Start, &before, &attached(false)),
            Outcome::Missed
        );
    }

    #[test]
    fn a_stop_is_reached_when_nothing_runs() {
        let before = at("running", 1);
        assert_eq!(
            judge(Verb::Stop, &before, &at("stopping", 1)),
            Outcome::Pending
        );
        assert_eq!(
            judge(Verb::Stop, &before, &at("stopped", 1)),
            Outcome::Reached
        );
        assert_eq!(
            judge(Verb::Stop, &before, &at("unkillable", 1)),
            Outcome::Missed
        );
    }
}
