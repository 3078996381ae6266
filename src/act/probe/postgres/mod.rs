//! `postgres://`: asks a query in PostgreSQL's frontend/backend protocol, on a connection that is kept between attempts, and
//! now and then on a new one.
//!
//! An error that the server sends is an answer: degraded. The two connections show two kinds of wedge. With its storage
//! frozen, PostgreSQL goes on refusing logins with an error, and only the kept connection is silent. With its postmaster
//! stopped, the processes of existing connections go on answering, and only a login is silent. And where only the process
//! of the probe's own connection hangs, every other client is served: then the new connection replaces the kept one.
//!
//! A connection that still awaits an answer is kept after the end of its attempt, because the answer may come late.

mod answer;
mod connection;
mod login;

use super::connector::Connector;
use super::{
    Answer, Phase, ProtocolProbe, Query, WITHHELD, dead, degraded, no_verdict, timed_out,
    until_deadline,
};
use connection::{Connection, ProtocolError, ServerError};
use login::{Login, QueryLimits};
use postgres_protocol::message::frontend;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{self, Instant};

pub(super) use login::Credentials;

/// The query, unless the configuration has one.
const DEFAULT_QUERY: &str = "SELECT 1";
/// Each attempt of this number also logs in anew; so does each attempt after a failed one.
const FRESH_LOGIN_EVERY: u32 = 6;
/// After this share of an attempt's timeout, in percent, the kept connection counts as silent where a fresh login is answered;
/// an attempt that had none until then logs in anew.
const PATIENCE_PERCENT: u32 = 80;

/// A query to a PostgreSQL server.
pub(super) struct PostgresProbe {
    login: Login,
    question: Question,
    kept: Option<Connection>,
    /// How many of the next attempts use the kept connection alone.
    kept_alone: u32,
}

impl std::fmt::Debug for PostgresProbe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PostgresProbe")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

/// What came of the question on the kept connection.
enum Kept {
    Answered(Reply),
    /// The answer is too long, and the rest of it makes the connection unusable.
    TooLarge,
    /// There is none, or the server has closed it.
    Closed,
    /// It sent something that is no answer.
    Broken(ProtocolError),
    Silent,
}

impl Kept {
    const fn is_answer(&self) -> bool {
        matches!(self, Self::Answered(_) | Self::TooLarge)
    }
}

/// What came of a new login, and of the question on its connection. An error: there was no answer, or the login was refused.
type Fresh = Result<(Connection, Answer), Answer>;

impl ProtocolProbe for PostgresProbe {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let messages = match self.question.messages(&self.login, timeout) {
            Ok(messages) => messages,
            Err(answer) => return answer,
        };
        let (kept, fresh) = self.ask_where_due(&messages, timeout).await;
        self.kept_alone = match &fresh {
            Some(Ok(_)) => FRESH_LOGIN_EVERY - 1,
            Some(Err(_)) => 0,
            None => self.kept_alone.saturating_sub(1),
        };
        self.judge(kept, fresh, timeout)
    }
}

impl PostgresProbe {
    pub(super) const fn new(
        connector: Connector,
        credentials: Credentials,
        query: Option<Query>,
    ) -> Self {
        Self {
            login: Login::new(connector, credentials),
            question: Question(query),
            kept: None,
            kept_alone: 0,
        }
    }

