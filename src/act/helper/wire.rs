//! The lines that stayd and a helper process exchange: one JSON object each.

use serde::{Deserialize, Serialize};

/// A request on its way to the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestLine<R> {
    /// Counts the requests of one [`super::Helper`].
    pub(super) id: u64,
    /// [`super::Request::NAME`].
    pub(super) name: String,
    pub(super) body: R,
}

/// What comes back while the helper works on a request, and in the end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ReplyLine<R> {
    /// The outcome of request `id`.
    Done { id: u64, outcome: Result<R, String> },
    /// The request is under way.
    Progress(Progress),
    /// Whether the request waits for the first answer of a disk.
    WaitsForDisk(bool),
}

/// How far a long request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Files that are done.
    pub files: usize,
    /// Bytes that are done.
    pub bytes: u64,
}
