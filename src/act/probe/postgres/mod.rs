//! `postgres://`: a query on a kept connection, in the frontend/backend protocol.
//!
//! Any error that the server sends is an answer, and degraded. Silence on the kept connection is dead, whatever a new
//! login would say: with its storage frozen, PostgreSQL goes on refusing logins politely for as long as it lasts. So a
//! connection that owes an answer is kept over the end of its round, and only its close by the server makes for a new
//! login.

mod connection;

use super::dial::Dialer;
use super::{Answer, Ask, Query, Stage, WITHHELD, dead, degraded, quote, redact, within};
use connection::{Broken, Connection, Message, ServerError, server_error};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::time::Duration;

/// Asked unless the configuration says otherwise.
const DEFAULT_QUERY: &str = "SELECT 1";
/// What stayd is called in pg_stat_activity.
const APPLICATION_NAME: &str = "stayd";

/// Who logs in, and where.
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
}

/// A PostgreSQL question.
pub(crate) struct Postgres {
    dialer: Dialer,
    login: Login,
    query: Option<Query>,
    kept: Option<Connection>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Postgres")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl Ask for Postgres {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let stage = Stage::new("connection");
        within(timeout, &stage, self.attempt(&stage)).await
    }
}

impl Postgres {
    pub(crate) const fn new(dialer: Dialer, login: Login, query: Option<Query>) -> Self {
        Self {
            dialer,
            login,
            query,
            kept: None,
        }
    }

    /// Asks on the kept connection; on a new one where there is none, or where the server has closed it.
    async fn attempt(&mut self, stage: &Stage) -> Answer {
        if self.kept.is_some() {
            match self.question(stage).await {
                Ok(answer) => return answer,
                Err(Broken::Gone { .. }) => self.kept = None,
                Err(broken) => return self.judge_broken(broken),
            }
        }
        match self.log_in(stage).await {
            Ok(connection) => self.kept = Some(connection),
            Err(answer) => return answer,
        }
        match self.question(stage).await {
            Ok(answer) => answer,
            Err(broken) => self.judge_broken(broken),
        }
    }

