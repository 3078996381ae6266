//! Talks to a running stayd. Everything has a deadline, nothing is read without a bound.

use super::desk::Kind;
use super::{limits, wire};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long connect(2) may take: only a full backlog makes it wait.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an ordinary answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long the answer to a wish may take that is waited for.
pub const OUTCOME_WITHIN: Duration = limits::OUTCOME_WITHIN.saturating_add(ANSWER_WITHIN);
/// A new version has taken over in less than a second, or is refused within twenty.
const UPGRADING_TRIES: u32 = 300;
/// Between two tries meanwhile.
const UPGRADING_PAUSE: Duration = Duration::from_millis(100);
/// The longest event that a follower keeps while it is incomplete.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Silence on a stream, keepalives included, after which the other end is taken for gone.
const SILENCE_MAX: Duration = limits::KEEPALIVE.saturating_mul(4);

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens on this socket.
    NotRunning(PathBuf),
    /// The socket, or stayd behind it, does not let us.
    Permission(String),
    /// stayd answered with an error.
    Refused(wire::Fault),
    /// No answer in time.
    Late(Duration),
    /// The connection broke, or the answer made no sense.
    Broken(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(socket) => {
                write!(
                    out,
                    "no stayd is running here: nobody answers on {}",
                    socket.display()
                )
            }
            Self::Permission(message) | Self::Broken(message) => out.write_str(message),
            Self::Refused(fault) => out.write_str(&fault.message),
            Self::Late(within) => write!(
                out,
                "cannot get an answer from stayd: none came within {within:?}; its own log tells more"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

/// One control socket; each request is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the socket at this path. Connects only when asked something.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Where it asks.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET target`, read as `T`.
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

    /// `POST target` with a JSON body, read as `T`; `patience` is how long the answer may take.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        target: &str,
        body: &B,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| broken("write the request", &error))?;
        within(
            patience,
            self.exchange(Method::POST, target, Bytes::from(body)),
        )
        .await
    }

    /// Follows an event stream.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn follow(&self, target: &str) -> Result<EventStream, ClientError> {
        let asked = self.send(Method::GET, target, Bytes::new(), "text/event-stream");
        let response = within(ANSWER_WITHIN, asked).await?;
        if response.status().is_success() {
            return Ok(EventStream {
                body: response.into_body(),
                buffer: Vec::new(),
            });
        }
        Err(within(ANSWER_WITHIN, async {
            Ok(refused(read(response.into_body()).await?.as_ref()))
        })
        .await?)
    }

    /// Asks again while a new version takes over.
    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let mut tries = 1;
        loop {
            let asked = self.exchange_once(method.clone(), target, body.clone());
            match asked.await {
                Err(ClientError::Refused(fault))
                    if fault.kind == Kind::Upgrading.word() && tries < UPGRADING_TRIES =>
                {
                    tries += 1;
                    tokio::time::sleep(UPGRADING_PAUSE).await;
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
            return Err(refused(&body));
        }
        serde_json::from_slice(&body).map_err(|error| broken("understand stayd's answer", &error))
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
        // Ends by itself when the answer has been read or dropped.
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

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let connected = timeout(CONNECT_WITHIN, UnixStream::connect(&self.socket)).await;
        let error = match connected {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_late) => return Err(ClientError::Late(CONNECT_WITHIN)),
        };
        let socket = self.socket.display();
        let kind = error.kind();
        Err(
            if matches!(
                kind,
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) {
                ClientError::NotRunning(self.socket.clone())
            } else if kind == io::ErrorKind::PermissionDenied {
                ClientError::Permission(format!(
                    "cannot connect to {socket}: permission denied; it is for the user stayd runs as, \
                 root and the [control] group"
                ))
            } else {
                broken(&format!("connect to {socket}"), &error)
            },
        )
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(patience, work)
        .await
        .unwrap_or(Err(ClientError::Late(patience)))
}

async fn read(body: Incoming) -> Result<Bytes, ClientError> {
    let limited = Limited::new(body, limits::ANSWER_BYTES_MAX);
    let whole = limited
        .collect()
        .await
        .map_err(|error| broken("read stayd's answer", &error))?;
    Ok(whole.to_bytes())
}

fn refused(body: &[u8]) -> ClientError {
    match serde_json::from_slice::<wire::Failure>(body) {
        Ok(failure) if failure.error.kind == "forbidden" => {
            ClientError::Permission(failure.error.message)
        }
        Ok(failure) => ClientError::Refused(failure.error),
        Err(error) => broken("understand stayd's answer", &error),
    }
}

fn broken(what: &str, error: &dyn fmt::Display) -> ClientError {
    ClientError::Broken(format!("cannot {what}: {error}"))
}

/// Records as they come.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    buffer: Vec<u8>,
}

impl EventStream {
    /// The next record; none when stayd has ended the stream.
    ///
    /// Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the connection breaks, [`ClientError::Late`] when not even a keepalive came.
    pub async fn next(&mut self) -> Result<Option<wire::Event>, ClientError> {
        loop {
            while let Some(block) = self.take_block() {
                if let Some(event) = parse_block(&block) {
                    return Ok(Some(event));
                }
            }
            let frame = timeout(SILENCE_MAX, self.body.frame())
                .await
                .map_err(|_late| ClientError::Late(SILENCE_MAX))?;
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

    /// Everything up to the next empty line.
    fn take_block(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let mut block: Vec<u8> = self.buffer.drain(..end + 2).collect();
        block.truncate(end);
        Some(block)
    }
}

/// The record in a block of lines; none in a comment, or in one that a newer stayd means differently.
fn parse_block(block: &[u8]) -> Option<wire::Event> {
    let text = std::str::from_utf8(block).ok()?;
    let data = text.lines().find_map(|line| line.strip_prefix("data: "))?;
    serde_json::from_str(data).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_block;

    #[test]
    fn comments_are_no_records_and_unknown_fields_no_reason_to_stumble() {
        assert_eq!(parse_block(b": still here"), None);
        let block =
            b"id: 7\nevent: killed\ndata: {\"id\":7,\"kind\":\"killed\",\"of_tomorrow\":{}}";
        let event = parse_block(block).expect("a record");
        assert_eq!((event.id, event.kind.as_str()), (7, "killed"));
    }
}
