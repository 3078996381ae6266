//! Tells in words what happens, as a client of the control socket like any other.

use super::super::screen::{Paint, Screen};
use super::SERVICE;
use super::ask::ask;
use super::terminal::Keyboard;
use crate::api::client::{Client, EventStream};
use crate::api::wire::{Event, Incident};
use crate::sys;
use hyper::Method;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// How long the daemon may take to open its socket, and the service to answer.
const START_WITHIN: Duration = Duration::from_secs(15);
/// How long it stays healthy when nobody presses a key.
const WEDGE_AFTER: Duration = Duration::from_secs(4);
/// How long the recovery may take before the demo is called broken.
const RECOVERY_WITHIN: Duration = Duration::from_secs(20);
/// How long one question of the viewer's own may take.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// Between two attempts to reach a daemon that is starting.
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// This much of the evidence's first line is shown.
const EVIDENCE_CHARS_MAX: usize = 160;

/// How the viewing ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was seen.
    Shown,
    /// The person left early, or the daemon was told to end.
    Left,
    /// The daemon has ended already.
    Over,
    /// It did not happen as promised.
    Failed(String),
}

/// The narrator.
pub(super) struct Viewer {
    screen: Screen,
    port: u16,
    client: Client,
    keyboard: Option<Keyboard>,
    began: Duration,
}

/// What the viewer waits for.
enum News {
    Record(Event),
    Key(u8),
    Time,
}

impl Viewer {
    /// For the daemon at `socket` and the service on `port`. Opens the keyboard.
    pub(super) fn new(screen: Screen, port: u16, socket: PathBuf) -> Self {
        Self {
            screen,
            port,
            client: Client::new(socket),
            keyboard: Keyboard::open(),
            began: sys::clock::sample().awake,
        }
    }

