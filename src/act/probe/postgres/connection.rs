//! A connection to a PostgreSQL server: sends messages, and reads messages of the frontend/backend protocol, version 3.
//!
//! Every future of [`Connection`] may be dropped at any await and the connection used again: received and unsent bytes stay
//! in it. This is how a query outlives the attempt that sent it.

use super::super::connector::Stream;
use super::super::quote_first_bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

/// Longest accepted message.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Longest accepted answer to one query or login, in all its messages.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Largest accepted number of messages in one attempt, besides rows.
const MESSAGES_MAX: u32 = 1000;
/// Bytes per read.
const CHUNK_BYTES: usize = 4096;
/// The tag and the length of a message.
const HEAD_BYTES: usize = 5;
/// Terminate: the tag X, and a length without a body.
const TERMINATE: &[u8] = b"X\0\0\0\x04";
/// A statement has waited for a lock for longer than `lock_timeout`.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
/// A statement took longer than `statement_timeout`, or a user cancelled it.
pub(super) const QUERY_CANCELED: &str = "57014";
/// insufficient_resources
const OUT_OF_RESOURCES: &str = "53000";

/// An error that the server sent (ErrorResponse).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerError {
    /// SQLSTATE, the same in every language: five letters and digits. Empty where the server sent something else.
    pub(super) code: String,
    /// The text, in the server's language.
    pub(super) message: Vec<u8>,
}

impl ServerError {
    /// Whether it is about the form of the message: a server may not know a statement in it, or not allow two in one.
    pub(super) fn is_about_form(&self) -> bool {
        let class = self.code.get(..2).unwrap_or_default();
        ["", "08", "0A", "25", "42"].contains(&class)
    }
}

/// Why a connection cannot be used any more.
#[derive(Debug)]
pub(super) enum ProtocolError {
    /// The server closed or reset it, after it sent `error`, if any.
    Closed {
        /// `None` for an orderly close.
        cause: Option<io::Error>,
        error: Option<ServerError>,
    },
    /// The server does not speak this protocol; this is what it sent, quoted.
    Malformed(String),
    /// The rows in answer to a query are too long.
    TooLarge,
    /// Messages come without end, and none of them is an answer.
    Endless,
}

/// A message from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// A connection to the server.
pub(super) struct Connection {
    stream: Stream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// The server has accepted the login.
    logged_in: bool,
    /// A query was sent and its answer has not arrived, perhaps since an earlier attempt.
    awaits_answer: bool,
    volume: Volume,
}

/// What has arrived in one attempt.
#[derive(Debug, Default)]
struct Volume {
    bytes: usize,
    messages: u32,
    has_rows: bool,
}

impl Volume {
    fn add(&mut self, message: &Message) -> Result<(), ProtocolError> {
        self.bytes += HEAD_BYTES + message.body.len();
        if message.tag == b'D' {
            self.has_rows = true;
        } else {
            self.messages += 1;
        }
        if self.bytes <= REPLY_BYTES_MAX && self.messages <= MESSAGES_MAX {
            Ok(())
        } else if self.has_rows {
            Err(ProtocolError::TooLarge)
        } else {
            Err(ProtocolError::Endless)
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connection")
            .field("logged_in", &self.logged_in)
            .field("awaits_answer", &self.awaits_answer)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            received: Vec::new(),
            unsent: Vec::new(),
            logged_in: false,
            awaits_answer: false,
            volume: Volume::default(),
        }
    }

    /// Notes that the server has accepted the login.
    pub(super) const fn set_logged_in(&mut self) {
        self.logged_in = true;
    }

    /// Sends a query and reads its answer. First reads the answer to an earlier query, if that has not arrived yet. Returns
    /// the error with which the server answered, if any.
    pub(super) async fn ask(&mut self, query: &[u8]) -> Result<Option<ServerError>, ProtocolError> {
        self.volume = Volume::default();
        if self.awaits_answer {
            self.until_ready().await?;
        }
        self.put(query);
        self.awaits_answer = true;
        let error = self.until_ready().await?;
        self.awaits_answer = false;
        Ok(error)
    }

    /// Queues a whole message. It is sent with the next wait for an answer.
    pub(super) fn put(&mut self, message: &[u8]) {
        self.unsent.extend_from_slice(message);
    }

    /// Sends queued messages and returns the next message from the server.
    pub(super) async fn message(&mut self) -> Result<Message, ProtocolError> {
        // What the server has sent before it closed is read, even if nothing can be sent any more.
        let sent = self.flush().await;
        loop {
            if let Some(message) = take_message(&mut self.received)? {
                self.volume.add(&message)?;
                return Ok(message);
            }
            self.received.reserve(CHUNK_BYTES);
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Err(closed(sent.err())),
                Ok(_) => {}
                Err(error) => return Err(closed(Some(error))),
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let count = self.stream.write(&self.unsent).await?;
            self.unsent.drain(..count);
        }
        Ok(())
    }

    /// Reads until the server is ready for the next query. Returns the error that it sent meanwhile, if any.
    pub(super) async fn until_ready(&mut self) -> Result<Option<ServerError>, ProtocolError> {
        let mut sent = None;
        loop {
            let message = match self.message().await {
                Ok(message) => message,
                Err(ProtocolError::Closed { cause, .. }) => {
                    return Err(ProtocolError::Closed { cause, error: sent });
                }
                Err(error) => return Err(error),
            };
            match message.tag {
                b'Z' => return Ok(sent),
                b'E' => sent = Some(server_error(&message.body)),
                // The query began a COPY, and the server waits for data. It has answered, but the query is unsuitable.
                b'G' | b'H' | b'W' => return Err(ProtocolError::TooLarge),
                _ => {}
            }
        }
    }
}

