//! Responses: JSON bodies, error bodies, and bodies that arrive in chunks.

use super::backend::{ApiError, ApiErrorKind};
use super::wire;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// A response's body.
pub(super) enum ResponseBody {
    /// Complete; `None` after it has been sent.
    Whole(Option<Bytes>),
    /// Sent chunk by chunk until the sender is dropped.
    Chunks(mpsc::Receiver<Bytes>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Chunks(chunks) => chunks.poll_recv(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Chunks(_) => SizeHint::default(),
        }
    }
}

/// A JSON response.
///
/// # Errors
/// [`ApiErrorKind::Unavailable`] if `value` cannot be written as JSON.
pub(super) fn json<T: Serialize>(
    status: StatusCode,
    value: &T,
) -> Result<Response<ResponseBody>, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| {
        ApiError::new(
            ApiErrorKind::Unavailable,
            format!("cannot write the answer as JSON: {error}"),
        )
    })?;
    Ok(json_response(status, body))
}

/// A stream of server-sent events.
pub(super) fn event_stream(chunks: mpsc::Receiver<Bytes>) -> Response<ResponseBody> {
    response(
        StatusCode::OK,
        "text/event-stream",
        ResponseBody::Chunks(chunks),
    )
}

/// The response for an error.
pub(super) fn error_response(error: &ApiError) -> Response<ResponseBody> {
    let mut response = json_response(error_status(error), error_body(error));
    let allow = error.allow.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(methods)) = allow {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// The same as the bytes of a whole HTTP/1.1 response, for a connection on which no request was read.
pub(super) fn error_bytes(error: &ApiError) -> Vec<u8> {
    let status = error_status(error);
    let body = error_body(error);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

fn error_status(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.kind.http_status()).unwrap_or_default()
}

/// `{"error":{"kind":"…","message":"cannot …"}}`
fn error_body(error: &ApiError) -> Vec<u8> {
    let body = wire::ErrorResponse {
        error: wire::ErrorDetail {
            kind: error.kind.name().to_owned(),
            message: error.message.clone(),
        },
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response<ResponseBody> {
    let body = ResponseBody::Whole(Some(Bytes::from(body)));
    response(status, "application/json", body)
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}
