//! What the server needs of the rest of the program, and nothing else of it.

use super::wire;
use crate::decide::event::Request;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{broadcast, mpsc, oneshot};

/// A future of this thread.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The counter over which the server hands requests to the loop.
#[derive(Clone)]
pub struct Desk {
    /// Everything as it is now.
    pub status: Rc<dyn Fn() -> wire::Status>,
    /// Looks at what only disks tell, and returns after a moment, whether they have answered or not.
    pub look: Rc<dyn Fn() -> Local<'static, ()>>,
    /// What people ask for.
    pub requests: mpsc::Sender<Petition>,
    /// Who asks that the new version take over.
    pub upgrades: mpsc::Sender<UpgradePetition>,
    /// What happened.
    pub journal: Rc<dyn Journal>,
    /// What the services printed.
    pub logs: Rc<dyn Logs>,
}

/// What a person or program asks for about one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Something to decide about.
    Request(Request),
    /// Its `reload` signal.
    Reload,
}

impl Ask {
    /// The route's last word.
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

/// A wish on its way to the loop.
#[derive(Debug)]
pub struct Petition {
    /// About which service; it exists in the status that the server saw.
    pub service: String,
    /// What is asked for.
    pub ask: Ask,
    /// Answered when the machine has taken it and the disk has it (not when it has come true).
    pub reply: oneshot::Sender<Result<Taken, Refusal>>,
}

/// A wish was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Why it does not outlive this stayd, and what follows from that; none: it does.
    pub warning: Option<String>,
}

/// The wish that the new version of stayd take over. Answered when it has proven itself and is about to.
pub type UpgradePetition = oneshot::Sender<Result<wire::Upgrade, Refusal>>;

/// Which records are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only about this service.
    pub service: Option<String>,
    /// Only after this.
    pub since: Since,
    /// Only decisions ([`crate::decide::action::RecordKind::is_decision`]).
    pub decisions_only: bool,
    /// At most this many, the newest of those that match.
    pub limit: usize,
}

/// From where on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// From the first that is kept.
    #[default]
    Beginning,
    /// After the record with this id.
    Id(u64),
    /// After this time.
    Time(SystemTime),
}

/// The journal as the server sees it; the loop's side gives it its store.
pub trait Journal {
    /// Records that match, oldest first.
    fn events(&self, query: Query) -> Local<'_, Result<Vec<wire::Event>, Refusal>>;
    /// The last `limit` incidents, oldest first, without their evidence.
    fn incidents(&self, limit: usize) -> Local<'_, Result<Vec<wire::Incident>, Refusal>>;
    /// One incident with its evidence.
    fn incident(&self, id: u64) -> Local<'_, Result<Option<wire::Incident>, Refusal>>;
    /// Every record from now on; a receiver that lags is told so and goes on.
    fn subscribe(&self) -> broadcast::Receiver<Arc<wire::Event>>;
}

/// The services' captured output.
pub trait Logs {
    /// The last `lines` lines of `service`, oldest first.
    fn tail(&self, service: &str, lines: usize) -> Local<'_, Result<Vec<String>, Refusal>>;
}

/// Why a request gets an error: the stable word and the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The word.
    pub kind: Kind,
    /// "cannot …: cause; what to do".
    pub message: String,
}

impl Refusal {
    /// One of `kind` with this sentence.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// The stable words of errors, and their HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A parameter or body that means nothing.
    BadRequest,
    /// The peer may not do this.
    Forbidden,
    /// No such route.
    NoRoute,
    /// A route, but not with this method.
    NoMethod,
    /// No service of this name.
    NoService,
    /// No such incident.
    NoIncident,
    /// The request took too long to arrive.
    TooSlow,
    /// The body is over its limit.
    TooLarge,
    /// The request line and the headers are over theirs.
    HeadTooLarge,
    /// Too many long requests at once.
    Busy,
    /// The wish was taken but did not come true.
    NotReached,
    /// It cannot be done in the service's present state.
    Conflict,
    /// stayd is ending.
    Ending,
    /// A new version of stayd takes over; nothing was done, and it can be asked in a moment.
    Upgrading,
    /// The journal or the log cannot be read.
    Unavailable,
}

impl Kind {
    /// Every kind, for the documentation's test.
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

    /// The word in `error.kind`.
    #[must_use]
    pub const fn word(self) -> &'static str {
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

    /// The status line's number.
    #[must_use]
    pub const fn status(self) -> u16 {
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
