//! Helpers: processes that run this same program and carry out the requests that can hang in the kernel.
//!
//! A thread that reads a file on an unplugged disk, asks a name server or reads the memory of a hanging process may never
//! return, and a thread that is stuck in the kernel keeps even a killed process alive. So stayd sends such requests to a
//! child, one JSON line each way over a socket pair. The child is kept between requests and killed at a deadline; the next
//! request starts a new one.
//!
//! A helper can run as the user of a service, so other processes of that user could control it. It has no descriptor but its
//! socket, /dev/null, and a pipe whose end ends the helper, and no process of that user can read its memory or copy a descriptor.

mod client;
mod serve;
mod wire;

pub(crate) use client::{HelperClient, NoReply};
pub use serve::{Handlers, Reporter};
pub use wire::Progress;

use super::failpoint::environment_for_helper;
use super::spawn::launch::{ExecContext, Launch};
use super::spawn::spawner::{RunningChild, Spawner};
use crate::sys::reaper::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fmt::Debug;
use std::io::{self, PipeWriter};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use wire::{ReplyLine, RequestLine};

/// The hidden verb that makes this program a helper.
pub const VERB: &str = "__helper";
/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest reply, in bytes: an env_file of 1 MiB in which every other byte is escaped.
const REPLY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most time for the start of a helper.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A killed helper that hung before, and has not ended within this time, still hangs.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of the helper's end of the pipe that shows the kernel when stayd has ended.
const LIFELINE: RawFd = 3;
const SIGKILL: i32 = libc::SIGKILL;
const STUCK: &str = "the last helper is killed and still hangs in the system";

/// One kind of request to a helper process, with the type of its reply.
pub trait HelperRequest: Debug + Serialize + DeserializeOwned {
    /// Names the kind on the wire.
    const NAME: &'static str;
    /// What the helper process returns.
    type Reply: Serialize + DeserializeOwned;

    /// Carries the request out. Runs in the helper process, and may block for as long as a disk does.
    ///
    /// # Errors
    /// What failed, in a sentence.
    fn carry_out(self, reporter: &Reporter<'_>) -> Result<Self::Reply, String>;
}

/// Why a helper returned no reply.
#[derive(Debug, PartialEq, Eq)]
pub enum HelperError {
    /// The helper carried the request out, and it failed.
    Failed(String),
    /// The request reached no helper, or the helper ended before it replied. It is not known whether the operation was done.
    NotAsked(String),
    /// The helper did not reply in time, and stayd killed it.
    Silent,
}

/// How long a request may run without progress.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the disk that it reads answers for the first time.
    pub first_answer: Duration,
    /// Between two reports of progress after that.
    pub progress: Duration,
}

/// Starts helpers, all from the same program.
#[derive(Clone, Debug)]
pub struct Helpers {
    spawner: Spawner,
    program: Rc<Path>,
}

impl Helpers {
    /// Helpers that `spawner` starts and that run `program`, which is stayd's own program.
    #[must_use]
    pub fn new(spawner: Spawner, program: &Path) -> Self {
        let program = program.into();
        Self { spawner, program }
    }

    /// stayd's own program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A helper; its process starts with its first request.
    #[must_use]
    pub fn helper(&self) -> Helper {
        Helper::new(self.spawner.clone(), self.program.to_path_buf())
    }
}

/// One helper process, started when the first request needs it.
#[derive(Debug)]
pub struct Helper {
    spawner: Spawner,
    program: PathBuf,
    user: Option<String>,
    child: Option<Child>,
    killed: Option<Killed>,
    next_id: u64,
}

/// A helper that was killed and is not reaped yet.
#[derive(Debug)]
struct Killed {
    exit: oneshot::Receiver<Status>,
    /// It did not reply in time, or has not ended in time. A helper whose caller went away is only busy.
    hangs: bool,
}

#[derive(Debug)]
struct Child {
    stream: UnixStream,
    /// The beginning of a line whose end has not arrived yet.
    buffer: Vec<u8>,
    running: RunningChild,
    /// The kernel kills the helper when this is closed, because stayd has ended.
    _lifeline: PipeWriter,
}

impl Helper {
    /// Returns a helper that will run `program`, which is stayd's own program.
    #[must_use]
    pub const fn new(spawner: Spawner, program: PathBuf) -> Self {
        Self {
            spawner,
            program,
            user: None,
            child: None,
            killed: None,
            next_id: 0,
        }
    }

