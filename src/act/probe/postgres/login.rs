//! Logs in to a PostgreSQL server: the startup message, the authentication, and the limits of the session.

use super::super::connector::Connector;
use super::super::{Answer, Phase, degraded, quote};
use super::answer;
use super::connection::{Connection, Message, ProtocolError, ServerError, server_error};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::io;
use std::time::Duration;

/// The name of stayd's connections in pg_stat_activity.
const APPLICATION_NAME: &str = "stayd";
/// What an attempt waits for during a login.
const THE_LOGIN: &str = "answer to the login";
/// The largest value of an integer setting of the server; 0 would switch a limit off.
const SETTING_MAX: u128 = i32::MAX as u128;
/// With these codes a server refuses a startup parameter that it does not know: protocol_violation (PgBouncer),
/// undefined_object and invalid_parameter_value.
const PARAMETER_REFUSED: [&str; 3] = ["08P01", "42704", "22023"];

/// The user, the password and the database of a login.
pub(in super::super) struct Credentials {
    pub(in super::super) user: String,
    pub(in super::super) password: Option<String>,
    pub(in super::super) database: String,
}

/// How long the server lets a query of the probe wait, so that it answers with an error before the probe's deadline.
///
/// A query that waits for a lock, which a migration may hold for minutes, is no sign of a wedge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueryLimits {
    lock_ms: u128,
    statement_ms: u128,
}

impl QueryLimits {
    /// The limits for a probe with this timeout.
    pub(super) fn within(timeout: Duration) -> Self {
        let ms = |limit: Duration| limit.as_millis().clamp(1, SETTING_MAX);
        Self {
            lock_ms: ms(timeout / 2),
            statement_ms: ms(timeout * 3 / 4),
        }
    }

    /// Statements that set the limits for the rest of the message in which they are sent.
    ///
    /// Behind a pooler, settings of the session would reach its other clients.
    fn in_sql(self) -> String {
        format!(
            "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; ",
            self.lock_ms, self.statement_ms
        )
    }
}

/// Logs in to one server.
pub(super) struct Login {
    connector: Connector,
    credentials: Credentials,
    limits_in: LimitsIn,
}

/// How the server learns the [`QueryLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitsIn {
    /// As parameters of the startup message, for the session. PgBouncer refuses a login with parameters that it does not
    /// track.
    Startup,
    /// Each query sets them for itself.
    Query,
    /// It refuses them in both forms: PgBouncer's console, or a server of another kind.
    Nothing,
}

/// Why a login failed.
enum LoginError {
    Server(ServerError),
    /// The probe does not support what the server asks for, or has no password.
    Unsupported(String),
    Protocol(ProtocolError),
    /// The answer of the attempt: there is no connection.
    Unconnected(Answer),
}

impl From<ProtocolError> for LoginError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl Login {
    pub(super) const fn new(connector: Connector, credentials: Credentials) -> Self {
        Self {
            connector,
            credentials,
            limits_in: LimitsIn::Startup,
        }
    }

    /// The statements that each query of a probe with this timeout begins with, if its session has no limits.
    pub(super) fn limits_in_sql(&self, timeout: Duration) -> Option<String> {
        (self.limits_in == LimitsIn::Query).then(|| QueryLimits::within(timeout).in_sql())
    }

    /// The server has answered a query with an error, and the same query without limits it has answered well.
    pub(super) const fn give_up_limits(&mut self) {
        self.limits_in = LimitsIn::Nothing;
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.credentials.password.as_deref()
    }

    /// Connects and logs in, with limits for the queries of the session. An error is the answer of the attempt.
    pub(super) async fn log_in(
        &mut self,
        phase: &Phase,
        limits: QueryLimits,
    ) -> Result<Connection, Answer> {
        if self.limits_in == LimitsIn::Startup {
            match self.attempt(phase, Some(limits)).await {
                Err(LoginError::Server(error))
                    if PARAMETER_REFUSED.contains(&error.code.as_str()) =>
                {
                    self.limits_in = LimitsIn::Query;
                }
                outcome => return outcome.map_err(|error| self.judge(error)),
            }
        }
        let outcome = self.attempt(phase, None).await;
        outcome.map_err(|error| self.judge(error))
    }

    async fn attempt(
        &mut self,
        phase: &Phase,
        limits: Option<QueryLimits>,
    ) -> Result<Connection, LoginError> {
        let startup = self.startup_message(limits)?;
        let stream = self.connector.connect(phase).await;
        let mut connection = Connection::new(stream.map_err(LoginError::Unconnected)?);
        phase.wait_for_service(THE_LOGIN);
        connection.put(&startup);
        authenticate(&mut connection, &self.credentials).await?;
        connection.set_logged_in();
        Ok(connection)
    }

