//! What a probe attempt answers when a PostgreSQL server refuses, answers with an error, or breaks the connection.

use super::super::{Answer, connection_error, dead, degraded, quote_without};
use super::connection::{LOCK_NOT_AVAILABLE, ProtocolError, QUERY_CANCELED, ServerError};

/// cannot_connect_now: the server starts, recovers or shuts down.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// A refused login is an answer. Most of the time the probe's configuration is wrong.
pub(super) fn refused_login(error: &ServerError, secret: Option<&str>) -> Answer {
    let (what, remedy) = match error.code.as_str() {
        CANNOT_CONNECT_NOW => ("it is not ready", ""),
        "53300" => ("it has too many connections", ""),
        "3D000" => ("it has no such database", "; check the probe's URL"),
        code if code.starts_with("28") => (
            "it refuses the login",
            "; check the probe's user and password",
        ),
        _ => ("it refuses the login", ""),
    };
    degraded_with(what, error, remedy, secret)
}

/// An error in reply to a query is an answer. Its class decides what the user can do.
pub(super) fn query_error(error: &ServerError, secret: Option<&str>) -> Answer {
    /// Classes of SQLSTATE that are about the statement, not about the server.
    const STATEMENT: [&str; 10] = ["0A", "22", "23", "25", "26", "34", "3D", "3F", "42", "44"];
    let (what, remedy) = match error.code.as_str() {
        CANNOT_CONNECT_NOW => ("it is not ready", ""),
        "53300" => ("it has too many connections", ""),
        LOCK_NOT_AVAILABLE => ("the query waits for a lock", ""),
        QUERY_CANCELED => (
            "the query was cancelled, or took longer than its statement_timeout",
            "",
        ),
        "25006" => (
            "it is read-only",
            "; fix the query if that is meant to be so",
        ),
        code if STATEMENT.iter().any(|class| code.starts_with(class)) => {
            ("it refuses the query", "; fix the query")
        }
        _ => ("it answers with an error", ""),
    };
    degraded_with(what, error, remedy, secret)
}

fn degraded_with(what: &str, error: &ServerError, remedy: &str, secret: Option<&str>) -> Answer {
    let message = quote_without(&error.message, secret);
    let code = match error.code.as_str() {
        "" => "no SQLSTATE",
        code => code,
    };
    Answer::Degraded {
        said: format!("{what}: {message} ({code}){remedy}"),
        starting: code == CANNOT_CONNECT_NOW,
    }
}

/// The connection cannot be used any more; the attempt waited for `waited_for`, as it follows "the".
pub(super) fn broken(error: &ProtocolError, waited_for: &str) -> Answer {
    match error {
        ProtocolError::Closed { cause: None, .. } => dead(format!(
            "closed the connection early (before the {waited_for})"
        )),
        ProtocolError::Closed {
            cause: Some(cause), ..
        } => connection_error(cause, waited_for),
        ProtocolError::Malformed(what) => dead(format!("not PostgreSQL: {what}")),
        ProtocolError::Endless => dead(format!(
            "messages without end while waiting for the {waited_for}"
        )),
        ProtocolError::TooLarge => {
            degraded("the answer to the query is too long; fix the query: ask for something small")
        }
    }
}
