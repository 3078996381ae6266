//! Exit statuses, and the error that ends a verb with one of them.

use crate::api::backend::ApiError;
use crate::api::client::ClientError;
use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

/// An exit status. Its number and meaning are part of the public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, healthy.
    Done,
    /// The answer is no: unhealthy, a request that failed, a dead probe, a conflict.
    No,
    /// A usage error.
    Usage,
    /// No stayd is running here.
    NotRunning,
    /// A probe could not ask, or the process that holds a port is not visible.
    NoVerdict,
    /// A bug of stayd.
    Bug,
    /// The operating system refused, or the daemon did not answer in time.
    System,
    /// Another stayd holds this instance.
    Held,
    /// Permission denied.
    Permission,
    /// A configuration error.
    Config,
}

impl Exit {
    /// All statuses, ordered by number.
    const ALL: [Self; 10] = [
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

    /// The status for an error of the operating system.
    pub(super) const fn of_system_error(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::PermissionDenied => Self::Permission,
            _ => Self::System,
        }
    }

    /// The meaning, for the manual.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "Done, or every service that is wanted up is healthy.",
            Self::No => {
                "The answer is no: a service is unhealthy, a request failed, a probe is dead, a port is in conflict, `verify` found an error."
            }
            Self::Usage => {
                "Usage error: wrong arguments, or a service or a file to verify that does not exist."
            }
            Self::NotRunning => "No stayd is running here.",
            Self::NoVerdict => {
                "No verdict: a probe could not ask, or the process that holds a port is not visible."
            }
            Self::Bug => "A bug of stayd. The message names the place in the code.",
            Self::System => "The operating system refused, or the daemon did not answer in time.",
            Self::Held => "Another stayd holds this instance. The message names it.",
            Self::Permission => {
                "Permission denied: this user may not use the socket, the state folder, a program or a file."
            }
            Self::Config => "Configuration error. The message names file, line and correction.",
        }
    }

    /// The number that the process exits with.
    const fn number(self) -> u8 {
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

/// An error that ends a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The exit status.
    pub(super) exit: Exit,
    /// The message for stderr, one line; empty if nothing is to be printed.
    pub(super) message: String,
    /// More lines after it, each a message of its own.
    pub(super) more: Vec<String>,
}

/// The result of a verb.
pub(super) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// An error with this status and message ("cannot …: cause; what to do").
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            more: Vec::new(),
        }
    }

    /// An error with several messages, each on a line of its own.
    pub(super) fn of_lines(exit: Exit, lines: impl IntoIterator<Item = String>) -> Self {
        let mut lines = lines.into_iter();
        Self {
            exit,
            message: lines.next().unwrap_or_default(),
            more: lines.collect(),
        }
    }

    /// All messages, as a part of a sentence.
    pub(super) fn in_a_sentence(&self) -> String {
        let lines = std::iter::once(&self.message).chain(&self.more);
        lines.map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    /// The operating system refused to `what`.
    pub(super) fn system(what: &str, error: &dyn fmt::Display) -> Self {
        Self::new(Exit::System, format!("cannot {what}: {error}"))
    }

    /// The reader of stdout has closed the pipe (`| head`). This is no error: the status is 0 and there is no message.
    pub(super) const fn reader_gone() -> Self {
        Self {
            exit: Exit::Done,
            message: String::new(),
            more: Vec::new(),
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
            ClientError::Refused(error) => Self::new(exit_of(&error.kind), message),
            ClientError::TimedOut(_) | ClientError::Broken(_) => Self::new(Exit::System, message),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(exit_of(error.kind.name()), error.message)
    }
}

/// The status for an error kind of the API. An unknown kind, from a newer stayd, means [`Exit::No`].
fn exit_of(kind: &str) -> Exit {
    match kind {
        "bad-request" | "no-service" | "no-incident" => Exit::Usage,
        "no-route" | "no-method" | "busy" | "ending" | "unavailable" | "too-slow" | "too-large" => {
            Exit::System
        }
        _ => Exit::No,
    }
}

/// Every exit status with its meaning, ordered by number; for the manual and the reference.
pub fn exit_statuses() -> impl Iterator<Item = (u8, &'static str)> {
    let entry = |exit: Exit| (exit.number(), exit.meaning());
    Exit::ALL.into_iter().map(entry)
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure};
    use crate::api::client::ClientError;
    use crate::api::wire::ErrorDetail;

    #[test]
    fn exit_statuses_have_their_documented_numbers() {
        assert_eq!(
            Exit::ALL.map(|exit| (exit, exit.number())),
            [
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
            ]
        );
    }

    #[test]
    fn a_failed_request_is_a_no_and_an_unknown_service_a_usage_error() {
        let refused = |kind: &str| {
            Failure::from(ClientError::Refused(ErrorDetail {
                kind: kind.to_owned(),
                message: "cannot".to_owned(),
            }))
        };
        assert_eq!(refused("not-reached").exit, Exit::No);
        assert_eq!(refused("unknown-kind").exit, Exit::No);
        assert_eq!(refused("no-service").exit, Exit::Usage);
        assert_eq!(refused("ending").exit, Exit::System);
    }
}
