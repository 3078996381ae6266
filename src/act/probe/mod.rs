//! Probes: each asks a service one real question over its own protocol. One file per protocol.
//!
//! A probe reports what it observed, as an [`Answer`]; the verdict is made elsewhere. Every attempt has a hard deadline. An
//! attempt that hangs does not delay other checks, and at most one attempt of a check is under way at any time (`&mut self`).

mod checks;
mod connector;
mod dial;
mod exec;
mod http;
mod judged_listeners;
mod listener_judge;
mod notify;
mod postgres;
mod resolve;
mod sqlite;
mod tcp;

pub(crate) use checks::{Baseline, Checks, Transcript};
pub(crate) use connector::local_error_remedy;
pub(crate) use judged_listeners::ForeignHolder;
pub use listener_judge::{JudgeError, Judgment, ListenerJudge};
pub use notify::Heartbeat;
pub(crate) use notify::OpenGap;
pub(crate) use resolve::ResolveName;
pub use sqlite::{FileId, SqliteReply, SqliteRequest};

use crate::act::helper::Helper;
use crate::act::spawn::spawner::{ExecContext, Spawner};
use crate::config::{Endpoint, Probe, Target};
use crate::decide::clock::in_words;
use crate::decide::event::Answer;
use crate::sys::{clock, reaper};
use connector::Connector;
use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest quotation of a service's output or error message, in characters.
const SAID_CHARS_MAX: usize = 200;

/// Longest quotation of what is not in the probe's protocol, in bytes.
const FIRST_BYTES_MAX: usize = 64;

/// What a probe needs besides its own configuration.
#[derive(Clone)]
pub struct ProbeContext {
    /// Starts helpers and `exec:` commands.
    pub spawner: Spawner,
    /// stayd's own executable, from which helpers are started.
    pub program: PathBuf,
    /// For `exec:` commands: the service's environment (without token and claim), working directory and user.
    pub exec_context: ExecContext,
    /// Counts the service's WATCHDOG=1 messages.
    pub heartbeat: Heartbeat,
    /// Whether the process with this number belongs to the service.
    pub is_member: IsMember,
    /// Decides whether the listener that a connection reaches is the service's; none accepts every listener.
    pub listener_judge: Option<Rc<dyn ListenerJudge>>,
}

/// Whether the process with a number belongs to the service.
pub type IsMember = Rc<dyn Fn(i32) -> bool>;

/// What every protocol implements: one question and its answer, before the deadline.
pub(crate) trait ProtocolProbe {
    /// Asks once. Returns within `timeout`, apart from scheduling delays of this process.
    ///
    /// Dropping the future cancels the attempt: its connection is closed or its processes are killed.
    async fn ask(&mut self, timeout: Duration) -> Answer;
}

/// A probe of one instance. It keeps the state of its protocol between attempts, for example a connection.
#[derive(Debug)]
pub struct Prober(Protocol);

#[derive(Debug)]
enum Protocol {
    Postgres(Box<postgres::PostgresProbe>),
    Sqlite(Box<sqlite::SqliteProbe>),
    Http(Box<http::HttpProbe>),
    Connect(Box<tcp::ConnectProbe>),
    Exec(Box<exec::ExecProbe>),
    Notify(notify::NotifyProbe),
}

impl Prober {
    /// Builds the prober for the configured `probe`. Nothing is opened or started before the first attempt.
    #[must_use]
    pub fn new(probe: &Probe, context: ProbeContext) -> Self {
        let query = probe.query.clone().map(|text| Query {
            secret: probe.query_shown.as_ref() != Some(&text),
            text,
        });
        let helper = || Helper::new(context.spawner.clone(), context.program.clone());
        let connector =
            |at: &Endpoint| Connector::new(at.clone(), helper(), context.listener_judge.clone());
        Self(match &probe.target {
            Target::Postgres {
                at,
                user,
                password,
                database,
            } => Protocol::Postgres(Box::new(postgres::PostgresProbe::new(
                connector(at),
                postgres::Credentials {
                    user: user.clone(),
                    password: password.clone(),
                    database: database.clone(),
                },
                query,
            ))),
            Target::Sqlite { path, write } => {
                let helper = helper().run_as(context.exec_context.user);
                let question = sqlite::question(path.clone(), *write, query);
                let is_member = context.is_member;
                Protocol::Sqlite(Box::new(sqlite::SqliteProbe::new(
                    helper, question, is_member,
                )))
            }
            Target::Http {
                at,
                host,
                path,
                credentials,
            } => Protocol::Http(Box::new(http::HttpProbe {
                connector: connector(at),
                host: host.clone(),
                path: path.clone(),
                credentials: credentials.clone(),
                expect: probe.expect.clone(),
            })),
            Target::Connect(at) => Protocol::Connect(Box::new(tcp::ConnectProbe(connector(at)))),
            Target::Exec(argv) => Protocol::Exec(Box::new(exec::ExecProbe::new(
                argv.clone(),
                context.spawner,
                context.exec_context,
            ))),
            Target::Notify => Protocol::Notify(notify::NotifyProbe::new(context.heartbeat)),
        })
    }