    fn startup_message(&self, limits: Option<QueryLimits>) -> Result<Vec<u8>, LoginError> {
        let limits = limits.map(|limits| {
            [
                ("lock_timeout", limits.lock_ms.to_string()),
                ("statement_timeout", limits.statement_ms.to_string()),
            ]
        });
        let limits = limits.iter().flatten();
        let parameters = [
            ("user", self.credentials.user.as_str()),
            ("database", self.credentials.database.as_str()),
            ("application_name", APPLICATION_NAME),
        ];
        let parameters = parameters
            .into_iter()
            .chain(limits.map(|(name, value)| (*name, value.as_str())));
        let mut message = Default::default();
        frontend::startup_message(parameters, &mut message).map_err(|error| {
            LoginError::Unsupported(format!(
                "the login cannot be sent: {error}; check the probe's URL"
            ))
        })?;
        Ok(message.to_vec())
    }

    fn judge(&self, error: LoginError) -> Answer {
        match error {
            LoginError::Server(error)
            | LoginError::Protocol(ProtocolError::Closed {
                error: Some(error), ..
            }) => answer::refused_login(&error, self.password()),
            LoginError::Unsupported(why) => degraded(why),
            LoginError::Protocol(error) => answer::broken(&error, THE_LOGIN),
            LoginError::Unconnected(answer) => answer,
        }
    }
}

/// Logs in, until the server is ready for a query.
async fn authenticate(
    connection: &mut Connection,
    credentials: &Credentials,
) -> Result<(), LoginError> {
    let mut scram = None;
    loop {
        let Message { tag, body } = connection.message().await?;
        match tag {
            b'E' => return Err(LoginError::Server(server_error(&body))),
            b'R' => {
                let Some((kind, rest)) = body.split_first_chunk::<4>() else {
                    return Err(malformed("a short request for a password"));
                };
                match u32::from_be_bytes(*kind) {
                    0 => break,
                    kind => authentication_step(connection, credentials, &mut scram, kind, rest)?,
                }
            }
            // NOTICE and protocol negotiation.
            b'N' | b'v' => {}
            tag => return Err(malformed(&format!("a message {:?}", char::from(tag)))),
        }
    }
    match connection.until_ready().await? {
        None => Ok(()),
        Some(error) => Err(LoginError::Server(error)),
    }
}

fn malformed(what: &str) -> LoginError {
    ProtocolError::Malformed(format!("{what} in answer to the login")).into()
}

/// One step of an authentication (protocol-message-formats, "Authentication…").
fn authentication_step(
    connection: &mut Connection,
    credentials: &Credentials,
    scram: &mut Option<ScramSha256>,
    kind: u32,
    rest: &[u8],
) -> Result<(), LoginError> {
    let unable = |error: io::Error| {
        let why = quote(error.to_string().as_bytes());
        LoginError::Unsupported(format!("the login failed: {why}"))
    };
    let Some(password) = &credentials.password else {
        return Err(LoginError::Unsupported(
            "it asks for a password and the probe's URL has none".into(),
        ));
    };
    let mut message = Default::default();
    match (kind, rest, scram.as_mut()) {
        (3, _, _) => frontend::password_message(password.as_bytes(), &mut message),
        (5, &[a, b, c, d], _) => {
            let hash = md5_hash(
                credentials.user.as_bytes(),
                password.as_bytes(),
                [a, b, c, d],
            );
            frontend::password_message(hash.as_bytes(), &mut message)
        }
        // Only once in a login: each time costs as much CPU as the server demands.
        (10, mechanisms, None) if offers_scram(mechanisms) => {
            let started = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
            let first = scram.insert(started);
            frontend::sasl_initial_response(SCRAM_SHA_256, first.message(), &mut message)
        }
        (11, challenge, Some(scram)) => {
            scram.update(challenge).map_err(unable)?;
            frontend::sasl_response(scram.message(), &mut message)
        }
        (12, verdict, Some(scram)) => {
            return scram.finish(verdict).map_err(unable);
        }
        (kind, _, _) => {
            return Err(LoginError::Unsupported(format!(
                "it asks for authentication of kind {kind}, which a probe cannot give; \
                 let the probe's user log in with a password"
            )));
        }
    }
    .map_err(unable)?;
    connection.put(&message);
    Ok(())
}

fn offers_scram(mechanisms: &[u8]) -> bool {
    mechanisms
        .split(|byte| *byte == 0)
        .any(|name| name == SCRAM_SHA_256.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Duration, QueryLimits};

    #[test]
    fn the_limits_of_a_query_are_below_the_timeout_and_in_the_range_of_the_settings() {
        let limits = |timeout| QueryLimits::within(timeout).in_sql();
        assert_eq!(
            limits(Duration::from_millis(500)),
            "SET LOCAL lock_timeout = 250; SET LOCAL statement_timeout = 375; "
        );
        assert_eq!(
            limits(Duration::from_millis(1)),
            "SET LOCAL lock_timeout = 1; SET LOCAL statement_timeout = 1; "
        );
        assert_eq!(
            limits(Duration::from_secs(366 * 24 * 3600)),
            "SET LOCAL lock_timeout = 2147483647; SET LOCAL statement_timeout = 2147483647; "
        );
    }
}
