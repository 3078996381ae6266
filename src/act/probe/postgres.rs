//! `postgres://`: asks a query in PostgreSQL's frontend/backend protocol, on a connection that is kept between attempts.
//!
//! An error that the server sends is an answer: degraded. No answer on the kept connection is dead, whatever a new login
//! would answer: with its storage frozen, PostgreSQL continues to refuse logins with an error. So a connection that still
//! awaits an answer is kept after the end of its attempt, and the probe logs in again only if the server closes it.
//!
//! Every future of [`Connection`] may be dropped at any await and the connection used again: received and unsent bytes stay
//! in it. This is how a query outlives the attempt that sent it.

use super::connector::{Connector, Stream};
use super::{
    Answer, Phase, ProtocolProbe, Query, WITHHELD, dead, degraded, quote, quote_without, within,
};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The query, unless the configuration has one.
const DEFAULT_QUERY: &str = "SELECT 1";
/// The name of stayd's connections in pg_stat_activity.
const APPLICATION_NAME: &str = "stayd";
/// Longest accepted message.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Longest accepted answer to one query.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes per read.
const CHUNK_BYTES: usize = 4096;
/// The tag and the length of a message.
const HEAD_BYTES: usize = 5;

/// The user, the password and the database of a login.
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
}

/// A query to a PostgreSQL server.
pub(super) struct PostgresProbe {
    connector: Connector,
    credentials: Credentials,
    query: Option<Query>,
    connection: Option<Connection>,
}

impl std::fmt::Debug for PostgresProbe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PostgresProbe")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl ProtocolProbe for PostgresProbe {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let phase = Phase::new("connection");
        within(timeout, &phase, self.attempt(&phase)).await
    }
}

impl PostgresProbe {
    pub(super) const fn new(
        connector: Connector,
        credentials: Credentials,
        query: Option<Query>,
    ) -> Self {
        Self {
            connector,
            credentials,
            query,
            connection: None,
        }
    }

    /// Asks on the kept connection, or on a new one if there is none or the server has closed it.
    async fn attempt(&mut self, phase: &Phase) -> Answer {
        if self.connection.is_some() {
            match self.query(phase).await {
                Ok(answer) => return answer,
                Err(ProtocolError::Closed { .. }) => self.connection = None,
                Err(error) => return self.judge_protocol_error(error),
            }
        }
        match self.log_in(phase).await {
            Ok(connection) => self.connection = Some(connection),
            Err(answer) => return answer,
        }
        match self.query(phase).await {
            Ok(answer) => answer,
            Err(error) => self.judge_protocol_error(error),
        }
    }

    /// Sends the query on the kept connection and reads its answer. First reads the answer to an earlier query, if that has
    /// not arrived yet.
    async fn query(&mut self, phase: &Phase) -> Result<Answer, ProtocolError> {
        phase.wait_for_service(match self.query {
            None => "answer to SELECT 1",
            Some(_) => "answer to the query",
        });
        let Some(connection) = &mut self.connection else {
            return Ok(dead("there is no connection"));
        };
        if connection.awaits_answer {
            connection.until_ready().await?;
        }
        let query = self
            .query
            .as_ref()
            .map_or(DEFAULT_QUERY, |query| &query.text);
        let mut message = Default::default();
        if let Err(error) = frontend::query(query, &mut message) {
            return Ok(degraded(format!(
                "the query cannot be sent: {error}; fix the query"
            )));
        }
        connection.put(&message);
        connection.awaits_answer = true;
        let error = connection.until_ready().await?;
        connection.awaits_answer = false;
        Ok(error.map_or(Answer::Alive, |error| self.judge_query(error)))
    }

    /// The answer for an attempt whose connection failed. The connection is closed.
    fn judge_protocol_error(&mut self, error: ProtocolError) -> Answer {
        self.connection = None;
        match error {
            ProtocolError::Closed {
                error: Some(error), ..
            } => self.judge_query(error),
            ProtocolError::Closed { how, error: None } => {
                dead(format!("{how} instead of an answer"))
            }
            ProtocolError::Malformed(what) => malformed(&what),
            ProtocolError::TooLarge => degraded(
                "the answer to the query is too long; fix the query: ask for something small",
            ),
        }
    }

    fn judge_query(&self, mut error: ServerError) -> Answer {
        if self.query.as_ref().is_some_and(|query| query.secret) {
            error.message = WITHHELD.into();
        }
        judge_query(&error, self.credentials.password.as_deref())
    }

