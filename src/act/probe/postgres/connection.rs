//! The PostgreSQL wire: messages in and out of one connection, whole or not at all.
//!
//! Everything here may be dropped at any await and taken up again: bytes that have come or still have to go stay in
//! the connection. That is how a question outlives the round that asked it.

use crate::act::probe::dial::Stream;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest message that is read.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Longest answer to one query.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Read at once.
const CHUNK_BYTES: usize = 4096;
/// Tag and length.
const HEAD_BYTES: usize = 5;

/// An error that the server took the trouble to send (ErrorResponse).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerError {
    /// SQLSTATE; five characters, the same in every language.
    pub(super) code: String,
    /// For a person, in the server's language.
    pub(super) message: Vec<u8>,
}

/// Why a conversation cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Closed or reset by the server, and the error it left with, if it sent one.
    Gone {
        how: String,
        said: Option<ServerError>,
    },
    /// Not this protocol.
    Nonsense(String),
    /// A query with too long an answer.
    TooMuch,
}

/// One message from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// One connection.
pub(super) struct Connection {
    stream: Stream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// A query was sent and its answer has not come, perhaps since an earlier round.
    pub(super) owes_an_answer: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connection")
            .field("owes_an_answer", &self.owes_an_answer)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) const fn new(stream: Stream) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            outbox: Vec::new(),
            owes_an_answer: false,
        }
    }

    /// Puts a whole message into the outbox; it leaves with the next wait for an answer.
    pub(super) fn put(&mut self, message: &[u8]) {
        self.outbox.extend_from_slice(message);
    }

    /// The next message from the server.
    pub(super) async fn message(&mut self) -> Result<Message, Broken> {
        self.flush().await.map_err(|error| gone(&error))?;
        loop {
            if let Some(message) = take_message(&mut self.inbox)? {
                return Ok(message);
            }
            self.inbox.reserve(CHUNK_BYTES);
            let count = self
                .stream
                .read_buf(&mut self.inbox)
                .await
                .map_err(|error| gone(&error))?;
            if count == 0 {
                return Err(gone(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let count = self.stream.write(&self.outbox).await?;
            self.outbox.drain(..count);
        }
        Ok(())
    }

    /// Reads until the server is ready for the next query; an error it sent on the way is the answer.
    pub(super) async fn until_ready(&mut self) -> Result<Option<ServerError>, Broken> {
        let mut said = None;
        let mut bytes = 0;
        loop {
            let message = match self.message().await {
                Ok(message) => message,
                Err(Broken::Gone { how, .. }) => return Err(Broken::Gone { how, said }),
                Err(broken) => return Err(broken),
            };
            bytes += message.body.len();
            match message.tag {
                b'Z' => return Ok(said),
                b'E' => said = Some(server_error(&message.body)),
                // The COPY protocol waits for us; an answer it is, but no query to ask.
                b'G' | b'H' | b'W' => return Err(Broken::TooMuch),
                _ if bytes > REPLY_BYTES_MAX => return Err(Broken::TooMuch),
                _ => {}
            }
        }
    }
}

fn gone(error: &io::Error) -> Broken {
    let how = if error.kind() == io::ErrorKind::UnexpectedEof {
        "it closed the connection".into()
    } else {
        format!("the connection broke: {error}")
    };
    Broken::Gone { how, said: None }
}

/// Takes the first whole message out of the bytes that have come.
fn take_message(inbox: &mut Vec<u8>) -> Result<Option<Message>, Broken> {
    let Some(&[tag, a, b, c, d]) = inbox.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    // The length counts itself, but not the tag.
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if tag == b'D' && length > MESSAGE_BYTES_MAX {
        return Err(Broken::TooMuch);
    }
    if !tag.is_ascii_alphanumeric() || !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(
            old_error(inbox).unwrap_or_else(|| Broken::Nonsense(super::super::quote(inbox)))
        );
    }
    if inbox.len() <= length {
        return Ok(None);
    }
    let body = inbox[HEAD_BYTES..=length].to_vec();
    inbox.drain(..=length);
    Ok(Some(Message { tag, body }))
}

/// A postmaster that cannot fork says so in the words of protocol 2: `E`, a text, a newline and NUL.
fn old_error(inbox: &[u8]) -> Option<Broken> {
    let message = inbox.strip_prefix(b"E")?.strip_suffix(b"\n\0")?.to_vec();
    Some(Broken::Gone {
        how: "it closed the connection".into(),
        said: Some(ServerError {
            code: "53000".into(),
            message,
        }),
    })
}

/// Reads the fields of an ErrorResponse: a letter and a text that ends with NUL, each.
pub(super) fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError::default();
    for field in body.split(|byte| *byte == 0) {
        match field.split_first() {
            Some((b'C', code)) => error.code = String::from_utf8_lossy(code).into_owned(),
            Some((b'M', message)) => error.message = message.to_vec(),
            Some(_) | None => {}
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::{Broken, Message, server_error, take_message};

    #[test]
    fn messages_come_whole() {
        let mut inbox = b"Z\0\0\0\x05I".to_vec();
        let tail = inbox.split_off(3);
        assert_eq!(take_message(&mut inbox), Ok(None));
        inbox.extend_from_slice(&tail);
        inbox.push(b'E');
        assert_eq!(
            take_message(&mut inbox),
            Ok(Some(Message {
                tag: b'Z',
                body: b"I".to_vec()
            }))
        );
        assert_eq!(inbox, b"E");
    }

    #[test]
    fn another_protocol_is_nonsense() {
        for stranger in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\0\0\0\0\0",
            b"R\0\0\0\x03",
        ] {
            let taken = take_message(&mut stranger.to_vec());
            assert!(matches!(taken, Err(Broken::Nonsense(_))), "{taken:?}");
        }
    }

    #[test]
    fn a_postmaster_that_cannot_fork_has_answered() {
        let mut inbox =
            b"Ecould not fork new process: Resource temporarily unavailable\n\0".to_vec();
        let taken = take_message(&mut inbox);
        assert!(
            matches!(taken, Err(Broken::Gone { said: Some(_), .. })),
            "{taken:?}"
        );
    }

    #[test]
    fn an_error_is_read_by_its_code() {
        let error = server_error(b"SFATAL\0VFATAL\0C3D000\0Mdatabase \"x\" does not exist\0\0");
        assert_eq!(error.code, "3D000");
        assert_eq!(error.message, b"database \"x\" does not exist");
    }
}
