//! Preflight checks as requests to the helper: each may hang with the disk that it touches.

use super::{ProgramLookup, check, needs};
use crate::act::helper::{Reporter, Request};
use crate::config::Prerequisite;
use serde::{Deserialize, Serialize};

/// Asks why a program cannot start. The reply is a sentence; none: nothing stands in the way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExplainStartFailure(pub(crate) ProgramLookup);

impl Request for ExplainStartFailure {
    const NAME: &'static str = "explain-start-failure";
    type Reply = Option<String>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<String>, String> {
        Ok(check(&self.0).err().map(|obstacle| obstacle.cause))
    }
}

/// Asks whether something that a service needs is there. The reply says what is wrong with it; none: nothing.
impl Request for Prerequisite {
    const NAME: &'static str = "need";
    type Reply = Option<String>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<String>, String> {
        Ok(needs::check(&self))
    }
}
