//! Sends requests that touch one disk, one after the other, and never starts a second helper while the last one hangs.

use super::{Helper, HelperError, Helpers, Progress, Request, Timeouts};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A killed helper ends within this time, or it hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
const HANGS: &str = "the helper that read it last is killed and still hangs in the system";
const GIVEN_UP: &str = "the helper that reads it has made no progress and is killed";

/// Sends requests that touch one disk. Keeps a helper only while it hangs: a free helper costs memory, and a helper that
/// hangs even after its SIGKILL must not be joined by another one at each attempt.
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
    /// The disk does not answer.
    Silent(String),
    /// The request was not sent; this says nothing about the disk.
    NotAsked(String),
}

/// A helper for the requests of one caller. In the end the client keeps the helper only if that hangs.
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
    pub(crate) async fn ask<R: Request>(
        &self,
        request: R,
        within: Duration,
    ) -> Result<R::Reply, NoReply> {
        self.lease(within).await?.ask(request, within).await
    }

    /// Sends a request that takes long, and gives up when it makes no progress for as long as `timeouts` says.
    ///
    /// # Errors
    /// Why there is no reply.
    pub(crate) async fn ask_at_length<R: Request>(
        &self,
        request: R,
        timeouts: Timeouts,
        progress: &Cell<Progress>,
    ) -> Result<R::Reply, NoReply> {
        let mut lease = self.lease(timeouts.progress).await?;
        let helper = lease.helper()?;
        if !helper.is_free(ENDS_WITHIN).await {
            return Err(NoReply::Silent(HANGS.into()));
        }
        let reply = helper.ask_at_length(request, timeouts, progress).await;
        reply.map_err(NoReply::from)
    }

    /// Reserves the client for several requests, which one helper carries out. Waits at most `within` for its turn.
    ///
    /// # Errors
    /// Other requests are still under way.
    pub(crate) async fn lease(&self, within: Duration) -> Result<Lease<'_>, NoReply> {
        let busy = || NoReply::NotAsked("the request before has no reply yet".into());
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
    pub(crate) async fn ask<R: Request>(
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
