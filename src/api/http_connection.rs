//! Serves one HTTP/1.1 request on one connection, and closes it so that the client can read the answer to its end.

use super::backend::{ApiError, ApiErrorKind};
use super::connections::Connection;
use super::limits;
use super::response::{ResponseBody, error_bytes};
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

/// How an exchange ended.
enum ExchangeEnd {
    /// The answer was sent.
    Answered,
    /// No valid request arrived.
    NoRequest(ApiError),
    /// Another connection needed the slot before a request arrived.
    Evicted,
    /// The exchange stopped during an answer.
    Broken,
}

/// Serves the one request on `stream` with `service`, which sets `request_arrived` when it is called.
pub(super) async fn serve<S>(
    stream: UnixStream,
    service: S,
    request_arrived: Rc<Cell<bool>>,
    connection: &Connection,
) where
    S: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible> + Unpin,
    S::Future: Unpin,
{
    let stream = DiscardUntilRequest {
        stream,
        request_arrived: Rc::clone(&request_arrived),
    };
    let mut http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_WITHIN)
        .max_buf_size(limits::HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let end = tokio::select! {
        ended = poll_fn(|context| http.poll_without_shutdown(context)) => match ended {
            Ok(()) => ExchangeEnd::Answered,
            Err(error) if !request_arrived.get() => ExchangeEnd::NoRequest(explain(&error)),
            Err(_broken) => ExchangeEnd::Broken,
        },
        () = connection.evicted() => if request_arrived.get() {
            ExchangeEnd::Broken
        } else {
            ExchangeEnd::Evicted
        },
        () = connection.expired() => ExchangeEnd::Broken,
    };
    connection.answered();
    let mut stream = http.into_parts().io.into_inner().stream;
    let close = async {
        match end {
            ExchangeEnd::Answered => close(&mut stream).await,
            ExchangeEnd::NoRequest(error) => {
                stream.write_all(&error_bytes(&error)).await?;
                close(&mut stream).await
            }
            // No wait here: another client waits for the slot, and this one may not be reading.
            ExchangeEnd::Evicted => stream
                .try_write(&error_bytes(&eviction()))
                .map(|_written| ()),
            ExchangeEnd::Broken => Ok(()),
        }
    };
    tokio::select! {
        _hung_up = timeout(limits::HANG_UP_WITHIN, close) => {}
        () = connection.evicted() => {}
    }
}

/// Half-closes, and reads the rest of the request until the client hangs up. Closing with unread bytes would reset the
/// connection, and the client could lose the answer.
async fn close(stream: &mut UnixStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(limits::DISCARD_BYTES_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

fn explain(error: &hyper::Error) -> ApiError {
    if error.is_parse_too_large() {
        let max = limits::HEADER_BYTES_MAX;
        ApiError::new(
            ApiErrorKind::HeadTooLarge,
            format!(
                "cannot read the request: its request line and headers are larger than {max} bytes, or it has too many \
                 headers"
            ),
        )
    } else if error.is_timeout() {
        ApiError::new(
            ApiErrorKind::TooSlow,
            format!(
                "cannot read the request: its headers did not arrive within {:?}",
                limits::HEADER_WITHIN
            ),
        )
    } else {
        ApiError::new(
            ApiErrorKind::BadRequest,
            format!("cannot read the request: {error}; this server accepts HTTP/1.1"),
        )
    }
}

fn eviction() -> ApiError {
    ApiError::new(
        ApiErrorKind::TooSlow,
        format!(
            "cannot wait for the request: all {} connections are in use, and another client needs one; connect again and \
             send the whole request at once",
            limits::CONNECTIONS_MAX
        ),
    )
}

/// The client's stream. It discards what hyper writes before a request has been read: that is hyper's own error page,
/// which has no body. The server sends an error of its own instead.
struct DiscardUntilRequest {
    stream: UnixStream,
    request_arrived: Rc<Cell<bool>>,
}

impl AsyncRead for DiscardUntilRequest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for DiscardUntilRequest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.request_arrived.get() {
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
