//! Preflight checks as requests to a helper, because each may hang with the disk that it reads.

use super::{ProgramLookup, check, needs};
use crate::act::helper::{HelperRequest, Reporter};
use crate::config::Prerequisite;
use serde::{Deserialize, Serialize};

/// Asks why a program cannot start. The reply is a sentence; none if it can start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExplainStartFailure(pub(crate) ProgramLookup);

impl HelperRequest for ExplainStartFailure {
    const NAME: &'static str = "explain-start-failure";
    type Reply = Option<String>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<String>, String> {
        Ok(check(&self.0).err().map(|obstacle| obstacle.cause))
    }
}

/// Asks whether something that a service needs exists. The reply says what is wrong with it; none if nothing is.
impl HelperRequest for Prerequisite {
    const NAME: &'static str = "need";
    type Reply = Option<String>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<String>, String> {
        Ok(needs::check(&self))
    }
}