    /// Asks once, with a hard deadline. Dropping the future cancels the attempt and leaves nothing behind.
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

/// A configured query, asked instead of the protocol's default question.
#[derive(Clone)]
struct Query {
    text: String,
    /// It contains a secret. Errors about it are not quoted, because servers repeat the query in them.
    secret: bool,
}

/// Makes one attempt for `stayd probe`. Returns the answer and how long it took.
///
/// Reaps its own children, so it must not run in the daemon's process.
pub async fn ask_once(
    probe: &Probe,
    program: PathBuf,
    exec_context: ExecContext,
) -> (Answer, Duration) {
    if probe.target == Target::Notify {
        let why = "only the service itself can send WATCHDOG=1, to the stayd that started it; `stayd status` shows the result";
        return (no_verdict(why), Duration::ZERO);
    }
    let spawner = Spawner::new();
    let mut prober = Prober::new(
        probe,
        ProbeContext {
            spawner: spawner.clone(),
            program,
            exec_context,
            heartbeat: Heartbeat::default(),
            is_member: Rc::new(|_| false),
            listener_judge: None,
        },
    );
    // An `exec:` command may leave processes behind. As a subreaper this process can end them; elsewhere they stay.
    let _ = reaper::become_subreaper();
    let asked_at = clock::sample().awake;
    let answer = spawner.reap_during(prober.ask(probe.timeout)).await;
    (answer, clock::sample().awake.saturating_sub(asked_at))
}

/// What an attempt is waiting for, as it follows "the". If the deadline passes, the answer names it.
#[derive(Debug)]
struct Phase {
    waits_for: Cell<&'static str>,
    /// When the attempt ends; none before it begins.
    ends_at: Cell<Option<Instant>>,
    /// Since when the attempt waits for something on stayd's side; none while it waits for the service.
    preparing_since: Cell<Option<Instant>>,
    /// How long it did so before.
    prepared_for: Cell<Duration>,
    /// The answer if the deadline passes now, where more is known than what the attempt waits for.
    answer_at_deadline: RefCell<Option<Answer>>,
}

impl Phase {
    const fn new(waits_for: &'static str) -> Self {
        Self {
            waits_for: Cell::new(waits_for),
            ends_at: Cell::new(None),
            preparing_since: Cell::new(None),
            prepared_for: Cell::new(Duration::ZERO),
            answer_at_deadline: RefCell::new(None),
        }
    }

    /// The attempt now waits for `what` from the service. If the deadline passes, the service is dead.
    fn wait_for_service(&self, what: &'static str) {
        self.waits_for.set(what);
        if let Some(since) = self.preparing_since.take() {
            let before = self.prepared_for.get();
            self.prepared_for.set(before + since.elapsed());
        }
        self.answer_at_deadline.replace(None);
    }

    /// The attempt now waits for `what`, which does not depend on the service. If the deadline passes, there is no verdict.
    fn prepare(&self, what: &'static str) {
        self.waits_for.set(what);
        let since = self.preparing_since.get().unwrap_or_else(Instant::now);
        self.preparing_since.set(Some(since));
        self.answer_at_deadline.replace(None);
    }

    /// If the deadline passes while the attempt still waits for the same, this is its answer.
    fn set_answer_at_deadline(&self, answer: Answer) {
        self.answer_at_deadline.replace(Some(answer));
    }

