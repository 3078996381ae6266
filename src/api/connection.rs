//! One connection from its first byte to its last: every request that can be answered is, and nobody is reset who
//! still has something to read.

use super::desk::{Kind, Refusal};
use super::guests::Guest;
use super::handlers::failure_body;
use super::limits;
use super::stream::Reply;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How a conversation ended.
enum End {
    /// With the answer.
    Answered,
    /// Before there was a request to answer.
    Unasked(Refusal),
    /// Its place was needed by another.
    SentAway,
    /// In the middle of an answer.
    Broken,
}

/// Serves the one request on `stream` with `service`, which sets `asked` when it is called; `expired` comes when the
/// connection has lasted as long as it may.
pub(super) async fn serve<S>(
    stream: UnixStream,
    service: S,
    asked: Rc<Cell<bool>>,
    guest: &Guest,
    expired: impl Future<Output = ()>,
) where
    S: HttpService<Incoming, ResBody = Reply, Error = Infallible> + Unpin,
    S::Future: Unpin,
{
    let held = HeldBack {
        stream,
        asked: Rc::clone(&asked),
    };
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_WITHIN)
        .max_buf_size(limits::HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(held), service);
    let end = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => match ended {
            Ok(()) => End::Answered,
            Err(error) if !asked.get() => End::Unasked(explain(&error)),
            Err(_broken) => End::Broken,
        },
        () = guest.is_sent_away() => if asked.get() { End::Broken } else { End::SentAway },
        () = expired => End::Broken,
    };
    guest.is_done();
    let mut stream = connection.into_parts().io.into_inner().stream;
    let goodbye = async {
        match end {
            End::Answered => part(&mut stream).await,
            End::Unasked(refusal) => {
                stream.write_all(&page(&refusal)).await?;
                part(&mut stream).await
            }
            // Whoever gets the place is not kept waiting for one who may not read this.
            End::SentAway => stream.try_write(&page(&others_wait())).map(|_written| ()),
            End::Broken => Ok(()),
        }
    };
    tokio::select! {
        _hung_up = timeout(limits::GOODBYE_WITHIN, goodbye) => {}
        () = guest.is_sent_away() => {}
    }
}

/// Half-closes, and reads what is still on its way until the peer hangs up: closing with unread bytes would reset the
/// connection, and the peer might lose the answer.
async fn part(stream: &mut UnixStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(limits::DISCARD_BYTES_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

fn explain(error: &hyper::Error) -> Refusal {
    if error.is_parse_too_large() {
        let max = limits::HEADER_BYTES_MAX;
        Refusal::new(
            Kind::HeadTooLarge,
            format!(
                "cannot take the request: its line and headers are over {max} bytes or too many"
            ),
        )
    } else if error.is_timeout() {
        Refusal::new(
            Kind::TooSlow,
            format!(
                "cannot wait for the request longer than {:?}",
                limits::HEADER_WITHIN
            ),
        )
    } else {
        Refusal::new(
            Kind::BadRequest,
            format!("cannot read the request: {error}; HTTP/1.1 is spoken here"),
        )
    }
}

fn others_wait() -> Refusal {
    Refusal::new(
        Kind::TooSlow,
        "cannot wait for the request: others need the place; connect again and send it whole",
    )
}

/// An answer to what never became a request.
fn page(refusal: &Refusal) -> Vec<u8> {
    let status = StatusCode::from_u16(refusal.kind.status()).unwrap_or_default();
    let body = failure_body(refusal);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// The peer's stream. What is written before a request has been read is hyper's own error page, which says nothing:
/// it is swallowed, and ours goes out in its place.
struct HeldBack {
    stream: UnixStream,
    asked: Rc<Cell<bool>>,
}

impl AsyncRead for HeldBack {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for HeldBack {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.asked.get() {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        } else {
            Poll::Ready(Ok(bytes.len()))
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