    /// Makes the helper run as `user`.
    #[must_use]
    pub fn run_as(mut self, user: Option<String>) -> Self {
        self.user = user;
        self
    }

    /// The helper's pid, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.running.process.pid)
    }

    /// Waits for the end of a killed helper: at most `within`, or a second if it hung before. Returns false when it hangs.
    pub async fn is_free(&mut self, within: Duration) -> bool {
        if let Some(killed) = &mut self.killed {
            let within = if killed.hangs { END_TIMEOUT } else { within };
            if tokio::time::timeout(within, &mut killed.exit)
                .await
                .is_err()
            {
                killed.hangs = true;
                return false;
            }
            self.killed = None;
        }
        true
    }

    /// Whether the last helper was killed and is not known to have ended.
    #[must_use]
    pub const fn may_hang(&self) -> bool {
        self.killed.is_some()
    }

    /// Sends a request and waits for its reply for at most `timeout`. After that stayd kills the helper, and the next
    /// request gets a new one.
    ///
    /// # Errors
    /// [`HelperError::Silent`] after `timeout`. [`HelperError::NotAsked`] where the request reached no helper, because
    /// none could be started in half of the timeout, or the last one is still stuck.
    pub async fn ask<R: HelperRequest>(
        &mut self,
        request: R,
        timeout: Duration,
    ) -> Result<R::Reply, HelperError> {
        // The exchange owns the child, so that dropping this future kills a helper in the middle of a request.
        let began_at = Instant::now();
        let mut exchange = Exchange::begin(self);
        match tokio::time::timeout(timeout, exchange.reply_to(request)).await {
            Ok(Ok(outcome)) => {
                exchange.keep_child();
                outcome.map_err(HelperError::Failed)
            }
            Ok(Err(error)) => Err(HelperError::NotAsked(error)),
            Err(_)
                if exchange
                    .sent_at
                    .is_some_and(|at| at - began_at <= timeout / 2) =>
            {
                exchange.hangs = true;
                Err(HelperError::Silent)
            }
            Err(_) if exchange.owner.killed.is_some() => Err(HelperError::NotAsked(STUCK.into())),
            // Or it started so late that hardly any time was left for its reply.
            Err(_) => Err(HelperError::NotAsked(
                "the helper did not start in time".into(),
            )),
        }
    }

    /// Sends a request that takes long, and gives up when it makes no progress within `timeouts`. Writes its
    /// progress to `progress`.
    ///
    /// # Errors
    /// As [`Helper::ask`].
    pub async fn ask_with_progress<R: HelperRequest>(
        &mut self,
        request: R,
        timeouts: Timeouts,
        progress: &Cell<Progress>,
    ) -> Result<R::Reply, HelperError> {
        let mut exchange = Exchange::begin(self);
        let sent = tokio::time::timeout(START_TIMEOUT, exchange.send(request)).await;
        let id = match sent {
            Ok(Ok(id)) => id,
            Ok(Err(error)) => return Err(HelperError::NotAsked(error)),
            Err(_) => return Err(HelperError::NotAsked(STUCK.into())),
        };
        let mut stall = timeouts.progress;
        loop {
            match tokio::time::timeout(stall, exchange.next_line()).await {
                Ok(Ok(ReplyLine::Progress(now))) => progress.set(now),
                Ok(Ok(ReplyLine::WaitsForDisk(true))) => stall = timeouts.first_answer,
                Ok(Ok(ReplyLine::WaitsForDisk(false))) => stall = timeouts.progress,
                Ok(Ok(ReplyLine::Done { id: of, outcome })) if of == id => {
                    exchange.keep_child();
                    return outcome.map_err(HelperError::Failed);
                }
                Ok(Ok(ReplyLine::Done { .. })) => {
                    return Err(HelperError::NotAsked(OTHER_REQUEST.into()));
                }
                Ok(Err(error)) => return Err(HelperError::NotAsked(error)),
                Err(_) => {
                    exchange.hangs = true;
                    return Err(HelperError::Silent);
                }
            }
        }
    }
}

const OTHER_REQUEST: &str = "the helper replied to another request";

/// One request to a helper process and its reply. Dropping this kills the process, unless [`Exchange::keep_child`] was called.
struct Exchange<'a> {
    owner: &'a mut Helper,
    child: Option<Child>,
    /// When the request was sent.
    sent_at: Option<Instant>,
    /// The process has not replied in time.
    hangs: bool,
}

impl<'a> Exchange<'a> {
    fn begin(owner: &'a mut Helper) -> Self {
        let child = owner.child.take();
        Self {
            owner,
            child,
            sent_at: None,
            hangs: false,
        }
    }

