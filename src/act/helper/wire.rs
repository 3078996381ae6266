//! The lines that stayd and a helper process exchange: one JSON object each.

use serde::{Deserialize, Serialize};

/// The line of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestLine<R> {
    /// Counts the requests of one [`super::Helper`].
    pub(super) id: u64,
    /// [`super::HelperRequest::NAME`].
    pub(super) name: String,
    pub(super) body: R,
}

/// A line that the helper writes while it carries out a request, or when it is done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ReplyLine<R> {
    /// The outcome of request `id`.
    Done { id: u64, outcome: Result<R, String> },
    /// The request is under way.
    Progress(Progress),
    /// Whether the request waits for the first answer of a disk.
    WaitsForDisk(bool),
}

/// The progress of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of processed files.
    pub files: usize,
    /// The number of processed bytes.
    pub bytes: u64,
}