    /// Asks on the kept connection, after a new login, or both at the same time.
    async fn ask_where_due(
        &mut self,
        messages: &Messages,
        timeout: Duration,
    ) -> (Kept, Option<Fresh>) {
        let begin = Instant::now();
        let deadline = begin + timeout;
        let patience = begin + timeout * PATIENCE_PERCENT / 100;
        let (login, question) = (&mut self.login, &self.question);
        let fresh = ask_after_login(login, question, timeout, deadline);
        let Some(connection) = &mut self.kept else {
            return (Kept::Closed, Some(fresh.await));
        };
        let is_due = self.kept_alone == 0;
        let mut asked = pin!(ask_kept(connection, messages, deadline));
        if !is_due {
            match time::timeout_at(patience, &mut asked).await {
                Ok(kept) if kept.is_answer() => return (kept, None),
                Ok(kept) => return (kept, Some(fresh.await)),
                Err(_) => {}
            }
        }
        let mut fresh = pin!(fresh);
        tokio::select! {
            biased;
            kept = &mut asked => {
                let fresh = if is_due || !kept.is_answer() { Some(fresh.await) } else { None };
                (kept, fresh)
            }
            fresh = &mut fresh => {
                let until = if fresh.is_ok() { patience } else { deadline };
                let kept = time::timeout_at(until, asked).await;
                (kept.unwrap_or(Kept::Silent), Some(fresh))
            }
        }
    }

    /// Judges the attempt, and decides which connection is kept.
    fn judge(&mut self, kept: Kept, fresh: Option<Fresh>, timeout: Duration) -> Answer {
        let broken = match kept {
            Kept::Answered(reply) => {
                let answer = self.question.judge(reply, &mut self.login);
                return judge_answered(answer, fresh);
            }
            Kept::TooLarge => {
                self.kept = None;
                return answer::broken(&ProtocolError::TooLarge, self.question.waits_for());
            }
            Kept::Silent => return self.judge_silent(fresh, timeout),
            Kept::Broken(error) => Some(answer::broken(&error, self.question.waits_for())),
            Kept::Closed => None,
        };
        self.kept = None;
        match (fresh, broken) {
            (Some(Ok((connection, Answer::Alive))), Some(Answer::Dead { how })) => {
                self.kept = Some(connection);
                let note = format!("the kept connection: {how}; a fresh login is answered");
                Answer::AliveWithNote { note }
            }
            (Some(Ok((connection, answer))), _) => {
                self.kept = Some(connection);
                answer
            }
            (Some(Err(answer)), _) | (None, Some(answer)) => answer,
            (None, None) => dead("closed the connection early"),
        }
    }

    /// The kept connection is silent, and stays the kept one unless a new one is answered: a server with frozen storage
    /// refuses each login for ever, with an error.
    fn judge_silent(&mut self, fresh: Option<Fresh>, timeout: Duration) -> Answer {
        let silence = timed_out(timeout, self.question.waits_for());
        match fresh {
            Some(Ok((connection, answer))) => {
                self.kept = Some(connection);
                match answer {
                    Answer::Degraded { said, starting } => Answer::Degraded {
                        said: format!("{said}; the kept connection is silent"),
                        starting,
                    },
                    _ => Answer::AliveWithNote {
                        note: "the kept connection is silent; a fresh login is answered".into(),
                    },
                }
            }
            Some(Err(Answer::NoVerdict { why })) => no_verdict(format!(
                "the kept connection is silent, and no fresh login is possible: {why}"
            )),
            Some(Err(Answer::Degraded { said, .. })) => {
                dead(format!("{silence}; a fresh login is refused: {said}"))
            }
            Some(Err(Answer::Dead { how })) => dead(format!(
                "{silence}; a fresh login gets no answer either ({how})"
            )),
            Some(Err(Answer::Alive | Answer::AliveWithNote { .. })) | None => dead(silence),
        }
    }
}

/// The kept connection has answered. A service that serves no new client is in trouble all the same.
fn judge_answered(answer: Answer, fresh: Option<Fresh>) -> Answer {
    match (answer, fresh) {
        (_, Some(Err(Answer::Dead { how }))) => dead(format!(
            "a fresh login gets no answer ({how}); the kept connection answers"
        )),
        (Answer::Alive, Some(Err(Answer::Degraded { said, starting }))) => Answer::Degraded {
            said: format!("{said}; the kept connection answers"),
            starting,
        },
        (answer, _) => answer,
    }
}

