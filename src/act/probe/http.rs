//! `http://`: a GET request on a new connection each time, because a service without free descriptors cannot accept one.

use super::connector::{Connector, local_error_remedy};
use super::{Answer, Phase, ProtocolProbe, dead, degraded, no_verdict, quote, redact, within};
use crate::config::Expect;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::time::Duration;

/// How much of a body is read. A service that sends a longer one has answered.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest accepted head of a response.
const HEAD_BYTES_MAX: usize = 64 * 1024;

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
        within(timeout, &phase, async {
            match self.attempt(&phase).await {
                Ok(answer) | Err(answer) => answer,
            }
        })
        .await
    }
}

impl HttpProbe {
    async fn attempt(&mut self, phase: &Phase) -> Result<Answer, Answer> {
        let request = self.request()?;
        let stream = self.connector.connect(phase).await?;
        phase.wait_for_service("HTTP response");
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| classify(&error))?;
        let exchange = pin!(async {
            let response = sender.send_request(request).await?;
            phase.wait_for_service("end of the HTTP response");
            read(response).await
        });
        match drive(connection, exchange).await {
            Ok((status, body)) => Ok(self.judge(status, &body)),
            Err(error) => Err(classify(&error)),
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Answer> {
        let mut request = Request::get(self.path.as_str())
            .header(header::HOST, &self.host)
            .header(
                header::USER_AGENT,
                concat!("stayd/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::ACCEPT, "*/*")
            .header(header::CONNECTION, "close");
        if let Some(credentials) = &self.credentials {
            let value = format!("Basic {}", base64(credentials.as_bytes()));
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Empty::new()).map_err(|error| {
            no_verdict(format!(
                "cannot ask for this path: {error}; correct the probe's URL"
            ))
        })
    }

    fn judge(&self, status: StatusCode, body: &[u8]) -> Answer {
        let code = status.as_u16();
        if self
            .expect
            .0
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&code))
        {
            return Answer::Alive;
        }
        let first_line = quote(body);
        let separator = if first_line.is_empty() { "" } else { ": " };
        let password = self
            .credentials
            .as_deref()
            .and_then(|pair| pair.split_once(':'));
        Answer::Degraded {
            said: redact(
                format!("HTTP {status}{separator}{first_line}"),
                password.map(|(_user, password)| password),
            ),
            starting: status == StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Polls the connection and the exchange in one task, and returns the outcome of the exchange.
async fn drive<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    mut exchange: impl Future<Output = hyper::Result<T>> + Unpin,
) -> hyper::Result<T> {
    tokio::select! {
        biased;
        outcome = &mut exchange => return outcome,
        _ = connection => {}
    }
    exchange.await
}

/// Reads a response to its end, or up to [`BODY_BYTES_MAX`].
async fn read(mut response: Response<Incoming>) -> hyper::Result<(StatusCode, Vec<u8>)> {
    let mut body = Vec::new();
    while body.len() < BODY_BYTES_MAX {
        let Some(frame) = response.body_mut().frame().await else {
            break;
        };
        if let Some(data) = frame?.data_ref() {
            body.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - body.len())]);
        }
    }
    Ok((response.status(), body))
}

/// The answer for an exchange that failed.
fn classify(error: &hyper::Error) -> Answer {
    if error.is_parse_too_large() {
        return degraded(format!(
            "an HTTP response with a head of more than {} KiB",
            HEAD_BYTES_MAX / 1024
        ));
    }
    if error.is_parse() {
        return dead("it answers with something that is not HTTP");
    }
    match error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
    {
        Some(cause) if local_error_remedy(cause).is_some() => {
            no_verdict(format!("cannot talk to it: {cause}"))
        }
        Some(cause) => dead(format!(
            "the connection broke before the response ended: {cause}"
        )),
        None if error.is_incomplete_message() => {
            dead("it closed the connection before the response ended")
        }
        None => dead("it closed the connection or sent data before it was asked; is this HTTP?"),
    }
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
