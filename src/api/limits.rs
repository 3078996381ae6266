//! The limits of the control socket: a client that exceeds one gets an error and does not affect other clients.

use std::time::Duration;

/// Connections that are served at once. For the next connection, the server evicts the one that may be evicted first.
pub const CONNECTIONS_MAX: usize = 64;
/// A new connection cannot be evicted for this long, so that its request can arrive.
pub const REQUEST_PROTECTED: Duration = Duration::from_millis(100);
/// A connection cannot be evicted for this long after its request has arrived.
pub const ANSWER_PROTECTED: Duration = Duration::from_secs(1);
/// Time for a client to hang up after it has its answer.
pub const HANG_UP_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of a rejected request that are read and discarded, so that the client can read the error.
pub const DISCARD_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Connections, of [`CONNECTIONS_MAX`], that may follow events or wait for the outcome of a command.
pub const LONG_REQUESTS_MAX: usize = 32;
/// The same for members of the control group. The others are for root and the user that stayd runs as.
pub const GROUP_LONG_REQUESTS_MAX: usize = 24;
/// Request line and headers together.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A request's body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// From the start of the connection to the last header.
pub const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// From the last header to the end of the body.
pub const BODY_WITHIN: Duration = Duration::from_secs(5);
/// From the start of the connection to the last byte of the answer, unless the request is a long one.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// How long the server waits for the outcome of a command (`?wait=1`). After that it answers with the service's present
/// state and `done: false`.
pub const OUTCOME_WITHIN: Duration = Duration::from_secs(600);
/// How long an event stream lasts. The client then connects again and continues with `Last-Event-ID`.
pub const FOLLOW_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Time for a new version's self-check and for all work in progress to end.
pub const UPGRADE_WITHIN: Duration = Duration::from_secs(60);
/// Time for the loop to accept a command.
pub const ACCEPT_WITHIN: Duration = Duration::from_secs(5);
/// An event stream without events for this long sends a comment line, so that the client can detect a dead connection.
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// Chunks that may wait for a slow follower.
pub const FOLLOWER_QUEUE_MAX: usize = 16;
/// Records in one answer, unless `limit` says otherwise.
pub const EVENTS_DEFAULT: usize = 100;
/// Records in one answer, at most.
pub const EVENTS_MAX: usize = 10_000;
/// Log lines in one answer, unless `n` says otherwise.
pub const LOG_LINES_DEFAULT: usize = 100;
/// Log lines in one answer, at most.
pub const LOG_LINES_MAX: usize = 10_000;
/// The largest answer that the client reads into memory.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest age in `since`. The journal keeps days, so a larger number is a typing error.
pub const SINCE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The longest single hold, so that a hold does not switch the watchdog off for good.
pub const HOLD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest reason of a hold, in characters.
pub const HOLD_REASON_CHARS_MAX: usize = 1000;
