//! The helper: this same program in a process of its own, for everything that can hang.
//!
//! A file on a pulled disk, a name server, the memory of a sick process: whoever touches them may never come back, and
//! a thread stuck in the kernel keeps even a killed process alive. So such questions go to a child, one JSON line each
//! way over a socket pair. It is kept between questions, killed at a deadline, and started anew for the next question.

pub(crate) mod client;
pub(crate) mod wire;

pub use wire::{Ask, Far, FileId, Reply, SqliteAsk, SqliteReply};

use crate::act::failpoint::environment_for_helper;
use crate::act::spawn::launch::Launch;
use crate::act::spawn::spawner::{Running, Spawner, Surroundings};
use crate::sys::reaper::Status;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use wire::{Line, Question};

/// The hidden verb that makes this program a helper.
pub const VERB: &str = "__helper";
/// Longest question, in bytes.
pub const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Longest answer, in bytes: an env_file of 1 MiB in which every other byte is escaped.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A helper that does not even start within this time is given up.
const START_DEADLINE: Duration = Duration::from_secs(10);
const SIGKILL: i32 = libc::SIGKILL;
const STUCK: &str = "the last helper is killed and still hangs in the system";

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The helper could not be asked; says nothing about what was asked for.
    Unasked(String),
    /// It was asked and did not answer in time; it is killed.
    Silent,
}

/// How long a task may stand still.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Before the disk it asks has answered at all.
    pub knocking: Duration,
    /// Once it is under way.
    pub moving: Duration,
}

/// One helper process, started when it is first needed.
#[derive(Debug)]
pub struct Helper {
    spawner: Spawner,
    program: PathBuf,
    user: Option<String>,
    live: Option<Live>,
    /// The exit of a helper that was killed and has not been reaped: stuck in the kernel.
    stuck: Option<oneshot::Receiver<Status>>,
    next_id: u64,
}

#[derive(Debug)]
struct Live {
    stream: UnixStream,
    /// Not yet a whole line.
    heard: Vec<u8>,
    running: Running,
}

impl Helper {
    /// A helper that will run `program`, this program of ours.
    #[must_use]
    pub const fn new(spawner: Spawner, program: PathBuf) -> Self {
        Self {
            spawner,
            program,
            user: None,
            live: None,
            stuck: None,
            next_id: 0,
        }
    }

    /// The same, running as `user`.
    #[must_use]
    pub fn run_as(mut self, user: Option<String>) -> Self {
        self.user = user;
        self
    }

    /// The helper's pid, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.live.as_ref().map(|live| live.running.process.pid)
    }

    /// Whether the last one has gone, waited for at most `within`: one that hangs even after its SIGKILL has not.
    pub async fn is_free(&mut self, within: Duration) -> bool {
        if let Some(exit) = &mut self.stuck {
            if tokio::time::timeout(within, exit).await.is_err() {
                return false;
            }
            self.stuck = None;
        }
        true
    }

    /// Whether the last one was killed and is not known to have gone.
    #[must_use]
    pub const fn may_hang(&self) -> bool {
        self.stuck.is_some()
    }

    /// Asks, and gives up at `deadline`: the helper is killed then, and the next question gets a new one.
    ///
    /// # Errors
    /// [`Trouble::Silent`] at the deadline; [`Trouble::Unasked`] where the question never reached a helper, because none
    /// could be started or the last one is still stuck.
    pub async fn ask(&mut self, ask: Ask, deadline: Duration) -> Result<Reply, Trouble> {
        // Taken out, so that a dropped future takes its half-used helper with it.
        let mut guard = OnLoan::of(self);
        match tokio::time::timeout(deadline, guard.exchange(ask)).await {
            Ok(Ok(reply)) => {
                guard.give_back();
                Ok(reply)
            }
            Ok(Err(error)) => Err(Trouble::Unasked(error)),
            Err(_) if guard.asked => Err(Trouble::Silent),
            Err(_) if guard.owner.stuck.is_some() => Err(Trouble::Unasked(STUCK.into())),
            Err(_) => Err(Trouble::Unasked("the helper did not start in time".into())),
        }
    }

    /// Asks what takes its time, and gives up when it does not go on for as long as `patience` says. `far` says how far it
    /// is.
    ///
    /// # Errors
    /// As [`Helper::ask`].
    pub async fn ask_at_length(
        &mut self,
        ask: Ask,
        patience: Patience,
        far: &Cell<Far>,
    ) -> Result<Reply, Trouble> {
        let mut guard = OnLoan::of(self);
        let asked = tokio::time::timeout(START_DEADLINE, guard.put(ask)).await;
        let id = match asked {
            Ok(Ok(id)) => id,
            Ok(Err(error)) => return Err(Trouble::Unasked(error)),
            Err(_) => return Err(Trouble::Unasked(STUCK.into())),
        };
        let mut stall = patience.moving;
        loop {
            match tokio::time::timeout(stall, guard.hear()).await {
                Ok(Ok(Line::Progress(now))) => far.set(now),
                Ok(Ok(Line::Knocks(true))) => stall = patience.knocking,
                Ok(Ok(Line::Knocks(false))) => stall = patience.moving,
                Ok(Ok(line)) => {
                    let reply = line.reply_to(id).map_err(Trouble::Unasked)?;
                    guard.give_back();
                    return Ok(reply);
                }
                Ok(Err(error)) => return Err(Trouble::Unasked(error)),
                Err(_) => return Err(Trouble::Silent),
            }
        }
    }

    /// The addresses of a name. Has no deadline of its own: dropping the future kills the helper.
    ///
    /// # Errors
    /// A cause, in words.
    pub async fn resolve(&mut self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let ask = Ask::Resolve {
            host: host.into(),
            port,
        };
        match self.ask(ask, Duration::MAX).await {
            Ok(Reply::Addresses(addresses)) => Ok(addresses),
            Ok(Reply::Failed(cause)) | Err(Trouble::Unasked(cause)) => Err(cause),
            Ok(Reply::Sqlite(_) | Reply::Text(_) | Reply::Variables(_) | Reply::Runtime(_)) => {
                Err("the helper answered something else".into())
            }
            Err(Trouble::Silent) => Err("no answer".into()),
        }
    }
}