    /// Watches to the end, or until the other end of `over` is dropped: the daemon has ended.
    pub(super) fn watch(mut self, over: oneshot::Receiver<()>) -> End {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    biased;
                    told = self.story() => told.err().unwrap_or(End::Shown),
                    _ended = over => End::Over,
                }
            }),
            Err(error) => End::Failed(format!("cannot start the viewer: {error}")),
        }
    }

    async fn story(&mut self) -> Result<(), End> {
        self.introduce()?;
        let mut stream = self.connect().await?;
        self.until_ready(&mut stream, 1, START_WITHIN).await?;
        self.say(
            Paint::Good,
            "healthy",
            "GET /query is answered from the database",
        )?;
        self.until_wedge(&mut stream).await?;
        let wedged_at = sys::clock::sample().awake;
        self.wedge().await?;
        self.until_ready(&mut stream, 2, RECOVERY_WITHIN).await?;
        self.conclude(wedged_at).await
    }

    fn introduce(&self) -> Result<(), End> {
        let port = self.port;
        self.print(&format!(
            "A small web shop with a SQLite database runs on http://127.0.0.1:{port}, and stayd keeps it answering:\n\
             it asks GET /query every second; three silences in a row are a wedge.\n\n"
        ))
    }

    async fn connect(&self) -> Result<EventStream, End> {
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
            End::Failed("cannot reach the demo's daemon: its socket never answered".into())
        })
    }

    /// Tells every record until the service's life number `life` is ready.
    async fn until_ready(
        &mut self,
        stream: &mut EventStream,
        life: u32,
        within: Duration,
    ) -> Result<(), End> {
        let mut patience = Box::pin(sleep(within));
        let mut killed = None;
        loop {
            match self.news(stream, &mut patience).await? {
                News::Record(event) => {
                    self.tell(&event, &mut killed).await?;
                    if event.kind == "ready" && event.life.is_some_and(|now| now >= life) {
                        return Ok(());
                    }
                }
                News::Key(_) => {}
                News::Time => {
                    return Err(End::Failed(format!(
                        "cannot show the demo to its end: the service was not ready within {within:?}"
                    )));
                }
            }
        }
    }

    /// A key or time decides when the bug strikes.
    async fn until_wedge(&mut self, stream: &mut EventStream) -> Result<(), End> {
        let seconds = WEDGE_AFTER.as_secs();
        let hint = if self.keyboard.is_some() {
            format!("press SPACE to wedge it, or wait {seconds} s; q leaves")
        } else {
            format!("in {seconds} s it wedges by itself")
        };
        self.say(Paint::Faint, "", &hint)?;
        let mut patience = Box::pin(sleep(WEDGE_AFTER));
        loop {
            match self.news(stream, &mut patience).await? {
                News::Key(b' ' | b'w' | b'W') | News::Time => return Ok(()),
                News::Key(_) => {}
                News::Record(event) => self.tell(&event, &mut None).await?,
            }
        }
    }

    /// Strikes, and shows what other watchers would see of it: nothing.
    async fn wedge(&self) -> Result<(), End> {
        if ask(Method::POST, self.port, "/wedge", ASK_WITHIN)
            .await
            .is_none()
        {
            return Err(End::Failed(
                "cannot wedge the service: it does not answer".into(),
            ));
        }
        self.say(
            Paint::Bad,
            "wedged",
            "somebody took the database lock and will never give it back",
        )?;
        let health = ask(Method::GET, self.port, "/health", ASK_WITHIN).await;
        let health = health.map_or("silent".to_owned(), |(status, line)| {
            format!("{status}, \"{line}\"")
        });
        self.say(
            Paint::Faint,
            "",
            &format!("GET /health: {health}  (a health check sees nothing)"),
        )?;
        let port = self.port;
        let open = if self.listens() {
            "still listens"
        } else {
            "is closed"
        };
        self.say(
            Paint::Faint,
            "",
            &format!("port {port}: {open}  (a supervisor sees nothing)"),
        )?;
        let silent = ask(Method::GET, port, "/query", ASK_WITHIN).await.is_none();
        let query = if silent { "no answer" } else { "an answer" };
        self.say(
            Paint::Faint,
            "",
            &format!("GET /query: {query} in {ASK_WITHIN:?}  (stayd asks this)"),
        )
    }

    fn listens(&self) -> bool {
        sys::socket::listeners(self.port).is_ok_and(|listeners| !listeners.is_empty())
    }

    /// One record in a line; the kill's evidence follows when the next life begins, because by then it is complete.
    async fn tell(&self, event: &Event, killed: &mut Option<u64>) -> Result<(), End> {
        if event.service.as_deref() != Some(SERVICE) {
            return Ok(());
        }
        match event.kind.as_str() {
            "killed" => {
                *killed = Some(event.id);
                self.say(
                    Paint::Bad,
                    "killed",
                    event.message.trim_start_matches("killed: "),
                )
            }
            "started" => {
                if let Some(id) = killed.take() {
                    self.show_evidence(id).await?;
                }
                self.say(
                    Paint::Strong,
                    "started",
                    &format!("{}, life {}", event.message, event.life.unwrap_or(0)),
                )
            }
            "verdict" if event.message.starts_with("dead") => self.say(
                Paint::Odd,
                "suspect",
                event.message.trim_start_matches("dead: "),
            ),
            "ready" => Ok(()),
            kind => self.say(Paint::Faint, kind, &event.message),
        }
    }

    async fn show_evidence(&self, id: u64) -> Result<(), End> {
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
            self.say(Paint::Odd, "evidence", &line)
        }
    }

    async fn conclude(&self, wedged_at: Duration) -> Result<(), End> {
        let answer = ask(Method::GET, self.port, "/query", ASK_WITHIN).await;
        let Some((_, line)) = answer.filter(|(status, _)| *status == 200) else {
            return Err(End::Failed(
                "cannot call it recovered: GET /query is still silent".into(),
            ));
        };
        let silence = sys::clock::sample().awake.saturating_sub(wedged_at);
        let sentence = format!(
            "answering again, {:.1} s after the wedge: {line}",
            silence.as_secs_f64()
        );
        self.say(Paint::Good, "healthy", &sentence)?;
        self.print(
            "\nNow with a service of your own; the probe asks it a real question:\n  \
             stayd --foreground --port 8080 --probe http://127.0.0.1:8080/query -- ./server --listen 8080\n  \
             stayd --foreground --port 5432 --probe postgres://app@127.0.0.1:5432/app -- postgres -D data\n\
             and from another terminal:\n  \
             stayd status        what runs, and why it is as it is\n  \
             stayd why SERVICE   each kill and each kill that was not done, with its facts\n  \
             stayd events -f     everything as it happens\n",
        )
    }

    async fn news(
        &mut self,
        stream: &mut EventStream,
        patience: &mut Pin<Box<Sleep>>,
    ) -> Result<News, End> {
        let keyboard = &mut self.keyboard;
        let key = async {
            match keyboard {
                Some(keyboard) => keyboard.key().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            key = key => match key {
                b'q' | b'Q' => Err(End::Left),
                key => Ok(News::Key(key)),
            },
            record = stream.next() => match record {
                Ok(Some(event)) => Ok(News::Record(event)),
                Ok(None) | Err(_) => Err(End::Left),
            },
            () = patience => Ok(News::Time),
        }
    }

    fn say(&self, paint: Paint, word: &str, sentence: &str) -> Result<(), End> {
        let passed = sys::clock::sample()
            .awake
            .saturating_sub(self.began)
            .as_secs_f64();
        let word = self.screen.paint(paint, &format!("{word:<9}"));
        self.print(&format!("{passed:5.1} s  {word} {sentence}\n"))
    }

    fn print(&self, text: &str) -> Result<(), End> {
        self.screen.print(text).map_err(|_nobody_reads| End::Left)
    }
}
