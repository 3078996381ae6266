//! The demo's viewer: triggers the bug, and describes what the daemon does about it.
//!
//! It is an ordinary client of the control socket.

use super::SERVICE;
use super::http::request;
use super::keyboard::Keyboard;
use crate::api::client::{Client, EventStream};
use crate::api::wire::{Event, Incident};
use crate::cli::console::{Console, Style, Text};
use crate::sys;
use hyper::Method;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// How long the daemon may take to open its socket, and the service to answer.
const START_WITHIN: Duration = Duration::from_secs(15);
/// How long the service stays healthy if the user presses no key.
const WEDGE_AFTER: Duration = Duration::from_secs(4);
/// How long the recovery may take before the demo counts as failed.
const RECOVERY_WITHIN: Duration = Duration::from_secs(20);
/// How long one HTTP request of the viewer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection to the starting daemon is tried.
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// How many characters of the evidence's first line are shown.
const EVIDENCE_CHARS_MAX: usize = 160;

/// How the viewer ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ViewerEnd {
    /// The demo was shown completely.
    Completed,
    /// The user left early, or a signal ended the daemon.
    Left,
    /// The daemon has ended already.
    DaemonEnded,
    /// A part of the demo failed.
    Failed(String),
}

/// The viewer of one demo.
pub(super) struct Viewer {
    console: Console,
    port: u16,
    client: Client,
    keyboard: Option<Keyboard>,
    started_at: Duration,
}

/// What the viewer waits for.
enum ViewerEvent {
    Record(Event),
    Key(u8),
    Timeout,
}

impl Viewer {
    /// A viewer of the daemon at `socket` and the service on `port`. Opens the keyboard.
    pub(super) fn new(console: Console, port: u16, socket: PathBuf) -> Self {
        Self {
            console,
            port,
            client: Client::new(socket),
            keyboard: Keyboard::open(),
            started_at: sys::clock::sample().awake,
        }
    }