async fn ask_kept(connection: &mut Connection, messages: &Messages, deadline: Instant) -> Kept {
    match time::timeout_at(deadline, ask(connection, messages)).await {
        Ok(Ok(reply)) => Kept::Answered(reply),
        Ok(Err(ProtocolError::TooLarge)) => Kept::TooLarge,
        Ok(Err(ProtocolError::Closed { .. })) => Kept::Closed,
        Ok(Err(error)) => Kept::Broken(error),
        Err(_) => Kept::Silent,
    }
}

/// Connects, logs in and asks.
async fn ask_after_login(
    login: &mut Login,
    question: &Question,
    timeout: Duration,
    deadline: Instant,
) -> Fresh {
    let remaining = deadline.saturating_duration_since(Instant::now());
    let phase = Phase::new("connection");
    let asked = async {
        let mut connection = login.log_in(&phase, QueryLimits::within(timeout)).await?;
        phase.wait_for_service(question.waits_for());
        let messages = question.messages(login, timeout)?;
        match ask(&mut connection, &messages).await {
            Ok(reply) => Ok((connection, question.judge(reply, login))),
            Err(ProtocolError::Closed {
                error: Some(error), ..
            }) => Err(question.judge_error(error, login)),
            Err(error) => Err(answer::broken(&error, question.waits_for())),
        }
    };
    match until_deadline(remaining, &phase, asked).await {
        Ok(fresh) => fresh,
        Err(answer) => Err(answer),
    }
}

/// The question, ready to be sent.
struct Messages {
    /// The same after statements that limit it, if the session has no limits.
    limited: Option<Vec<u8>>,
    plain: Vec<u8>,
}

/// The answer to the question.
struct Reply {
    error: Option<ServerError>,
    /// With limits it was answered with an error, and without them well.
    refuses_limits: bool,
}

/// Asks with limits where the session has none, and then without them where the server does not take them.
async fn ask(connection: &mut Connection, messages: &Messages) -> Result<Reply, ProtocolError> {
    let mut is_refused = false;
    if let Some(limited) = &messages.limited {
        let error = connection.ask(limited).await?;
        is_refused = error.as_ref().is_some_and(ServerError::is_about_form);
        if !is_refused {
            return Ok(Reply {
                error,
                refuses_limits: false,
            });
        }
    }
    let error = connection.ask(&messages.plain).await?;
    let refuses_limits = is_refused && error.is_none();
    Ok(Reply {
        error,
        refuses_limits,
    })
}

/// What the probe asks once it is logged in.
struct Question(Option<Query>);

impl Question {
    /// What an attempt waits for, as it follows "the".
    const fn waits_for(&self) -> &'static str {
        match self.0 {
            None => "answer to SELECT 1",
            Some(_) => "answer to the query",
        }
    }

    /// The messages that ask within `timeout`. An error is the answer of the attempt.
    fn messages(&self, login: &Login, timeout: Duration) -> Result<Messages, Answer> {
        let query = self.0.as_ref().map_or(DEFAULT_QUERY, |query| &query.text);
        let message = |text: &str| {
            let mut message = Default::default();
            match frontend::query(text, &mut message) {
                Ok(()) => Ok(message.to_vec()),
                Err(error) => Err(degraded(format!(
                    "the query cannot be sent: {error}; fix the query"
                ))),
            }
        };
        let limits = login.limits_in_sql(timeout);
        Ok(Messages {
            limited: limits
                .map(|limits| message(&(limits + query)))
                .transpose()?,
            plain: message(query)?,
        })
    }

    fn judge(&self, reply: Reply, login: &mut Login) -> Answer {
        if reply.refuses_limits {
            login.give_up_limits();
        }
        match reply.error {
            None => Answer::Alive,
            Some(error) => self.judge_error(error, login),
        }
    }

    fn judge_error(&self, mut error: ServerError, login: &Login) -> Answer {
        if self.0.as_ref().is_some_and(|query| query.secret) {
            error.message = WITHHELD.into();
        }
        answer::query_error(&error, login.password())
    }
}
