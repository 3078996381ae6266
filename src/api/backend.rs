//! The interface of the server to the rest of the program: state to show, commands to pass on, records to read.

use super::latest_requests::LatestRequests;
use super::wire;
use crate::decide::event::Request;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{broadcast, mpsc, oneshot};

/// A future that stays on this thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What the server can ask of the rest of the program.
#[derive(Clone)]
pub struct Backend {
    /// The state of stayd and its services now.
    pub status: Rc<dyn Fn() -> wire::Status>,
    /// Refreshes the part of the state that needs disk reads. It returns within a bounded time, even if a disk has not
    /// answered by then.
    pub refresh: Rc<dyn Fn() -> LocalFuture<'static, ()>>,
    /// Takes commands to the loop.
    pub requests: mpsc::Sender<PendingRequest>,
    /// The requests that went to the loop.
    pub latest_requests: LatestRequests,
    /// Takes upgrade requests to the loop.
    pub upgrades: mpsc::Sender<PendingUpgrade>,
    /// The recorded events.
    pub journal: Rc<dyn Journal>,
    /// The captured output of the services.
    pub logs: Rc<dyn Logs>,
}

/// A command about one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceCommand {
    /// One that the state machine decides about.
    Request(Request),
    /// Send the service's `reload` signal.
    Reload,
}

impl ServiceCommand {
    /// The last segment of the route's path.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Request(Request::Start) => "start",
            Self::Request(Request::Stop) => "stop",
            Self::Request(Request::Restart) => "restart",
            Self::Request(Request::Hold { .. }) => "hold",
            Self::Request(Request::Release) => "release",
            Self::Reload => "reload",
        }
    }
}

/// A command on its way to the loop.
#[derive(Debug)]
pub struct PendingRequest {
    /// The service's name; the server found it in the status.
    pub service: String,
    /// What to do.
    pub command: ServiceCommand,
    /// Receives the answer when the state machine has accepted the command and it is on disk, before its outcome.
    pub reply: oneshot::Sender<Result<Accepted, ApiError>>,
}

/// The loop has accepted a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Why the command is not on disk and what follows from that; `None`: it is on disk.
    pub warning: Option<String>,
}

/// A request for an in-place upgrade. The sender receives the answer when the new version has passed its self-check and
/// is about to take over.
pub type PendingUpgrade = oneshot::Sender<Result<wire::Upgrade, ApiError>>;

/// Selects records of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only records about this service.
    pub service: Option<String>,
    /// Only records after this.
    pub since: Since,
    /// Only decisions ([`crate::decide::action::RecordKind::is_decision`]).
    pub decisions_only: bool,
    /// At most this many; the newest of the matching records.
    pub limit: usize,
}

/// Where a query begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// At the oldest record that the journal keeps.
    #[default]
    Beginning,
    /// After the record with this id.
    Id(u64),
    /// After this time.
    Time(SystemTime),
}

/// Reads the journal.
pub trait Journal {
    /// The records that match, oldest first.
    fn events(&self, query: EventQuery) -> LocalFuture<'_, Result<Vec<wire::Event>, ApiError>>;
    /// The last `limit` incidents, oldest first, without their evidence.
    fn incidents(&self, limit: usize) -> LocalFuture<'_, Result<Vec<wire::Incident>, ApiError>>;
    /// One incident with its evidence.
    fn incident(&self, id: u64) -> LocalFuture<'_, Result<Option<wire::Incident>, ApiError>>;
    /// Every record from now on. A receiver that falls behind gets `Lagged` and can go on.
    fn subscribe(&self) -> broadcast::Receiver<Arc<wire::Event>>;
}

/// Reads the services' captured output.
pub trait Logs {
    /// The last `lines` lines of `service`, oldest first.
    fn tail(&self, service: &str, lines: usize) -> LocalFuture<'_, Result<Vec<String>, ApiError>>;
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// For programs.
    pub kind: ApiErrorKind,
    /// For people: "cannot …: cause; what to do".
    pub message: String,
    /// The methods that the path supports, for the header `Allow` (RFC 9110, section 15.5.6).
    pub allow: Option<String>,
}

impl ApiError {
    /// An error of `kind` with this message.
    #[must_use]
    pub fn new(kind: ApiErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            allow: None,
        }
    }

    /// The same error, which also names the methods that the path supports.
    #[must_use]
    pub fn allowing(self, methods: String) -> Self {
        Self {
            allow: Some(methods),
            ..self
        }
    }
}

/// The kinds of errors. Their names and HTTP status codes are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiErrorKind {
    /// A parameter or the body is invalid.
    BadRequest,
    /// The client has no access to this route.
    Forbidden,
    /// No route has this path.
    NoRoute,
    /// The path exists, but not with this method.
    NoMethod,
    /// No service has this name.
    NoService,
    /// No incident has this id.
    NoIncident,
    /// The request took too long to arrive.
    TooSlow,
    /// The body is larger than its limit.
    TooLarge,
    /// The request line and the headers are larger than their limit.
    HeadTooLarge,
    /// Too many long requests at once.
    Busy,
    /// The command was accepted but did not succeed.
    NotReached,
    /// The command is not possible in the present state.
    Conflict,
    /// stayd is shutting down.
    Ending,
    /// A new version of stayd is taking over. The request had no effect and can be repeated shortly.
    Upgrading,
    /// The journal or the log cannot be read.
    Unavailable,
}

impl ApiErrorKind {
    /// Every kind, to compare with the documentation.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::Forbidden,
        Self::NoRoute,
        Self::NoMethod,
        Self::NoService,
        Self::NoIncident,
        Self::TooSlow,
        Self::TooLarge,
        Self::HeadTooLarge,
        Self::Busy,
        Self::NotReached,
        Self::Conflict,
        Self::Ending,
        Self::Upgrading,
        Self::Unavailable,
    ];

    /// The text of `error.kind`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Forbidden => "forbidden",
            Self::NoRoute => "no-route",
            Self::NoMethod => "no-method",
            Self::NoService => "no-service",
            Self::NoIncident => "no-incident",
            Self::TooSlow => "too-slow",
            Self::TooLarge => "too-large",
            Self::HeadTooLarge => "head-too-large",
            Self::Busy => "busy",
            Self::NotReached => "not-reached",
            Self::Conflict => "conflict",
            Self::Ending => "ending",
            Self::Upgrading => "upgrading",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NoRoute | Self::NoService | Self::NoIncident => 404,
            Self::NoMethod => 405,
            Self::TooSlow => 408,
            Self::NotReached | Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Busy => 429,
            Self::HeadTooLarge => 431,
            Self::Ending | Self::Upgrading | Self::Unavailable => 503,
        }
    }
}
