//! Accepts connections on the control socket, checks access, and passes each request to its handler.

use super::backend::{ApiError, ApiErrorKind, Backend};
use super::connections::{Connection, Connections, Slot};
use super::handlers::{ParsedRequest, handle};
use super::query::Params;
use super::response::{ResponseBody, error_response};
use super::routes::{self, AccessControl, Lookup, PeerRole, Route};
use super::{http_connection, limits};
use crate::sys;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response};
use std::cell::Cell;
use std::convert::Infallible;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// The pause after a failed accept(2) (for example EMFILE), so that the server does not retry in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `listener` until `connections` is drained. Spawn it on the loop's local set; dropping it stops the server.
pub async fn serve(
    listener: &UnixListener,
    backend: Backend,
    access: AccessControl,
    connections: Connections,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = connections.closing() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _unnamed)) => {
                let slot = connections.open_slot().await;
                let peer = Peer {
                    role: role_of(&stream, access),
                    backend: backend.clone(),
                    connection: slot.connection().clone(),
                };
                tokio::task::spawn_local(async move {
                    peer.serve(stream, &slot).await;
                });
            }
            Err(error) => {
                tracing::warn!(
                    "cannot accept a connection on the control socket: {error}; stayd tries again in {ACCEPT_PAUSE:?}"
                );
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A peer whose credentials cannot be read has no rights.
fn role_of(stream: &UnixStream, access: AccessControl) -> PeerRole {
    sys::socket::peer(stream.as_fd()).map_or(PeerRole::Other, |peer| access.role_of(peer.uid))
}

/// The client of one connection.
struct Peer {
    role: PeerRole,
    backend: Backend,
    connection: Connection,
}

impl Peer {
    async fn serve(self, stream: UnixStream, slot: &Slot) {
        let request_arrived = Rc::new(Cell::new(false));
        let service = service_fn(|request| {
            request_arrived.set(true);
            Box::pin(async { Ok::<_, Infallible>(self.answer(request).await) })
        });
        let arrived = Rc::clone(&request_arrived);
        http_connection::serve(stream, service, arrived, slot.connection()).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let result = match self.read(request).await {
            Ok(request) => {
                self.connection.answering();
                handle(&self.backend, &request).await
            }
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| error_response(&error))
    }

    /// Finds the route, checks access, and only then reads the body.
    async fn read(&self, request: Request<Incoming>) -> Result<ParsedRequest, ApiError> {
        let (head, body) = request.into_parts();
        let (route, segment) = look_up(head.method.as_str(), head.uri.path())?;
        if !route.access.is_open_to(self.role) {
            return Err(ApiError::new(
                ApiErrorKind::Forbidden,
                format!(
                    "cannot {} {}: {} may do this",
                    head.method,
                    route.path,
                    route.access.holders()
                ),
            ));
        }
        Ok(ParsedRequest {
            handler: route.handler,
            segment: segment.unwrap_or_default().to_owned(),
            params: Params::parse(head.uri.query().unwrap_or_default()),
            body: read_body(body).await?,
            role: self.role,
            wants_stream: accepts_stream(&head.headers),
            last_event_id: last_event_id(&head.headers),
            connection: self.connection.clone(),
        })
    }
}

fn look_up<'p>(method: &str, path: &'p str) -> Result<(&'static Route, Option<&'p str>), ApiError> {
    match routes::find(method, path) {
        Lookup::Route(route, segment) => Ok((route, segment)),
        Lookup::OtherMethod(supported) => {
            let supported = supported.join(", ");
            let message = format!("cannot {method} {path}: this path supports {supported}");
            Err(ApiError::new(ApiErrorKind::NoMethod, message).allowing(supported))
        }
        Lookup::UnknownPath => Err(ApiError::new(
            ApiErrorKind::NoRoute,
            format!("cannot {method} {path}: there is no such path"),
        )),
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, ApiError> {
    let limited = Limited::new(body, limits::BODY_BYTES_MAX);
    match timeout(limits::BODY_WITHIN, limited.collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
            ApiErrorKind::TooLarge,
            format!(
                "cannot read the body: it is larger than {} bytes",
                limits::BODY_BYTES_MAX
            ),
        )),
        Ok(Err(error)) => Err(ApiError::new(
            ApiErrorKind::BadRequest,
            format!("cannot read the body: {error}"),
        )),
        Err(_late) => Err(ApiError::new(
            ApiErrorKind::TooSlow,
            format!(
                "cannot read the body: it did not arrive within {:?}",
                limits::BODY_WITHIN
            ),
        )),
    }
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|value| value.contains("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}