    fn keep_child(mut self) {
        self.owner.child = self.child.take();
    }

    async fn reply_to<R: HelperRequest>(
        &mut self,
        request: R,
    ) -> Result<Result<R::Reply, String>, String> {
        let id = self.send(request).await?;
        loop {
            match self.next_line().await? {
                ReplyLine::Progress(_) | ReplyLine::WaitsForDisk(_) => {}
                ReplyLine::Done { id: of, outcome } if of == id => return Ok(outcome),
                ReplyLine::Done { .. } => return Err(OTHER_REQUEST.into()),
            }
        }
    }

    /// Sends the request to a running helper and returns its id.
    async fn send<R: HelperRequest>(&mut self, body: R) -> Result<u64, String> {
        if let Some(killed) = &mut self.owner.killed {
            // An error means that the helper has ended too; how it ended does not matter.
            let _ = (&mut killed.exit).await;
            self.owner.killed = None;
        }
        self.owner.next_id += 1;
        let id = self.owner.next_id;
        if let Some(child) = &mut self.child {
            // Replace a helper that ended between two requests. Never send a request twice.
            if child.running.exit.try_recv().is_ok() || child.stream.try_read(&mut [0]).is_ok() {
                self.child = None;
            }
        }
        let child = match &mut self.child {
            Some(child) => child,
            none => none.insert(self.owner.start().await?),
        };
        let name = R::NAME.to_owned();
        write(&mut child.stream, &RequestLine { id, name, body }).await?;
        self.sent_at = Some(Instant::now());
        Ok(id)
    }

    async fn next_line<T: DeserializeOwned>(&mut self) -> Result<ReplyLine<T>, String> {
        let child = self.child.as_mut().ok_or("there is no helper")?;
        child.next_line().await
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // Fails when the helper has ended by itself; the next request receives its exit.
            let _ = child.running.handle.signal(SIGKILL);
            self.owner.killed = Some(Killed {
                exit: child.running.exit,
                hangs: self.hangs,
            });
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // If the signal fails, the helper ends when its socket closes.
            let _ = child.running.handle.signal(SIGKILL);
        }
    }
}

impl Helper {
    async fn start(&self) -> Result<Child, String> {
        let (ours, theirs) = socket_pair().map_err(|error| {
            format!(
                "cannot make a socket pair for a helper: {error}; raise stayd's open-files limit"
            )
        })?;
        let (lifeline, lifeline_writer) = io::pipe().map_err(|error| {
            format!("cannot make a pipe for a helper: {error}; raise stayd's open-files limit")
        })?;
        let launch = Launch {
            argv: vec![self.program.to_string_lossy().into_owned(), VERB.into()],
            exec_context: ExecContext {
                env: environment_for_helper().into_iter().collect(),
                cwd: "/".into(),
                user: self.user.clone(),
                ..ExecContext::default()
            },
            // Nothing else: a process of the helper's user could use every descriptor that the helper has, such as stderr,
            // until the helper has protected itself.
            fds: vec![(0, theirs.into()), (LIFELINE, lifeline.into())],
            cgroup: None,
            command_token: None,
        };
        let running = self
            .spawner
            .start(launch, START_TIMEOUT)
            .await
            .map_err(|failure| failure.message)?;
        Ok(Child {
            stream: ours,
            buffer: Vec::new(),
            running,
            _lifeline: lifeline_writer,
        })
    }
}

fn socket_pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

async fn write<R: Serialize>(
    stream: &mut UnixStream,
    request: &RequestLine<R>,
) -> Result<(), String> {
    let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    if line.len() >= REQUEST_BYTES_MAX {
        return Err(format!(
            "the request is longer than {REQUEST_BYTES_MAX} bytes"
        ));
    }
    line.push(b'\n');
    stream
        .write_all(&line)
        .await
        .map_err(|error| format!("the helper does not read: {error}"))
}

impl Child {
    async fn next_line<T: DeserializeOwned>(&mut self) -> Result<ReplyLine<T>, String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|error| format!("cannot parse the helper's reply: {error}"));
            }
            if self.buffer.len() > REPLY_BYTES_MAX {
                return Err(format!(
                    "the helper's reply is longer than {REPLY_BYTES_MAX} bytes"
                ));
            }
            let count = self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(|error| format!("the helper broke off: {error}"))?;
            if count == 0 {
                return Err("the helper ended before it replied".into());
            }
        }
    }
}