/// A helper process while a question is under way; killed unless it is given back.
struct OnLoan<'a> {
    owner: &'a mut Helper,
    live: Option<Live>,
    /// The question was sent.
    asked: bool,
}

impl<'a> OnLoan<'a> {
    fn of(owner: &'a mut Helper) -> Self {
        let live = owner.live.take();
        Self {
            owner,
            live,
            asked: false,
        }
    }

    fn give_back(mut self) {
        self.owner.live = self.live.take();
    }

    async fn exchange(&mut self, ask: Ask) -> Result<Reply, String> {
        let id = self.put(ask).await?;
        loop {
            match self.hear().await? {
                Line::Progress(_) | Line::Knocks(_) => {}
                line @ Line::Reply { .. } => return line.reply_to(id),
            }
        }
    }

    /// Sends the question to a helper that runs, and says its number.
    async fn put(&mut self, ask: Ask) -> Result<u64, String> {
        if let Some(exit) = &mut self.owner.stuck {
            // Either way it has gone; how it ended does not matter.
            let _ = exit.await;
            self.owner.stuck = None;
        }
        self.owner.next_id += 1;
        let id = self.owner.next_id;
        let question = Question { id, ask };
        if let Some(live) = &mut self.live {
            // One that ended between two questions is replaced; one that was sent the question is not asked twice.
            if live.running.exit.try_recv().is_ok() || live.stream.try_read(&mut [0]).is_ok() {
                self.live = None;
            }
        }
        let live = match &mut self.live {
            Some(live) => live,
            none => none.insert(self.owner.start().await?),
        };
        send(&mut live.stream, &question).await?;
        self.asked = true;
        Ok(id)
    }

    async fn hear(&mut self) -> Result<Line, String> {
        let live = self.live.as_mut().ok_or("there is no helper")?;
        live.hear().await
    }
}

impl Drop for OnLoan<'_> {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            // It may have ended by itself; then the exit says so at the next question.
            let _ = live.running.handle.signal(SIGKILL);
            self.owner.stuck = Some(live.running.exit);
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            // Its socket closes too, so that it ends even where this signal does not reach it.
            let _ = live.running.handle.signal(SIGKILL);
        }
    }
}

impl Helper {
    async fn start(&self) -> Result<Live, String> {
        let (ours, theirs) = socket_pair().map_err(|error| {
            format!(
                "cannot make a socket pair for a helper: {error}; raise stayd's open-files limit"
            )
        })?;
        // What we say goes where our own messages go.
        let stderr = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| format!("cannot duplicate stderr for a helper: {error}"))?;
        let launch = Launch {
            argv: vec![self.program.to_string_lossy().into_owned(), VERB.into()],
            surroundings: Surroundings {
                env: environment_for_helper().into_iter().collect(),
                cwd: "/".into(),
                user: self.user.clone(),
            },
            fds: vec![(0, theirs.into()), (2, stderr)],
            cgroup: None,
            mark: None,
        };
        let running = self
            .spawner
            .start(launch, START_DEADLINE)
            .await
            .map_err(|failure| failure.message)?;
        Ok(Live {
            stream: ours,
            heard: Vec::new(),
            running,
        })
    }
}

fn socket_pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

async fn send(stream: &mut UnixStream, question: &Question) -> Result<(), String> {
    let mut line = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    if line.len() >= QUESTION_BYTES_MAX {
        return Err(format!(
            "the question is longer than {QUESTION_BYTES_MAX} bytes"
        ));
    }
    line.push(b'\n');
    stream
        .write_all(&line)
        .await
        .map_err(|error| format!("the helper does not listen: {error}"))
}

impl Live {
    async fn hear(&mut self) -> Result<Line, String> {
        loop {
            if let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|error| format!("the helper's answer is not understood: {error}"));
            }
            if self.heard.len() > ANSWER_BYTES_MAX {
                return Err(format!(
                    "the helper's answer is longer than {ANSWER_BYTES_MAX} bytes"
                ));
            }
            let count = self
                .stream
                .read_buf(&mut self.heard)
                .await
                .map_err(|error| format!("the helper broke off: {error}"))?;
            if count == 0 {
                return Err("the helper ended instead of answering".into());
            }
        }
    }
}