    /// Shows the demo to its end, or until the sender of `daemon_ended` is dropped.
    pub(super) fn watch(mut self, daemon_ended: oneshot::Receiver<()>) -> ViewerEnd {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    biased;
                    shown = self.show() => shown.err().unwrap_or(ViewerEnd::Completed),
                    _dropped = daemon_ended => ViewerEnd::DaemonEnded,
                }
            }),
            Err(error) => ViewerEnd::Failed(format!("cannot start the viewer: {error}")),
        }
    }

    async fn show(&mut self) -> Result<(), ViewerEnd> {
        self.introduce()?;
        let mut stream = self.connect().await?;
        self.print_until_ready(&mut stream, 1, START_WITHIN).await?;
        self.say(
            Style::Good,
            "healthy",
            "GET /query gets an answer from the database",
        )?;
        self.wait_to_wedge(&mut stream).await?;
        let wedged_at = sys::clock::sample().awake;
        self.wedge().await?;
        self.print_until_ready(&mut stream, 2, RECOVERY_WITHIN)
            .await?;
        self.conclude(wedged_at).await
    }

    fn introduce(&self) -> Result<(), ViewerEnd> {
        let port = self.port;
        let mut text = self.console.text();
        text.lines(&format!(
            "A small web shop with a SQLite database runs on http://127.0.0.1:{port}, and stayd keeps it answering:\n\
             it sends GET /query every second; three times without an answer are a wedge.\n\n"
        ));
        self.print(&text)
    }

    async fn connect(&self) -> Result<EventStream, ViewerEnd> {
        let connecting = async {
            loop {
                match self.client.follow("/v1/events?since=0").await {
                    Ok(stream) => return stream,
                    Err(_not_yet) => sleep(CONNECT_EVERY).await,
                }
            }
        };
        let connected = tokio::time::timeout(START_WITHIN, connecting).await;
        connected.map_err(|_late| {
            ViewerEnd::Failed("cannot reach the demo's daemon: its socket does not answer".into())
        })
    }

    /// Prints every record until instance `life` of the service, or a later one, is ready.
    async fn print_until_ready(
        &mut self,
        stream: &mut EventStream,
        life: u32,
        within: Duration,
    ) -> Result<(), ViewerEnd> {
        let mut timeout = Box::pin(sleep(within));
        let mut killed = None;
        loop {
            match self.next_event(stream, &mut timeout).await? {
                ViewerEvent::Record(event) => {
                    self.print_record(&event, &mut killed).await?;
                    if event.kind == "ready" && event.life.is_some_and(|now| now >= life) {
                        return Ok(());
                    }
                }
                ViewerEvent::Key(_) => {}
                ViewerEvent::Timeout => {
                    return Err(ViewerEnd::Failed(format!(
                        "cannot finish the demo: the service was not ready within {within:?}"
                    )));
                }
            }
        }
    }

    /// Waits until the user presses a key or the time is over.
    async fn wait_to_wedge(&mut self, stream: &mut EventStream) -> Result<(), ViewerEnd> {
        let seconds = WEDGE_AFTER.as_secs();
        let hint = if self.keyboard.is_some() {
            format!("press SPACE to wedge it, or wait {seconds} s; q quits")
        } else {
            format!("it wedges in {seconds} s")
        };
        self.say(Style::Dim, "", &hint)?;
        let mut timeout = Box::pin(sleep(WEDGE_AFTER));
        loop {
            match self.next_event(stream, &mut timeout).await? {
                ViewerEvent::Key(b' ' | b'w' | b'W') | ViewerEvent::Timeout => return Ok(()),
                ViewerEvent::Key(_) => {}
                ViewerEvent::Record(event) => self.print_record(&event, &mut None).await?,
            }
        }
    }

    /// Triggers the bug, and shows that a health check and an open port do not reveal it.
    async fn wedge(&self) -> Result<(), ViewerEnd> {
        if request(Method::POST, self.port, "/wedge", REQUEST_TIMEOUT)
            .await
            .is_none()
        {
            return Err(ViewerEnd::Failed(
                "cannot wedge the service: it does not answer".into(),
            ));
        }
        self.say(
            Style::Bad,
            "wedged",
            "a task has taken the database lock and never releases it",
        )?;
        let health = request(Method::GET, self.port, "/health", REQUEST_TIMEOUT).await;
        let health = health.map_or("no answer".to_owned(), |(status, line)| {
            format!("{status}, \"{line}\"")
        });
        self.say(
            Style::Dim,
            "",
            &format!("GET /health: {health}  (a health check sees nothing)"),
        )?;
        let port = self.port;
        let state = if self.listens() {
            "still listens"
        } else {
            "is closed"
        };
        self.say(
            Style::Dim,
            "",
            &format!("port {port}: {state}  (a supervisor sees nothing)"),
        )?;
        let silent = request(Method::GET, port, "/query", REQUEST_TIMEOUT)
            .await
            .is_none();
        let query = if silent { "no answer" } else { "an answer" };
        self.say(
            Style::Dim,
            "",
            &format!("GET /query: {query} in {REQUEST_TIMEOUT:?}  (stayd asks this)"),
        )
    }

    fn listens(&self) -> bool {
        sys::socket::listeners(self.port).is_ok_and(|listeners| !listeners.is_empty())
    }

    /// Prints one record on a line. The evidence of a kill is printed when the next instance starts, because it is complete then.
    async fn print_record(&self, event: &Event, killed: &mut Option<u64>) -> Result<(), ViewerEnd> {
        if event.service.as_deref() != Some(SERVICE) {
            return Ok(());
        }
        match event.kind.as_str() {
            "killed" => {
                *killed = Some(event.id);
                self.say(
                    Style::Bad,
                    "killed",
                    event.message.trim_start_matches("killed: "),
                )
            }
            "started" => {
                if let Some(id) = killed.take() {
                    self.show_evidence(id).await?;
                }
                self.say(
                    Style::Bold,
                    "started",
                    &format!("{}, life {}", event.message, event.life.unwrap_or(0)),
                )
            }
            "verdict" if event.message.starts_with("dead") => self.say(
                Style::Warning,
                "suspect",
                event.message.trim_start_matches("dead: "),
            ),
            "ready" => Ok(()),
            kind => self.say(Style::Dim, kind, &event.message),
        }
    }

    async fn show_evidence(&self, id: u64) -> Result<(), ViewerEnd> {
        let incident: Result<Incident, _> = self.client.get(&format!("/v1/incidents/{id}")).await;
        let evidence = incident
            .ok()
            .and_then(|incident| incident.evidence)
            .unwrap_or_default();
        // The first line is the summary.
        let line = evidence
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty());
        let line: String = line
            .unwrap_or_default()
            .chars()
            .take(EVIDENCE_CHARS_MAX)
            .collect();
        if line.is_empty() {
            Ok(())
        } else {
            self.say(Style::Warning, "evidence", &line)
        }
    }

    async fn conclude(&self, wedged_at: Duration) -> Result<(), ViewerEnd> {
        let answer = request(Method::GET, self.port, "/query", REQUEST_TIMEOUT).await;
        let Some((_, line)) = answer.filter(|(status, _)| *status == 200) else {
            return Err(ViewerEnd::Failed(
                "cannot finish the demo: GET /query still gets no answer after the restart".into(),
            ));
        };
        let outage = sys::clock::sample().awake.saturating_sub(wedged_at);
        let sentence = format!(
            "answering again, {:.1} s after the wedge: {line}",
            outage.as_secs_f64()
        );
        self.say(Style::Good, "healthy", &sentence)?;
        let mut text = self.console.text();
        text.lines(
            "\nTry it with a service of your own; the probe asks it a real question:\n  \
             stayd --foreground --port 8080 --probe http://127.0.0.1:8080/query -- ./server --listen 8080\n  \
             stayd --foreground --port 5432 --probe postgres://app@127.0.0.1:5432/app -- postgres -D data\n\
             and from another terminal:\n  \
             stayd status        what runs, its state and the reason\n  \
             stayd why SERVICE   each kill and each suppressed kill, with its facts\n  \
             stayd events -f     every event as it happens\n",
        );
        self.print(&text)
    }

    async fn next_event(
        &mut self,
        stream: &mut EventStream,
        timeout: &mut Pin<Box<Sleep>>,
    ) -> Result<ViewerEvent, ViewerEnd> {
        let keyboard = &mut self.keyboard;
        let key = async {
            match keyboard {
                Some(keyboard) => keyboard.key().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            key = key => match key {
                b'q' | b'Q' => Err(ViewerEnd::Left),
                key => Ok(ViewerEvent::Key(key)),
            },
            record = stream.next() => match record {
                Ok(Some(event)) => Ok(ViewerEvent::Record(event)),
                Ok(None) | Err(_) => Err(ViewerEnd::Left),
            },
            () = timeout => Ok(ViewerEvent::Timeout),
        }
    }

    fn say(&self, style: Style, word: &str, sentence: &str) -> Result<(), ViewerEnd> {
        let elapsed = sys::clock::sample()
            .awake
            .saturating_sub(self.started_at)
            .as_secs_f64();
        let mut text = self.console.text();
        text.plain(&format!("{elapsed:5.1} s  "))
            .styled(style, &format!("{word:<9}"))
            .plain(&format!(" {sentence}"))
            .end_line();
        self.print(&text)
    }

    fn print(&self, text: &Text) -> Result<(), ViewerEnd> {
        self.console
            .print(text)
            .map_err(|_reader_gone| ViewerEnd::Left)
    }
}
