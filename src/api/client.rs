//! The client of the control socket: every request has a deadline, and every answer a maximum size.

use super::backend::ApiErrorKind;
use super::{limits, listen, wire};
use crate::sys;
use crate::sys::identity::ROOT;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Time for connect(2); it blocks only while the backlog is full.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Time for the answer to an ordinary request.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Time for the answer to a command whose outcome the client waits for.
pub const OUTCOME_WITHIN: Duration = limits::OUTCOME_WITHIN.saturating_add(ANSWER_WITHIN);
/// Attempts while a new version takes over: it takes less than a second, or the upgrade is called off within 20 s.
const UPGRADING_ATTEMPTS: u32 = 300;
/// The time between two of these attempts.
const UPGRADING_RETRY_EVERY: Duration = Duration::from_millis(100);
/// The largest incomplete event that a stream keeps in memory.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Without any bytes for this long, not even keepalives, a stream counts as dead.
const SILENCE_MAX: Duration = limits::KEEPALIVE.saturating_mul(4);

/// Why a request has no result.
#[derive(Debug)]
pub enum ClientError {
    /// No process listens on this socket.
    NotRunning(PathBuf),
    /// The socket or stayd denies access.
    Permission(String),
    /// stayd answered with another error.
    Refused(wire::ErrorDetail),
    /// No answer arrived within this time.
    TimedOut(Duration),
    /// The connection broke, or the answer is not understandable.
    Broken(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(socket) => {
                write!(
                    out,
                    "no stayd is running here: there is no answer on {}",
                    socket.display()
                )
            }
            Self::Permission(message) | Self::Broken(message) => out.write_str(message),
            Self::Refused(error) => out.write_str(&error.message),
            Self::TimedOut(within) => write!(
                out,
                "cannot get an answer from stayd: none arrived within {within:?}; see stayd's own log"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

/// A client of one control socket; each request uses a new connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the socket at this path. It connects with the first request.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The path of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET target`; the JSON answer is read as `T`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        within(
            ANSWER_WITHIN,
            self.exchange(Method::GET, target, Bytes::new()),
        )
        .await
    }