impl Drop for Connection {
    /// Ends the session, if the socket takes the message at once: the server counts a session without it as abandoned.
    fn drop(&mut self) {
        if self.logged_in && self.unsent.is_empty() {
            let mut context = Context::from_waker(Waker::noop());
            // The socket is closed in any case, which the server notices too.
            let _ = Pin::new(&mut self.stream).poll_write(&mut context, TERMINATE);
        }
    }
}

const fn closed(cause: Option<io::Error>) -> ProtocolError {
    ProtocolError::Closed { cause, error: None }
}

/// Removes the first whole message from the received bytes; `None` where it is incomplete.
fn take_message(received: &mut Vec<u8>) -> Result<Option<Message>, ProtocolError> {
    let Some(&[tag, a, b, c, d]) = received.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    // The length includes itself, but not the tag.
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if tag == b'D' && length > MESSAGE_BYTES_MAX {
        return Err(ProtocolError::TooLarge);
    }
    if !tag.is_ascii_alphanumeric() || !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(old_error(received)
            .unwrap_or_else(|| ProtocolError::Malformed(quote_first_bytes(received))));
    }
    if received.len() <= length {
        return Ok(None);
    }
    let body = received[HEAD_BYTES..=length].to_vec();
    received.drain(..=length);
    Ok(Some(Message { tag, body }))
}

/// A postmaster that cannot fork sends an error in the form of protocol 2: `E`, a text, a newline and NUL.
fn old_error(received: &[u8]) -> Option<ProtocolError> {
    let message = received.strip_prefix(b"E")?.strip_suffix(b"\n\0")?.to_vec();
    Some(ProtocolError::Closed {
        cause: None,
        error: Some(ServerError {
            code: OUT_OF_RESOURCES.into(),
            message,
        }),
    })
}

/// Parses an ErrorResponse: fields of a letter and a text that ends with NUL.
pub(super) fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError::default();
    for field in body.split(|byte| *byte == 0) {
        match field.split_first() {
            Some((b'C', code)) if is_sqlstate(code) => {
                error.code = String::from_utf8_lossy(code).into_owned();
            }
            Some((b'M', message)) => error.message = message.to_vec(),
            Some(_) | None => {}
        }
    }
    error
}

fn is_sqlstate(code: &[u8]) -> bool {
    code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::{
        MESSAGES_MAX, Message, ProtocolError, REPLY_BYTES_MAX, Volume, server_error, take_message,
    };

    /// What ends an attempt in which such messages come without end, and after how many of them.
    fn bound(tag: u8, size: usize) -> (ProtocolError, usize) {
        let body = vec![0; size];
        let message = Message { tag, body };
        let mut volume = Volume::default();
        let mut count = 1;
        loop {
            match volume.add(&message) {
                Ok(()) => count += 1,
                Err(error) => return (error, count),
            }
        }
    }

    #[test]
    fn an_attempt_has_a_bound_of_messages_and_of_bytes() {
        let (error, count) = bound(b'N', 0);
        assert!(matches!(error, ProtocolError::Endless), "{error:?}");
        assert_eq!(count, MESSAGES_MAX as usize + 1);
        let (error, count) = bound(b'N', 100_000);
        assert!(matches!(error, ProtocolError::Endless), "{error:?}");
        assert_eq!(count, REPLY_BYTES_MAX / 100_000 + 1);
        let (error, count) = bound(b'D', 2);
        assert!(matches!(error, ProtocolError::TooLarge), "{error:?}");
        assert_eq!(count, REPLY_BYTES_MAX / 7 + 1);
    }

    #[test]
    fn only_a_whole_message_is_taken() {
        let mut received = b"Z\0\0\0\x05I".to_vec();
        let tail = received.split_off(3);
        assert!(matches!(take_message(&mut received), Ok(None)));
        received.extend_from_slice(&tail);
        received.push(b'E');
        let taken = take_message(&mut received).expect("a message");
        assert_eq!(
            taken,
            Some(Message {
                tag: b'Z',
                body: b"I".to_vec()
            })
        );
        assert_eq!(received, b"E");
    }

    #[test]
    fn another_protocol_is_recognized() {
        for (other, quoted) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n"[..],
                "\"HTTP/1.1 400 Bad Request\"",
            ),
            (b"\0\0\0\0\0", r#""\x00\x00\x00\x00\x00""#),
            (b"R\0\0\0\x03", r#""R\x00\x00\x00\x03""#),
        ] {
            let taken = take_message(&mut other.to_vec());
            assert!(
                matches!(&taken, Err(ProtocolError::Malformed(what)) if what == quoted),
                "{taken:?}"
            );
        }
    }

    #[test]
    fn an_error_of_protocol_2_is_an_answer() {
        let mut received =
            b"Ecould not fork new process: Resource temporarily unavailable\n\0".to_vec();
        let taken = take_message(&mut received);
        assert!(
            matches!(taken, Err(ProtocolError::Closed { error: Some(_), .. })),
            "{taken:?}"
        );
    }

    #[test]
    fn the_code_and_the_message_of_an_error_are_parsed() {
        let error = server_error(b"SFATAL\0VFATAL\0C3D000\0Mdatabase \"x\" does not exist\0\0");
        assert_eq!(error.code, "3D000");
        assert_eq!(error.message, b"database \"x\" does not exist");
    }

    #[test]
    fn a_code_that_is_no_sqlstate_is_left_out() {
        let long = [b"C", "9".repeat(250_000).as_bytes(), b"\0Mno\0"].concat();
        for body in [&long[..], b"C3D00\0Mno\0", b"C3D-00\0Mno\0", b"C\0Mno\0"] {
            assert_eq!(server_error(body).code, "");
        }
    }
}
