//! Who asks a disk that may hang: a helper, and never another one while the last hangs there.

use crate::act::context::SharedContext;
use crate::act::helper::{Ask, Far, Helper, Patience, Reply, Trouble};
use crate::act::runtime::request::{RuntimeOperation, RuntimeReply, RuntimeRequest};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A helper that was killed goes within this time, or it hangs.
const GOES_WITHIN: Duration = Duration::from_secs(1);
const HANGS: &str = "the helper that asked it last is killed and still hangs in the system";
const GIVEN_UP: &str = "the helper that asked it has waited in vain";

/// Asks one disk, one question after the other.
pub(crate) struct HelperClient {
    /// Here only while its last question hangs.
    hanging: RefCell<Option<Helper>>,
    turn: Semaphore,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The disk is silent.
    Silent(String),
    /// Anything else: says nothing about the disk.
    Other(String),
}

/// The helper of one question; stays with its envoy if it hangs.
struct Sent<'a> {
    envoy: &'a HelperClient,
    helper: Option<Helper>,
    _turn: SemaphorePermit<'a>,
}

impl Default for HelperClient {
    fn default() -> Self {
        Self {
            hanging: RefCell::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl HelperClient {
    /// Asks about the runtimes of `service`, for as long as `patience` allows.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn ask(
        &self,
        shared: &SharedContext,
        service: &str,
        operation: RuntimeOperation,
        patience: Patience,
        far: &Cell<Far>,
    ) -> Result<RuntimeReply, NoAnswer> {
        let question = Ask::Runtime(RuntimeRequest {
            state: shared.state.clone(),
            service: service.to_owned(),
            operation,
        });
        match self.question(shared, question, patience, far).await? {
            Reply::Runtime(said) => Ok(said),
            Reply::Failed(cause) => Err(NoAnswer::Other(cause)),
            Reply::Sqlite(_) | Reply::Addresses(_) | Reply::Text(_) | Reply::Variables(_) => {
                Err(NoAnswer::Other("the helper answered something else".into()))
            }
        }
    }

    /// Asks anything, for as long as `patience` allows.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn question(
        &self,
        shared: &SharedContext,
        question: Ask,
        patience: Patience,
        far: &Cell<Far>,
    ) -> Result<Reply, NoAnswer> {
        let mut sent = self.send(shared, patience.moving).await?;
        let Some(helper) = &mut sent.helper else {
            return Err(NoAnswer::Other("there is no helper".into()));
        };
        if !helper.is_free(GOES_WITHIN).await {
            return Err(NoAnswer::Silent(HANGS.into()));
        }
        let answer = helper.ask_at_length(question, patience, far).await;
        answer.map_err(|trouble| match trouble {
            Trouble::Unasked(cause) => NoAnswer::Other(cause),
            Trouble::Silent => NoAnswer::Silent(GIVEN_UP.into()),
        })
    }

    async fn send(&self, shared: &SharedContext, within: Duration) -> Result<Sent<'_>, NoAnswer> {
        let busy = || NoAnswer::Other("the question before is not answered yet".into());
        let turn = tokio::time::timeout(within, self.turn.acquire()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let begin = || Helper::new(shared.spawner.clone(), shared.program.clone());
        let helper = self.hanging.take().unwrap_or_else(begin);
        Ok(Sent {
            envoy: self,
            helper: Some(helper),
            _turn: turn,
        })
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take().filter(Helper::may_hang) {
            self.envoy.hanging.replace(Some(helper));
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Silent(why) | Self::Other(why)) = self;
        out.write_str(why)
    }
}