    /// Connects and logs in.
    async fn log_in(&mut self, phase: &Phase) -> Result<Connection, Answer> {
        let stream = self.connector.connect(phase).await?;
        phase.wait_for_service("answer to the login");
        let mut connection = Connection::new(stream);
        let parameters = [
            ("user", self.credentials.user.as_str()),
            ("database", self.credentials.database.as_str()),
            ("application_name", APPLICATION_NAME),
        ];
        let mut startup = Default::default();
        frontend::startup_message(parameters, &mut startup).map_err(|error| {
            degraded(format!(
                "the login cannot be sent: {error}; check the probe's URL"
            ))
        })?;
        connection.put(&startup);
        match authenticate(&mut connection, &self.credentials).await {
            Ok(()) => Ok(connection),
            Err(error) => Err(self.judge_login(error)),
        }
    }

    fn judge_login(&self, error: LoginError) -> Answer {
        let secret = self.credentials.password.as_deref();
        match error {
            LoginError::Server(error)
            | LoginError::Protocol(ProtocolError::Closed {
                error: Some(error), ..
            }) => judge_login(&error, secret),
            LoginError::Unsupported(why) => degraded(why),
            LoginError::Protocol(ProtocolError::Closed { how, .. }) => {
                dead(format!("{how} instead of answering the login"))
            }
            LoginError::Protocol(ProtocolError::Malformed(what)) => malformed(&what),
            LoginError::Protocol(ProtocolError::TooLarge) => malformed("rows before the login"),
        }
    }
}

/// Why a login failed.
enum LoginError {
    Server(ServerError),
    /// The probe does not support what the server asks for, or has no password.
    Unsupported(String),
    Protocol(ProtocolError),
}

impl From<ProtocolError> for LoginError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
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
                    return Err(
                        ProtocolError::Malformed("a short request for a password".into()).into(),
                    );
                };
                match u32::from_be_bytes(*kind) {
                    0 => break,
                    kind => authentication_step(connection, credentials, &mut scram, kind, rest)?,
                }
            }
            // NOTICE and protocol negotiation.
            b'N' | b'v' => {}
            tag => return Err(ProtocolError::Malformed(char::from(tag).into()).into()),
        }
    }
    match connection.until_ready().await? {
        None => Ok(()),
        Some(error) => Err(LoginError::Server(error)),
    }
}