    /// One query and its answer on the kept connection, after the answer it may still owe.
    async fn question(&mut self, stage: &Stage) -> Result<Answer, Broken> {
        stage.waits_for(match self.query {
            None => "answer to SELECT 1",
            Some(_) => "answer to the query",
        });
        let Some(connection) = &mut self.kept else {
            return Ok(dead("there is no connection to ask on"));
        };
        if connection.owes_an_answer {
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
        connection.owes_an_answer = true;
        let said = connection.until_ready().await?;
        connection.owes_an_answer = false;
        Ok(said.map_or(Answer::Alive, |error| self.judge_query(error)))
    }

    fn judge_broken(&mut self, broken: Broken) -> Answer {
        self.kept = None;
        match broken {
            Broken::Gone {
                said: Some(error), ..
            } => self.judge_query(error),
            Broken::Gone { how, said: None } => dead(format!("{how} instead of an answer")),
            Broken::Nonsense(what) => nonsense(&what),
            Broken::TooMuch => {
                degraded("the query has an endless answer; fix the query: ask for something small")
            }
        }
    }

    fn judge_query(&self, mut error: ServerError) -> Answer {
        if self.query.as_ref().is_some_and(|query| query.secret) {
            error.message = WITHHELD.into();
        }
        judge_query(&error, self.login.password.as_deref())
    }

    /// Connects and logs in.
    async fn log_in(&mut self, stage: &Stage) -> Result<Connection, Answer> {
        let stream = self.dialer.dial(stage).await?;
        stage.waits_for("answer to the login");
        let mut connection = Connection::new(stream);
        let parameters = [
            ("user", self.login.user.as_str()),
            ("database", self.login.database.as_str()),
            ("application_name", APPLICATION_NAME),
        ];
        let mut startup = Default::default();
        frontend::startup_message(parameters, &mut startup).map_err(|error| {
            degraded(format!(
                "the login cannot be sent: {error}; check the probe's URL"
            ))
        })?;
        connection.put(&startup);
        match authenticate(&mut connection, &self.login).await {
            Ok(()) => Ok(connection),
            Err(refusal) => Err(self.judge_login(refusal)),
        }
    }

    fn judge_login(&self, refusal: Refusal) -> Answer {
        let secret = self.login.password.as_deref();
        match refusal {
            Refusal::Said(error)
            | Refusal::Broken(Broken::Gone {
                said: Some(error), ..
            }) => judge_login(&error, secret),
            Refusal::Unable(why) => degraded(why),
            Refusal::Broken(Broken::Gone { how, .. }) => {
                dead(format!("{how} instead of answering the login"))
            }
            Refusal::Broken(Broken::Nonsense(what)) => nonsense(&what),
            Refusal::Broken(Broken::TooMuch) => nonsense("rows before the login"),
        }
    }
}

/// Why a login came to nothing.
enum Refusal {
    Said(ServerError),
    /// We cannot do what the server asks for.
    Unable(String),
    Broken(Broken),
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Answers the server's questions until it is ready for a query.
async fn authenticate(connection: &mut Connection, login: &Login) -> Result<(), Refusal> {
    let mut scram = None;
    loop {
        let Message { tag, body } = connection.message().await?;
        match tag {
            b'E' => return Err(Refusal::Said(server_error(&body))),
            b'R' => {
                let Some((kind, rest)) = body.split_first_chunk::<4>() else {
                    return Err(Broken::Nonsense("a short request for a password".into()).into());
                };
                match u32::from_be_bytes(*kind) {
                    0 => break,
                    kind => prove(connection, login, &mut scram, kind, rest)?,
                }
            }
            // NOTICE and protocol negotiation.
            b'N' | b'v' => {}
            tag => return Err(Broken::Nonsense(char::from(tag).into()).into()),
        }
    }
    match connection.until_ready().await? {
        None => Ok(()),
        Some(error) => Err(Refusal::Said(error)),
    }
}

/// One step of an authentication (protocol-message-formats, "Authentication…").
fn prove(
    connection: &mut Connection,
    login: &Login,
    scram: &mut Option<ScramSha256>,
    kind: u32,
    rest: &[u8],
) -> Result<(), Refusal> {
    let unable = |error: std::io::Error| Refusal::Unable(format!("the login failed: {error}"));
    let Some(password) = &login.password else {
        return Err(Refusal::Unable(
            "it asks for a password and the probe's URL has none".into(),
        ));
    };
    let mut message = Default::default();
    match (kind, rest, scram.as_mut()) {
        (3, _, _) => frontend::password_message(password.as_bytes(), &mut message),
        (5, &[a, b, c, d], _) => {
            let hash = md5_hash(login.user.as_bytes(), password.as_bytes(), [a, b, c, d]);
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
            return Err(Refusal::Unable(format!(
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

fn nonsense(what: &str) -> Answer {
    dead(format!(
        "it answers with something that is not PostgreSQL: {what:?}"
    ))
}

/// A login that was refused is an answer; most of the time the probe is at fault.
fn judge_login(error: &ServerError, secret: Option<&str>) -> Answer {
    let (what, cure) = match error.code.as_str() {
        "57P03" => ("it is not ready", ""),
        "53300" => ("it has too many connections", ""),
        "3D000" => ("it has no such database", "; check the probe's URL"),
        code if code.starts_with("28") => (
            "it refuses the login",
            "; check the probe's user and password",
        ),
        _ => ("it refuses the login", ""),
    };
    said(what, error, cure, secret)
}

/// A query that was answered with an error is an answer; which kind decides whom the words are for.
fn judge_query(error: &ServerError, secret: Option<&str>) -> Answer {
    /// Classes of SQLSTATE that speak about the statement, not about the server.
    const STATEMENT: [&str; 10] = ["0A", "22", "23", "25", "26", "34", "3D", "3F", "42", "44"];
    let (what, cure) = match error.code.as_str() {
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
    said(what, error, cure, secret)
}

fn said(what: &str, error: &ServerError, cure: &str, secret: Option<&str>) -> Answer {
    let message = redact(quote(&error.message), secret);
    let code = &error.code;
    Answer::Degraded {
        said: format!("{what}: {message} ({code}){cure}"),
        starting: code == "57P03",
    }
}
