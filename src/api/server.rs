//! Serves one request per connection, each within its bounds.

use super::connection;
use super::desk::{Desk, Kind, Refusal};
use super::guests::{Guest, Place};
use super::handlers::{Call, answer, failure};
use super::lobby::Lobby;
use super::query::Params;
use super::routes::{self, Found, Gate, Who};
use super::stream::Reply;
use super::{limits, routes::Route};
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
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// The pause after an accept(2) that failed (no descriptor left), so that it is not tried in a circle.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `listener` until `lobby` closes; to be spawned on the loop's local set and dropped with it.
pub async fn serve(listener: &UnixListener, desk: Desk, gate: Gate, lobby: Lobby) {
    let seats = Arc::new(Semaphore::new(limits::LONG_REQUESTS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = lobby.closes() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _unnamed)) => {
                let place = lobby.guests.place().await;
                let client = Client {
                    who: judge(&stream, gate),
                    desk: desk.clone(),
                    patience: Patience::new(&seats, place.guest(), lobby.clone()),
                };
                tokio::task::spawn_local(async move {
                    client.serve(stream, &place).await;
                });
            }
            Err(error) => {
                tracing::warn!(
                    "Cannot accept a connection on the control socket: {error}; trying again"
                );
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A peer whose credentials cannot be read is a stranger.
fn judge(stream: &UnixStream, gate: Gate) -> Who {
    sys::socket::peer(stream.as_fd()).map_or(Who::Stranger, |peer| gate.judge(peer.uid))
}

/// How long a connection may last; a long request takes one of a few seats and asks for more.
#[derive(Clone)]
pub(super) struct Patience {
    allowed: Rc<Cell<Duration>>,
    seats: Arc<Semaphore>,
    guest: Rc<Guest>,
    pub(super) lobby: Lobby,
}

impl Patience {
    fn new(seats: &Arc<Semaphore>, guest: &Rc<Guest>, lobby: Lobby) -> Self {
        Self {
            allowed: Rc::new(Cell::new(limits::REQUEST_WITHIN)),
            seats: Arc::clone(seats),
            guest: Rc::clone(guest),
            lobby,
        }
    }

    /// Lets this connection last `within`, for as long as the seat is kept.
    pub(super) fn extend(&self, within: Duration) -> Result<OwnedSemaphorePermit, Refusal> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_full| {
            let max = limits::LONG_REQUESTS_MAX;
            Refusal::new(
                Kind::Busy,
                format!("cannot wait for one more: {max} callers wait or follow already; try again later"),
            )
        })?;
        self.allowed.set(within);
        self.guest.stays();
        Ok(seat)
    }

    /// Comes when the connection has lasted as long as it may.
    async fn runs_out(&self) {
        let mut lasted = Duration::ZERO;
        while lasted < self.allowed.get() {
            let step = self.allowed.get().saturating_sub(lasted);
            sleep(step).await;
            lasted += step;
        }
    }
}

/// One connection.
struct Client {
    who: Who,
    desk: Desk,
    patience: Patience,
}

impl Client {
    async fn serve(self, stream: UnixStream, place: &Place) {
        let patience = self.patience.clone();
        let asked = Rc::new(Cell::new(false));
        let service = service_fn(|request| {
            asked.set(true);
            Box::pin(async { Ok::<_, Infallible>(self.answer(request).await) })
        });
        let expired = patience.runs_out();
        connection::serve(stream, service, Rc::clone(&asked), place.guest(), expired).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Reply> {
        let outcome = match self.read(request).await {
            Ok(call) => {
                self.patience.guest.is_answered();
                answer(&self.desk, &call).await
            }
            Err(refusal) => Err(refusal),
        };
        outcome.unwrap_or_else(|refusal| failure(&refusal))
    }

    /// Finds the route, asks the table whether the caller may, and only then reads the body.
    async fn read(&self, request: Request<Incoming>) -> Result<Call, Refusal> {
        let (head, body) = request.into_parts();
        let (route, segment) = look_up(head.method.as_str(), head.uri.path())?;
        if !route.access.is_open_to(self.who) {
            return Err(Refusal::new(
                Kind::Forbidden,
                format!(
                    "cannot {} {}: {} may",
                    head.method,
                    route.path,
                    route.access.holders()
                ),
            ));
        }
        Ok(Call {
            handler: route.handler,
            segment: segment.unwrap_or_default().to_owned(),
            params: Params::parse(head.uri.query().unwrap_or_default()),
            body: read_body(body).await?,
            wants_stream: accepts_stream(&head.headers),
            last_event_id: last_event_id(&head.headers),
            patience: self.patience.clone(),
        })
    }
}

fn look_up<'p>(method: &str, path: &'p str) -> Result<(&'static Route, Option<&'p str>), Refusal> {
    match routes::find(method, path) {
        Found::Route(route, segment) => Ok((route, segment)),
        Found::OtherMethod => Err(Refusal::new(
            Kind::NoMethod,
            format!("cannot {method} {path}: the path is right, the method is not"),
        )),
        Found::Nothing => Err(Refusal::new(
            Kind::NoRoute,
            format!("cannot {method} {path}: there is no such path"),
        )),
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let limited = Limited::new(body, limits::BODY_BYTES_MAX);
    match timeout(limits::BODY_WITHIN, limited.collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            Kind::TooLarge,
            format!(
                "cannot take the body: it is over {} bytes",
                limits::BODY_BYTES_MAX
            ),
        )),
        Ok(Err(error)) => Err(Refusal::new(
            Kind::BadRequest,
            format!("cannot read the body: {error}"),
        )),
        Err(_late) => Err(Refusal::new(
            Kind::TooSlow,
            format!(
                "cannot wait for the body longer than {:?}",
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
