//! `http://`: a GET request on a new connection each time, because a service without free descriptors cannot accept one.
//!
//! The request is written and the response read at the same time: a server that sheds load answers at accept, closes, and
//! resets a connection whose request it has not read. What it sent before is in the receive buffer.

mod response;

use super::connector::{Connector, Stream};
use super::{
    Answer, Phase, ProtocolProbe, connection_error, dead, in_words, no_verdict, quote_first_bytes,
    quote_without, until_deadline,
};
use crate::config::Expect;
use response::{Progress, Response, Status};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

/// Bytes per read: most responses arrive in one.
const READ_BYTES: usize = 8192;
/// Service Unavailable (RFC 9110, section 15.6.4): the server may be starting.
const SERVICE_UNAVAILABLE: u16 = 503;

/// An HTTP/1.1 GET request.
pub(super) struct HttpProbe {
    pub(super) connector: Connector,
    pub(super) host: String,
    pub(super) path: String,
    /// `user:password`
    pub(super) credentials: Option<String>,
    pub(super) expect: Expect,
}

impl std::fmt::Debug for HttpProbe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HttpProbe")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl ProtocolProbe for HttpProbe {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let phase = Phase::new("connection");
        let mut response = Response::new();
        let exchange = self.exchange(&phase, &mut response);
        match until_deadline(timeout, &phase, exchange).await {
            Ok(Ok(progress)) => self.judge(&response, progress),
            Ok(Err(answer)) => answer,
            Err(answer) => {
                response.take_end();
                if response.status().is_none() {
                    return answer;
                }
                let flaw = format!("the response did not end within {}", in_words(timeout));
                self.judge(&response, Progress::Flawed(flaw))
            }
        }
    }
}

impl HttpProbe {
    /// Connects, sends the request and reads the response until its end. An error is the answer of the attempt.
    async fn exchange(
        &mut self,
        phase: &Phase,
        response: &mut Response,
    ) -> Result<Progress, Answer> {
        let request = self.request()?;
        let mut stream = self.connector.connect(phase).await?;
        phase.wait_for_service(THE_RESPONSE);
        let mut exchange = Exchange {
            stream: &mut stream,
            unsent: request.as_bytes(),
            send_error: None,
        };
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let progress = match exchange.receive(&mut buffer).await {
                Ok(0) => return ended(response, exchange.send_error),
                Ok(count) => response.take(&buffer[..count]),
                Err(error) => return ended(response, Some(error)),
            };
            if progress != Progress::Unfinished {
                return Ok(progress);
            }
        }
    }

    fn request(&self) -> Result<String, Answer> {
        let mut parts = self.path.bytes().chain(self.host.bytes());
        if !parts.all(|byte| byte.is_ascii_graphic()) {
            return Err(no_verdict(
                "cannot ask for this path or host, which has blanks or special characters; correct the probe's URL",
            ));
        }
        let authorization = self
            .encoded_credentials()
            .map(|encoded| format!("Authorization: Basic {encoded}\r\n"));
        Ok(format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stayd/{}\r\nAccept: */*\r\nConnection: close\r\n{}\r\n",
            self.path,
            self.host,
            env!("CARGO_PKG_VERSION"),
            authorization.unwrap_or_default()
        ))
    }

    /// The credentials in the form of RFC 7617.
    fn encoded_credentials(&self) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        Some(base64(credentials.as_bytes()))
    }

    fn judge(&self, response: &Response, progress: Progress) -> Answer {
        let flaw = match progress {
            Progress::Complete | Progress::Unfinished => None,
            Progress::Flawed(flaw) => Some(flaw),
            Progress::NotHttp => return not_http(response.first_line()),
            Progress::EndlessInformational => return dead("endless 1xx responses"),
        };
        let Some(status) = response.status() else {
            return not_http(response.first_line());
        };
        let expected = self.expects(status);
        if flaw.is_none() && expected {
            return Answer::Alive;
        }
        let encoded = self.encoded_credentials();
        let secrets = self.secret().into_iter().chain(encoded.as_deref());
        let reason = quote_without(&status.reason, secrets.clone());
        let blank = if reason.is_empty() { "" } else { " " };
        let content = if expected { b"" } else { response.content() };
        let first_line = quote_without(content, secrets);
        let colon = if first_line.is_empty() { "" } else { ": " };
        let flaw = flaw.map_or_else(String::new, |flaw| format!(", then {flaw}"));
        Answer::Degraded {
            said: format!(
                "answered {}{blank}{reason}{colon}{first_line}{flaw}",
                status.code
            ),
            starting: status.code == SERVICE_UNAVAILABLE,
        }
    }

    fn expects(&self, status: &Status) -> bool {
        let mut ranges = self.expect.0.iter();
        ranges.any(|(low, high)| (*low..=*high).contains(&status.code))
    }

    /// The password; where it is empty, the user, which is then a token.
    fn secret(&self) -> Option<&str> {
        let (user, password) = self.credentials.as_ref()?.split_once(':')?;
        Some(if password.is_empty() { user } else { password })
    }
}

/// What an attempt waits for once it is connected.
const THE_RESPONSE: &str = "HTTP response";

/// A connection on which a request is being sent and a response received.
struct Exchange<'a> {
    stream: &'a mut Stream,
    unsent: &'a [u8],
    /// Why the request could not be sent. The response may be there all the same.
    send_error: Option<io::Error>,
}

impl Exchange<'_> {
    /// Waits for bytes of the response, and sends the request meanwhile. Returns 0 at the end of the connection.
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            while !self.unsent.is_empty() {
                match Pin::new(&mut *self.stream).poll_write(cx, self.unsent) {
                    Poll::Ready(Ok(0)) => self.unsent = &[],
                    Poll::Ready(Ok(count)) => self.unsent = &self.unsent[count..],
                    Poll::Ready(Err(error)) => {
                        self.send_error = Some(error);
                        self.unsent = &[];
                    }
                    Poll::Pending => break,
                }
            }
            let mut buffer = ReadBuf::new(buffer);
            Pin::new(&mut *self.stream)
                .poll_read(cx, &mut buffer)
                .map_ok(|()| buffer.filled().len())
        })
        .await
    }
}

/// The connection has ended, with an error or by a close. What had arrived by then may be an answer.
fn ended(response: &mut Response, error: Option<io::Error>) -> Result<Progress, Answer> {
    let progress = response.take_end();
    if progress != Progress::Unfinished {
        return Ok(progress);
    }
    Err(match error {
        Some(error) => connection_error(&error, THE_RESPONSE),
        None if response.received() == 0 => {
            dead("closed the connection early (before a status line)")
        }
        None => dead(format!(
            "closed the connection early (after {} bytes)",
            response.received()
        )),
    })
}

fn not_http(first_line: &[u8]) -> Answer {
    dead(format!("not HTTP: {}", quote_first_bytes(first_line)))
}

/// Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_encodes_the_examples_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
