//! Probes: one real question over the service's own protocol, one file per protocol.
//!
//! A probe reports what it saw, as an [`Answer`]; it never judges. Every round has a hard deadline, costs nobody
//! else anything while it hangs, and at most one round of a check is under way at any time (`&mut self`).

mod checks;
mod dial;
mod exec;
mod http;
mod notify;
mod postgres;
mod resolve;
mod sqlite;
mod tcp;

pub(crate) use checks::{Baseline, Checks, Transcript};
pub use notify::Heartbeat;
pub(crate) use resolve::ResolveName;
pub use sqlite::{FileId, SqliteReply, SqliteRequest};

use crate::act::helper::Helper;
use crate::act::spawn::spawner::{ExecContext, Spawner};
use crate::config::{Probe, Target};
use crate::decide::clock::in_words;
use crate::decide::event::Answer;
use crate::sys::{clock, reaper};
use dial::Dialer;
use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

/// The longest quotation of what a service said, in characters.
const SAID_CHARS_MAX: usize = 200;

/// What a probe needs besides its own configuration.
#[derive(Clone)]
pub struct Context {
    /// Starts helpers and `exec:` commands.
    pub spawner: Spawner,
    /// stayd's own program, from which helpers are started.
    pub program: PathBuf,
    /// Where `exec:` commands run: the service's environment (less token and claim), directory and user.
    pub exec_context: ExecContext,
    /// Where the service's WATCHDOG=1 messages are counted.
    pub heartbeat: Heartbeat,
}

/// A protocol: one question, one answer, before the deadline.
pub(crate) trait Ask {
    /// Asks once. Returns within `timeout`, give or take the scheduling of this process.
    ///
    /// Dropping the future gives the round up: its connection is closed or its processes are killed.
    async fn ask(&mut self, timeout: Duration) -> Answer;
}

/// A probe that is ready to ask; it keeps what its protocol keeps between rounds and belongs to one life.
#[derive(Debug)]
pub struct Prober(Protocol);

#[derive(Debug)]
enum Protocol {
    Postgres(Box<postgres::Postgres>),
    Sqlite(Box<sqlite::Sqlite>),
    Http(Box<http::Http>),
    Connect(tcp::Connect),
    Exec(Box<exec::Exec>),
    Notify(notify::Notify),
}

impl Prober {
    /// Builds the prober that `probe` asks for. Nothing is opened or started before the first round.
    #[must_use]
    pub fn new(probe: &Probe, context: Context) -> Self {
        let query = probe.query.clone().map(|text| Query {
            secret: probe.query_shown.as_ref() != Some(&text),
            text,
        });
        let helper = || Helper::new(context.spawner.clone(), context.program.clone());
        Self(match &probe.target {
            Target::Postgres {
                at,
                user,
                password,
                database,
            } => Protocol::Postgres(Box::new(postgres::Postgres::new(
                Dialer::new(at.clone(), helper()),
                postgres::Login {
                    user: user.clone(),
                    password: password.clone(),
                    database: database.clone(),
                },
                query,
            ))),
            Target::Sqlite { path, write } => {
                let helper = helper().run_as(context.exec_context.user);
                let question = sqlite::question(path.clone(), *write, query);
                Protocol::Sqlite(Box::new(sqlite::Sqlite::new(helper, question)))
            }
            Target::Http {
                at,
                host,
                path,
                credentials,
            } => Protocol::Http(Box::new(http::Http {
                dialer: Dialer::new(at.clone(), helper()),
                host: host.clone(),
                path: path.clone(),
                credentials: credentials.clone(),
                expect: probe.expect.clone(),
            })),
            Target::Connect(at) => {
                Protocol::Connect(tcp::Connect(Dialer::new(at.clone(), helper())))
            }
            Target::Exec(argv) => Protocol::Exec(Box::new(exec::Exec::new(
                argv.clone(),
                context.spawner,
                context.exec_context,
            ))),
            Target::Notify => Protocol::Notify(notify::Notify::new(context.heartbeat)),
        })
    }

    /// Asks once, with a hard deadline. Dropping the future gives the round up and leaves nothing behind.
    pub async fn ask(&mut self, timeout: Duration) -> Answer {
        match &mut self.0 {
            Protocol::Postgres(probe) => probe.ask(timeout).await,
            Protocol::Sqlite(probe) => probe.ask(timeout).await,
            Protocol::Http(probe) => probe.ask(timeout).await,
            Protocol::Connect(probe) => probe.ask(timeout).await,
            Protocol::Exec(probe) => probe.ask(timeout).await,
            Protocol::Notify(probe) => probe.ask(timeout).await,
        }
    }
}