    /// `POST target` with a JSON body; the JSON answer is read as `T` and must arrive within `limit`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        target: &str,
        body: &B,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| broken("write the request", &error))?;
        within(
            limit,
            self.exchange(Method::POST, target, Bytes::from(body)),
        )
        .await
    }

    /// Opens an event stream.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn follow(&self, target: &str) -> Result<EventStream, ClientError> {
        let request = self.send(Method::GET, target, Bytes::new(), "text/event-stream");
        let response = within(ANSWER_WITHIN, request).await?;
        if response.status().is_success() {
            return Ok(EventStream {
                body: response.into_body(),
                buffer: Vec::new(),
            });
        }
        Err(within(ANSWER_WITHIN, async {
            Ok(error_of(read(response.into_body()).await?.as_ref()))
        })
        .await?)
    }

    /// Repeats the request while a new version takes over.
    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let mut attempts = 1;
        loop {
            let exchange = self.exchange_once(method.clone(), target, body.clone());
            match exchange.await {
                Err(ClientError::Refused(error))
                    if error.kind == ApiErrorKind::Upgrading.name()
                        && attempts < UPGRADING_ATTEMPTS =>
                {
                    attempts += 1;
                    tokio::time::sleep(UPGRADING_RETRY_EVERY).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn exchange_once<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let response = self.send(method, target, body, "application/json").await?;
        let status = response.status();
        let body = read(response.into_body()).await?;
        if !status.is_success() {
            return Err(error_of(&body));
        }
        serde_json::from_slice(&body).map_err(|error| broken("parse stayd's answer", &error))
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
        accept: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken("talk to stayd", &error))?;
        // The task ends when the answer has been read or dropped.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, "stayd")
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| broken("write the request", &error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| broken("talk to stayd", &error))
    }

    /// Refuses a server of another user: in a folder such as /tmp each user can bind the socket first. Root may look at every
    /// user's stayd.
    fn only_trusted(&self, stream: UnixStream) -> Result<UnixStream, ClientError> {
        let own = sys::identity::euid();
        let peer = sys::socket::peer(stream.as_fd())
            .map_err(|error| broken("find out who serves the socket", &error))?;
        if own == ROOT || [own, ROOT].contains(&peer.uid) {
            return Ok(stream);
        }
        Err(ClientError::Permission(format!(
            "cannot trust {}: user {} serves it, which is neither this user nor root; remove it, or name another folder with \
             --state-dir",
            self.socket.display(),
            peer.uid
        )))
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let connected = timeout(CONNECT_WITHIN, UnixStream::connect(&self.socket)).await;
        let error = match connected {
            Ok(Ok(stream)) => return self.only_trusted(stream),
            Ok(Err(error)) => error,
            Err(_late) => return Err(ClientError::TimedOut(CONNECT_WITHIN)),
        };
        let socket = self.socket.display();
        let kind = error.kind();
        Err(
            if matches!(
                kind,
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) {
                ClientError::NotRunning(self.socket.clone())
            } else if kind == io::ErrorKind::PermissionDenied
                && !listen::may_be_served(&self.socket)
            {
                // The folder is private, but no stayd uses it.
                ClientError::NotRunning(self.socket.clone())
            } else if kind == io::ErrorKind::PermissionDenied {
                ClientError::Permission(format!(
                    "cannot connect to {socket}: permission denied; only the user that stayd runs as, \
                 root and the [control] group may"
                ))
            } else {
                broken(&format!("connect to {socket}"), &error)
            },
        )
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(limit, work)
        .await
        .unwrap_or(Err(ClientError::TimedOut(limit)))
}

async fn read(body: Incoming) -> Result<Bytes, ClientError> {
    let limited = Limited::new(body, limits::ANSWER_BYTES_MAX);
    let whole = limited
        .collect()
        .await
        .map_err(|error| broken("read stayd's answer", &error))?;
    Ok(whole.to_bytes())
}

fn error_of(body: &[u8]) -> ClientError {
    match serde_json::from_slice::<wire::ErrorResponse>(body) {
        Ok(answer) if answer.error.kind == "forbidden" => {
            ClientError::Permission(answer.error.message)
        }
        Ok(answer) => ClientError::Refused(answer.error),
        Err(error) => broken("parse stayd's answer", &error),
    }
}

fn broken(what: &str, error: &dyn fmt::Display) -> ClientError {
    ClientError::Broken(format!("cannot {what}: {error}"))
}

/// A stream of journal records.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    buffer: Vec<u8>,
}

impl EventStream {
    /// The next record; `None` when stayd has ended the stream.
    ///
    /// It is cancel safe.
    ///
    /// # Errors
    /// [`ClientError::Broken`] if the connection breaks, [`ClientError::TimedOut`] if not even a keepalive arrived.
    pub async fn next(&mut self) -> Result<Option<wire::Event>, ClientError> {
        loop {
            while let Some(block) = self.take_block() {
                if let Some(event) = parse_block(&block) {
                    return Ok(Some(event));
                }
            }
            let frame = timeout(SILENCE_MAX, self.body.frame())
                .await
                .map_err(|_late| ClientError::TimedOut(SILENCE_MAX))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| broken("follow stayd's events", &error))?;
            if let Some(bytes) = frame.data_ref() {
                self.buffer.extend_from_slice(bytes);
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(broken("follow stayd's events", &"an event is over 1 MiB"));
            }
        }
    }

    /// Takes the bytes up to the next empty line from the buffer.
    fn take_block(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let mut block: Vec<u8> = self.buffer.drain(..end + 2).collect();
        block.truncate(end);
        Some(block)
    }
}

/// The record in a block of lines; `None` for a comment, or for data that this version cannot parse.
fn parse_block(block: &[u8]) -> Option<wire::Event> {
    let text = std::str::from_utf8(block).ok()?;
    let data = text.lines().find_map(|line| line.strip_prefix("data: "))?;
    serde_json::from_str(data).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_block;

    #[test]
    fn comments_and_unknown_fields_in_a_stream_are_ignored() {
        assert_eq!(parse_block(b": keepalive"), None);
        let block =
            b"id: 7\nevent: killed\ndata: {\"id\":7,\"kind\":\"killed\",\"of_tomorrow\":{}}";
        let event = parse_block(block).expect("a record");
        assert_eq!((event.id, event.kind.as_str()), (7, "killed"));
    }
}
