//! The control socket: what is said over it, who may say it, its server and its client.
//!
//! [`routes`] is the whole surface on one screen, with the access beside the path; no handler decides
//! who may call it. The server knows the rest of the program through one [`Desk`](desk::Desk) only.

pub mod client;
mod connection;
pub mod desk;
mod guests;
mod handlers;
pub mod listen;
pub mod lobby;
mod outcome;
pub mod query;
pub mod routes;
pub mod server;
mod stream;
pub mod view;
pub mod wire;

#[cfg(test)]
mod tests;

/// The bounds of the socket: a peer that goes beyond one of them is told so and costs nobody else anything.
pub mod limits {
    use std::time::Duration;

    /// Connections served at once; the next one gets the place of whoever has only taken up room for longest.
    pub const CONNECTIONS_MAX: usize = 64;
    /// Until its request is here, a peer has its place for itself for this long; from then on while nobody else needs it.
    pub const UNDISTURBED_ASKING: Duration = Duration::from_millis(100);
    /// The same from the request to the end of the answer.
    pub const UNDISTURBED_ANSWERING: Duration = Duration::from_secs(1);
    /// How long a peer that has its answer may take to hang up.
    pub const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
    /// Most that is read and thrown away of a request that has been refused, so that its sender can read why.
    pub const DISCARD_BYTES_MAX: u64 = 256 * 1024 * 1024;
    /// Of those, followers of events and callers that wait for a wish's outcome.
    pub const LONG_REQUESTS_MAX: usize = 32;
    /// Request line and headers together.
    pub const HEADER_BYTES_MAX: usize = 64 * 1024;
    /// A request's body.
    pub const BODY_BYTES_MAX: usize = 64 * 1024;
    /// From the connection to the last header.
    pub const HEADER_WITHIN: Duration = Duration::from_secs(5);
    /// From the headers to the end of the body.
    pub const BODY_WITHIN: Duration = Duration::from_secs(5);
    /// From the connection to the last byte of the answer, if the request is not a long one.
    pub const REQUEST_WITHIN: Duration = Duration::from_secs(15);
    /// How long an outcome is waited for (`?wait=1`); a longer start-up is told as "still starting".
    pub const OUTCOME_WITHIN: Duration = Duration::from_secs(600);
    /// How long a follower is served before it has to connect again (from where it was: `Last-Event-ID`).
    pub const FOLLOW_WITHIN: Duration = Duration::from_secs(24 * 3600);
    /// How long a new version may take to prove itself, and everything to come to rest for it.
    pub const UPGRADE_WITHIN: Duration = Duration::from_secs(60);
    /// The longest wait for the loop to take a wish.
    pub const WISH_WITHIN: Duration = Duration::from_secs(5);
    /// Silence on an event stream after which a comment line shows that it lives.
    pub const KEEPALIVE: Duration = Duration::from_secs(15);
    /// Chunks that may wait for a slow follower.
    pub const FOLLOWER_QUEUE_MAX: usize = 16;
    /// Records given at once, unless fewer are asked for.
    pub const EVENTS_DEFAULT: usize = 100;
    /// Records given at once, at most.
    pub const EVENTS_MAX: usize = 10_000;
    /// Log lines given at once, unless another number is asked for.
    pub const LOG_LINES_DEFAULT: usize = 100;
    /// Log lines given at once, at most.
    pub const LOG_LINES_MAX: usize = 10_000;
    /// The largest answer that a client reads into memory.
    pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
    /// The longest time back that may be asked for: the journal holds days, and anything beyond is a slip.
    pub const SINCE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    /// The longest single hold that may be asked for: a hold is never an off-switch.
    pub const HOLD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
}