/// What to ask instead of a protocol's own question.
#[derive(Clone)]
struct Query {
    text: String,
    /// It was filled in with a secret, so an error about it is not to be quoted: servers repeat what they refuse.
    secret: bool,
}

/// One timed round for `stayd probe`: the answer and how long it took.
///
/// Reaps its own children, so it must not run in a process that has a loop.
pub async fn ask_once(
    probe: &Probe,
    program: PathBuf,
    exec_context: ExecContext,
) -> (Answer, Duration) {
    if probe.target == Target::Notify {
        let why = "only the service itself can say WATCHDOG=1, to the stayd that started it; `stayd status` shows what it said";
        return (no_verdict(why), Duration::ZERO);
    }
    let spawner = Spawner::new();
    let mut prober = Prober::new(
        probe,
        Context {
            spawner: spawner.clone(),
            program,
            exec_context,
            heartbeat: Heartbeat::default(),
        },
    );
    // An `exec:` command may leave processes behind; where they do not land here they are nobody's.
    let _ = reaper::become_subreaper();
    let asked_at = clock::sample().awake;
    let answer = spawner.attend(prober.ask(probe.timeout)).await;
    (answer, clock::sample().awake.saturating_sub(asked_at))
}

/// What a round is waiting for, so that a deadline can name it.
#[derive(Debug)]
struct Stage {
    waits_for: Cell<&'static str>,
    /// It waits for the service, not for something of ours.
    asked: Cell<bool>,
}

impl Stage {
    const fn new(waits_for: &'static str) -> Self {
        Self {
            waits_for: Cell::new(waits_for),
            asked: Cell::new(true),
        }
    }

    /// From now on only the service can be at fault.
    fn waits_for(&self, what: &'static str) {
        self.waits_for.set(what);
        self.asked.set(true);
    }

    /// From now on silence says nothing about the service.
    fn prepares(&self, what: &'static str) {
        self.waits_for.set(what);
        self.asked.set(false);
    }
}

/// Runs a round to its end or to its deadline, whichever comes first. Silence is dead, once it was asked.
async fn within(timeout: Duration, stage: &Stage, attempt: impl Future<Output = Answer>) -> Answer {
    match tokio::time::timeout(timeout, attempt).await {
        Ok(answer) => answer,
        Err(_) if stage.asked.get() => silence(timeout, stage.waits_for.get()),
        Err(_) => no_verdict(format!(
            "no {} within {}",
            stage.waits_for.get(),
            in_words(timeout)
        )),
    }
}

/// The answer of a round in which nothing came.
fn silence(timeout: Duration, waited_for: &str) -> Answer {
    dead(format!("no {waited_for} within {}", in_words(timeout)))
}

fn dead(how: impl Into<String>) -> Answer {
    Answer::Dead { how: how.into() }
}

fn no_verdict(why: impl Into<String>) -> Answer {
    Answer::NoVerdict { why: why.into() }
}

fn degraded(said: impl Into<String>) -> Answer {
    Answer::Degraded {
        said: said.into(),
        starting: false,
    }
}

/// Makes a foreign text fit for a log: its first line with words in it, without control characters, short.
fn quote(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    line.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SAID_CHARS_MAX)
        .collect()
}

/// Stands for the quotation of an error about a query that holds a secret.
const WITHHELD: &str = "(not quoted: the query holds a secret)";

/// Takes a secret out of a text, wherever it stands.
fn redact(text: String, secret: Option<&str>) -> String {
    match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "***"),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{SAID_CHARS_MAX, quote, redact};

    #[test]
    fn a_quotation_is_one_short_line() {
        assert_eq!(
            quote(b"\r\n  first\x1b[31m line \nsecond"),
            "first [31m line"
        );
        assert_eq!(quote(&[b'x'; 5000]).len(), SAID_CHARS_MAX);
        assert_eq!(quote(b""), "");
    }

    #[test]
    fn a_secret_is_taken_out() {
        assert_eq!(
            redact("no hunter2 here".into(), Some("hunter2")),
            "no *** here"
        );
        assert_eq!(redact("as it was".into(), Some("")), "as it was");
        assert_eq!(redact("as it was".into(), None), "as it was");
    }
}
