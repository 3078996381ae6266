//! How the program ends: the few statuses, each with one meaning, and what is said with them.

use crate::api::client::ClientError;
use std::fmt;
use std::process::ExitCode;

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, healthy.
    Done,
    /// The answer is no: unhealthy, a wish that did not come true, lint errors.
    No,
    /// The command line means nothing.
    Usage,
    /// No stayd is running here.
    NotRunning,
    /// A probe could not ask, a holder could not be seen.
    NoVerdict,
    /// Our bug.
    Bug,
    /// The system refused.
    System,
    /// Another stayd holds this instance.
    Held,
    /// Permission.
    Permission,
    /// Configuration.
    Config,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 10] = [
        Self::Done,
        Self::No,
        Self::Usage,
        Self::NotRunning,
        Self::NoVerdict,
        Self::Bug,
        Self::System,
        Self::Held,
        Self::Permission,
        Self::Config,
    ];

    /// What it says, for the manual.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "Done; or everything that is wanted up is healthy.",
            Self::No => {
                "The answer is no: unhealthy, a wish that did not come true, a dead probe, a conflict."
            }
            Self::Usage => {
                "The command line means nothing here: wrong usage, a service that does not exist."
            }
            Self::NotRunning => "No stayd is running here.",
            Self::NoVerdict => "A probe could not ask; who holds a port cannot be seen.",
            Self::Bug => "A bug of stayd; it has named its place.",
            Self::System => "The system refused, or the daemon did not answer in time.",
            Self::Held => "Another stayd holds this instance; it is named.",
            Self::Permission => {
                "Permission: the socket, the state folder or a program is not for this user."
            }
            Self::Config => "The configuration is wrong; file, line and cure are named.",
        }
    }

    /// Its number.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::NoVerdict => 4,
            Self::Bug => 70,
            Self::System => 71,
            Self::Held => 75,
            Self::Permission => 77,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// A verb that did not get to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The status.
    pub(super) exit: Exit,
    /// What stderr is told; empty when there is nobody left to tell.
    pub(super) message: String,
}

/// What a verb ends with.
pub(super) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// With this status and sentence ("cannot …: cause; what to do").
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The system refused `what`.
    pub(super) fn system(what: &str, error: &dyn fmt::Display) -> Self {
        Self::new(Exit::System, format!("cannot {what}: {error}"))
    }

    /// Whoever read our output has gone (`| head`): nothing is wrong and nobody is there to be told.
    pub(super) const fn nobody_reads() -> Self {
        Self {
            exit: Exit::Done,
            message: String::new(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::NotRunning(_) => Self::new(
                Exit::NotRunning,
                format!("{message}; start it with `stayd --foreground -c FILE`"),
            ),
            ClientError::Permission(_) => Self::new(Exit::Permission, message),
            ClientError::Refused(fault) => Self::new(exit_of(&fault.kind), message),
            ClientError::TimedOut(_) | ClientError::Broken(_) => Self::new(Exit::System, message),
        }
    }
}

/// The status for an error kind of the API; one that a newer stayd invented means no.
fn exit_of(kind: &str) -> Exit {
    match kind {
        "bad-request" | "no-service" | "no-incident" => Exit::Usage,
        "no-route" | "no-method" | "busy" | "ending" | "unavailable" | "too-slow" | "too-large" => {
            Exit::System
        }
        _ => Exit::No,
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure};
    use crate::api::client::ClientError;
    use crate::api::wire::ErrorDetail;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        let all = [
            (Exit::Done, 0),
            (Exit::No, 1),
            (Exit::Usage, 2),
            (Exit::NotRunning, 3),
            (Exit::NoVerdict, 4),
            (Exit::Bug, 70),
            (Exit::System, 71),
            (Exit::Held, 75),
            (Exit::Permission, 77),
            (Exit::Config, 78),
        ];
        for (exit, number) in all {
            assert_eq!(exit.number(), number, "{exit:?}");
        }
    }

    #[test]
    fn a_refused_wish_is_a_no_and_an_unknown_service_a_usage_error() {
        let refused = |kind: &str| {
            Failure::from(ClientError::Refused(ErrorDetail {
                kind: kind.to_owned(),
                message: "cannot".to_owned(),
            }))
        };
        assert_eq!(refused("not-reached").exit, Exit::No);
        assert_eq!(refused("of-tomorrow").exit, Exit::No);
        assert_eq!(refused("no-service").exit, Exit::Usage);
        assert_eq!(refused("ending").exit, Exit::System);
    }
}