    /// The time until the deadline.
    fn time_left(&self) -> Duration {
        let ends_at = self.ends_at.get();
        ends_at.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// The answer of an attempt that has reached its deadline, `timeout` after its begin. If stayd's own part took most of
    /// that time, the service had too little of it.
    fn at_deadline(&self, timeout: Duration) -> Answer {
        let waited_for = self.waits_for.get();
        if self.preparing_since.get().is_some() {
            return no_verdict(timed_out(timeout, waited_for));
        }
        if let Some(answer) = self.service_had_too_little(timeout) {
            return answer;
        }
        let known = self.answer_at_deadline.take();
        known.unwrap_or_else(|| no_answer(timeout, waited_for))
    }

    /// The answer of an attempt without one from the service, if stayd's own part took more than half of its `timeout`.
    fn service_had_too_little(&self, timeout: Duration) -> Option<Answer> {
        let prepared_for = self.prepared_for.get();
        (prepared_for > timeout / 2).then(|| {
            no_verdict(format!(
                "stayd itself needed {} of the {} that the attempt may take",
                in_words(prepared_for),
                in_words(timeout)
            ))
        })
    }
}

/// Runs an attempt until it ends or until its deadline, whichever is first. At the deadline the answer is dead, if the
/// attempt was waiting for the service.
async fn within(timeout: Duration, phase: &Phase, attempt: impl Future<Output = Answer>) -> Answer {
    match until_deadline(timeout, phase, attempt).await {
        Ok(answer) | Err(answer) => answer,
    }
}

/// The same for an attempt whose outcome is not yet an answer. An error is the answer at the deadline.
async fn until_deadline<T>(
    timeout: Duration,
    phase: &Phase,
    attempt: impl Future<Output = T>,
) -> Result<T, Answer> {
    let ends_at = Instant::now() + timeout;
    phase.ends_at.set(Some(ends_at));
    let outcome = tokio::time::timeout_at(ends_at, attempt).await;
    outcome.map_err(|_| phase.at_deadline(timeout))
}

/// The answer when the service did not respond within `timeout`.
fn no_answer(timeout: Duration, waited_for: &str) -> Answer {
    dead(timed_out(timeout, waited_for))
}

fn timed_out(timeout: Duration, waited_for: &str) -> String {
    format!(
        "timed out after {} waiting for the {waited_for}",
        in_words(timeout)
    )
}

fn dead(how: impl Into<String>) -> Answer {
    Answer::Dead { how: how.into() }
}

/// The answer when an established connection fails with `error`, while the attempt waits for `waited_for`.
fn connection_error(error: &io::Error, waited_for: &str) -> Answer {
    if local_error_remedy(error).is_some() {
        return no_verdict(format!("cannot talk to it: {error}"));
    }
    // After a reset that the socket has reported already, a write fails with EPIPE.
    let reset = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    dead(if reset.contains(&error.kind()) {
        format!("connection reset while waiting for the {waited_for}")
    } else {
        format!("{error} while waiting for the {waited_for}")
    })
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

/// Shortens a text from a service for a log: its first line that is not empty, without control characters, at most
/// [`SAID_CHARS_MAX`] characters.
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

/// Quotes a text from a service as [`quote`] does, with `***` for every occurrence of a secret.
///
/// The secrets are replaced first: where the quotation ends, a part of one would not be recognized.
fn quote_without<'a>(text: &[u8], secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    quote(text.as_bytes())
}

/// Quotes the first line of something that is not in the probe's protocol, in quotation marks, with all but printable ASCII
/// escaped; at most [`FIRST_BYTES_MAX`] bytes of it.
fn quote_first_bytes(bytes: &[u8]) -> String {
    let line = bytes.trim_ascii().split(|byte| *byte == b'\n').next();
    let line = line.unwrap_or_default().trim_ascii_end();
    format!(
        "\"{}\"",
        line[..line.len().min(FIRST_BYTES_MAX)].escape_ascii()
    )
}

/// Replaces the quotation of an error about a query that contains a secret.
const WITHHELD: &str = "(not quoted: the query contains a secret)";

#[cfg(test)]
mod tests {
    use super::{
        Answer, FIRST_BYTES_MAX, Phase, SAID_CHARS_MAX, no_verdict, quote, quote_first_bytes,
        quote_without, within,
    };
    use std::time::Duration;

    const TIMEOUT: Duration = Duration::from_millis(80);

    /// An attempt in which stayd needs this time for its own part, and the service never answers.
    async fn silent_after(own_part: Duration) -> Answer {
        let phase = Phase::new("connection");
        within(TIMEOUT, &phase, async {
            phase.prepare("search");
            tokio::time::sleep(own_part).await;
            phase.wait_for_service("connection");
            std::future::pending().await
        })
        .await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn silence_is_dead_only_if_the_service_had_half_of_the_timeout() {
        let dead = silent_after(Duration::ZERO).await;
        assert!(matches!(dead, Answer::Dead { .. }), "{dead:?}");
        let short = silent_after(TIMEOUT * 3 / 4).await;
        assert!(matches!(short, Answer::NoVerdict { .. }), "{short:?}");
        let none = silent_after(TIMEOUT * 2).await;
        let expected = no_verdict("timed out after 80 ms waiting for the search");
        assert_eq!(none, expected);
    }

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
    fn no_part_of_a_secret_is_quoted() {
        let quoted =
            |text: &str, secrets: &[&str]| quote_without(text.as_bytes(), secrets.iter().copied());
        assert_eq!(quoted("no hunter2 here", &["hunter2"]), "no *** here");
        assert_eq!(quoted("one, two", &["one", "two"]), "***, ***");
        assert_eq!(quoted("as it was", &[""]), "as it was");
        let at_the_end = "x".repeat(SAID_CHARS_MAX - 3) + "hunter2";
        assert!(!quoted(&at_the_end, &["hunter2"]).contains("hun"));
        assert_eq!(quoted(&"a".repeat(5000), &["a"]).len(), SAID_CHARS_MAX);
    }

    #[test]
    fn the_first_bytes_of_another_protocol_are_one_escaped_line() {
        assert_eq!(
            quote_first_bytes(b"\r\n220 \"mail\"\r\n250 x"),
            r#""220 \"mail\"""#
        );
        assert_eq!(
            quote_first_bytes(b"\x15\x03\0\xff"),
            r#""\x15\x03\x00\xff""#
        );
        assert_eq!(quote_first_bytes(&[0; 5000]).len(), 4 * FIRST_BYTES_MAX + 2);
    }
}