/// One step of an authentication (protocol-message-formats, "Authentication…").
fn authentication_step(
    connection: &mut Connection,
    credentials: &Credentials,
    scram: &mut Option<ScramSha256>,
    kind: u32,
    rest: &[u8],
) -> Result<(), LoginError> {
    let unable = |error: io::Error| LoginError::Unsupported(format!("the login failed: {error}"));
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
        (10, mechanisms, _) if offers_scram(mechanisms) => {
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

fn malformed(what: &str) -> Answer {
    dead(format!(
        "it answers with something that is not PostgreSQL: {what:?}"
    ))
}

/// A refused login is an answer. Most of the time the probe's configuration is wrong.
fn judge_login(error: &ServerError, secret: Option<&str>) -> Answer {
    let (what, remedy) = match error.code.as_str() {
        "57P03" => ("it is not ready", ""),
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
fn judge_query(error: &ServerError, secret: Option<&str>) -> Answer {
    /// Classes of SQLSTATE that are about the statement, not about the server.
    const STATEMENT: [&str; 10] = ["0A", "22", "23", "25", "26", "34", "3D", "3F", "42", "44"];
    let (what, remedy) = match error.code.as_str() {
        "57P03" => ("it is not ready", ""),
        "53300" => ("it has too many connections", ""),
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
    let code = &error.code;
    Answer::Degraded {
        said: format!("{what}: {message} ({code}){remedy}"),
        starting: code == "57P03",
    }
}

/// An error that the server sent (ErrorResponse).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ServerError {
    /// SQLSTATE; five characters, the same in every language.
    code: String,
    /// The text, in the server's language.
    message: Vec<u8>,
}

/// Why a connection cannot be used any more.
#[derive(Debug, PartialEq, Eq)]
enum ProtocolError {
    /// The server closed or reset it, after it sent `error`, if any.
    Closed {
        how: String,
        error: Option<ServerError>,
    },
    /// The server does not speak this protocol; this is what it sent.
    Malformed(String),
    /// The answer to a query is too long.
    TooLarge,
}

/// A message from the server.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    tag: u8,
    body: Vec<u8>,
}

/// A connection to the server.
struct Connection {
    stream: Stream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// A query was sent and its answer has not arrived, perhaps since an earlier attempt.
    awaits_answer: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connection")
            .field("awaits_answer", &self.awaits_answer)
            .finish_non_exhaustive()
    }
}

impl Connection {
    const fn new(stream: Stream) -> Self {
        Self {
            stream,
            received: Vec::new(),
            unsent: Vec::new(),
            awaits_answer: false,
        }
    }

    /// Queues a whole message. It is sent with the next wait for an answer.
    fn put(&mut self, message: &[u8]) {
        self.unsent.extend_from_slice(message);
    }

    /// Sends queued messages and returns the next message from the server.
    async fn message(&mut self) -> Result<Message, ProtocolError> {
        self.flush().await.map_err(|error| closed(&error))?;
        loop {
            if let Some(message) = take_message(&mut self.received)? {
                return Ok(message);
            }
            self.received.reserve(CHUNK_BYTES);
            let count = self
                .stream
                .read_buf(&mut self.received)
                .await
                .map_err(|error| closed(&error))?;
            if count == 0 {
                return Err(closed(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let count = self.stream.write(&self.unsent).await?;
            self.unsent.drain(..count);
        }
        Ok(())
    }

    /// Reads until the server is ready for the next query. Returns the error that it sent meanwhile, if any.
    async fn until_ready(&mut self) -> Result<Option<ServerError>, ProtocolError> {
        let mut sent = None;
        let mut bytes = 0;
        loop {
            let message = match self.message().await {
                Ok(message) => message,
                Err(ProtocolError::Closed { how, .. }) => {
                    return Err(ProtocolError::Closed { how, error: sent });
                }
                Err(error) => return Err(error),
            };
            bytes += message.body.len();
            match message.tag {
                b'Z' => return Ok(sent),
                b'E' => sent = Some(server_error(&message.body)),
                // The query began a COPY, and the server waits for data. It has answered, but the query is unsuitable.
                b'G' | b'H' | b'W' => return Err(ProtocolError::TooLarge),
                _ if bytes > REPLY_BYTES_MAX => return Err(ProtocolError::TooLarge),
                _ => {}
            }
        }
    }
}

fn closed(error: &io::Error) -> ProtocolError {
    let how = if error.kind() == io::ErrorKind::UnexpectedEof {
        "it closed the connection".into()
    } else {
        format!("the connection broke: {error}")
    };
    ProtocolError::Closed { how, error: None }
}

/// Removes the first whole message from the received bytes; `None` where it is incomplete.
fn take_message(received: &mut Vec<u8>) -> Result<Option<Message>, ProtocolError> {
    let Some(&[tag, a, b, c, d]) = received.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    // The length includes itself, but not the tag.
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if tag == b'D' && length > MESSAGE_BYTES_MAX {
        return Err(ProtocolError::TooLarge);
    }
    if !tag.is_ascii_alphanumeric() || !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(
            old_error(received).unwrap_or_else(|| ProtocolError::Malformed(quote(received)))
        );
    }
    if received.len() <= length {
        return Ok(None);
    }
    let body = received[HEAD_BYTES..=length].to_vec();
    received.drain(..=length);
    Ok(Some(Message { tag, body }))
}

/// A postmaster that cannot fork sends an error in the form of protocol 2: `E`, a text, a newline and NUL.
fn old_error(received: &[u8]) -> Option<ProtocolError> {
    let message = received.strip_prefix(b"E")?.strip_suffix(b"\n\0")?.to_vec();
    Some(ProtocolError::Closed {
        how: "it closed the connection".into(),
        error: Some(ServerError {
            code: "53000".into(),
            message,
        }),
    })
}

/// Parses an ErrorResponse: fields of a letter and a text that ends with NUL.
fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError::default();
    for field in body.split(|byte| *byte == 0) {
        match field.split_first() {
            Some((b'C', code)) => error.code = String::from_utf8_lossy(code).into_owned(),
            Some((b'M', message)) => error.message = message.to_vec(),
            Some(_) | None => {}
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::{Message, ProtocolError, server_error, take_message};

    #[test]
    fn only_a_whole_message_is_taken() {
        let mut received = b"Z\0\0\0\x05I".to_vec();
        let tail = received.split_off(3);
        assert_eq!(take_message(&mut received), Ok(None));
        received.extend_from_slice(&tail);
        received.push(b'E');
        assert_eq!(
            take_message(&mut received),
            Ok(Some(Message {
                tag: b'Z',
                body: b"I".to_vec()
            }))
        );
        assert_eq!(received, b"E");
    }

    #[test]
    fn another_protocol_is_recognized() {
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\0\0\0\0\0",
            b"R\0\0\0\x03",
        ] {
            let taken = take_message(&mut other.to_vec());
            assert!(
                matches!(taken, Err(ProtocolError::Malformed(_))),
                "{taken:?}"
            );
        }
    }

    #[test]
    fn an_error_of_protocol_2_is_an_answer() {
        let mut received =
            b"Ecould not fork new process: Resource temporarily unavailable\n\0".to_vec();
        let taken = take_message(&mut received);
        assert!(
            matches!(taken, Err(ProtocolError::Closed { error: Some(_), .. })),
            "{taken:?}"
        );
    }

    #[test]
    fn the_code_and_the_message_of_an_error_are_parsed() {
        let error = server_error(b"SFATAL\0VFATAL\0C3D000\0Mdatabase \"x\" does not exist\0\0");
        assert_eq!(error.code, "3D000");
        assert_eq!(error.message, b"database \"x\" does not exist");
    }
}
