//! Sends requests that read one disk to a helper, one after the other, and starts no second helper while the last one hangs.

use super::{Helper, HelperError, HelperRequest, Helpers, Progress, Timeouts};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

const HANGS: &str = "the helper that read it last is killed and still hangs in the system";
const GIVEN_UP: &str = "the helper that reads it has made no progress and is killed";

/// Sends requests that read one disk. Keeps a helper only while it hangs: an idle helper costs memory, and while a helper
/// hangs even after its SIGKILL, no further helper may be started at each attempt.
#[derive(Debug)]
pub(crate) struct HelperClient {
    helpers: Helpers,
    hanging: RefCell<Option<Helper>>,
    turn: Semaphore,
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum NoReply {
    /// The helper carried the request out, and it failed.
    Failed(String),
    /// The helper did not reply in time, so its disk may hang.
    Silent(String),
    /// The request was not sent, or the helper ended before it replied. This implies nothing about the disk.
    NotAsked(String),
}

/// A helper for the requests of one caller. When the lease is dropped, the client keeps the helper only if it hangs.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    client: &'a HelperClient,
    helper: Option<Helper>,
    _turn: SemaphorePermit<'a>,
}

impl HelperClient {
    /// A client that has sent nothing yet.
    pub(crate) fn new(helpers: &Helpers) -> Self {
        Self {
            helpers: helpers.clone(),
            hanging: RefCell::default(),
            turn: Semaphore::new(1),
        }
    }

    /// Sends a request and waits for its reply for at most `within`.
    ///
    /// # Errors
    /// Why there is no reply.
    pub(crate) async fn ask<R: HelperRequest>(
        &self,
        request: R,
        within: Duration,
    ) -> Result<R::Reply, NoReply> {
        let started = Instant::now();
        let mut lease = self.lease(within).await?;
        let left = within.saturating_sub(started.elapsed());
        lease.ask(request, left).await
    }

    /// Sends a request that takes long, and gives up when it makes no progress within `timeouts`.
    ///
    /// # Errors
    /// Why there is no reply.
    pub(crate) async fn ask_with_progress<R: HelperRequest>(
        &self,
        request: R,
        timeouts: Timeouts,
        progress: &Cell<Progress>,
    ) -> Result<R::Reply, NoReply> {
        let mut lease = self.lease(timeouts.progress).await?;
        let helper = lease.helper()?;
        if !helper.is_free(timeouts.first_answer).await {
            return Err(NoReply::Silent(HANGS.into()));
        }
        let reply = helper.ask_with_progress(request, timeouts, progress).await;
        reply.map_err(NoReply::from)
    }

    /// Reserves the client for several requests, which one helper carries out. Waits at most `within` for its turn.
    ///
    /// # Errors
    /// Other requests are still under way.
    pub(crate) async fn lease(&self, within: Duration) -> Result<Lease<'_>, NoReply> {
        let busy = || NoReply::NotAsked("the previous request has no reply yet".into());
        let turn = tokio::time::timeout(within, self.turn.acquire()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let helper = self.hanging.take();
        let helper = helper.unwrap_or_else(|| self.helpers.helper());
        Ok(Lease {
            client: self,
            helper: Some(helper),
            _turn: turn,
        })
    }
}

impl Lease<'_> {
    /// Sends a request and waits for its reply for at most `within`.
    ///
    /// # Errors
    /// Why there is no reply.
    pub(crate) async fn ask<R: HelperRequest>(
        &mut self,
        request: R,
        within: Duration,
    ) -> Result<R::Reply, NoReply> {
        let helper = self.helper()?;
        helper.ask(request, within).await.map_err(NoReply::from)
    }

    fn helper(&mut self) -> Result<&mut Helper, NoReply> {
        let none = || NoReply::NotAsked("there is no helper".into());
        self.helper.as_mut().ok_or_else(none)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take().filter(Helper::may_hang) {
            self.client.hanging.replace(Some(helper));
        }
    }
}

impl From<HelperError> for NoReply {
    fn from(error: HelperError) -> Self {
        match error {
            HelperError::Failed(cause) => Self::Failed(cause),
            HelperError::NotAsked(cause) => Self::NotAsked(cause),
            HelperError::Silent => Self::Silent(GIVEN_UP.into()),
        }
    }
}

impl fmt::Display for NoReply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(why) | Self::Silent(why) | Self::NotAsked(why)) = self;
        out.write_str(why)
    }
}
