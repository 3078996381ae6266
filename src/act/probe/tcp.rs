//! `tcp://HOST:PORT` and `unix:PATH`: a connection, and nothing more.

use super::dial::Dialer;
use super::{Answer, Ask, Stage, within};
use std::time::Duration;

/// Connects and closes. It proves that somebody listens, not that anybody answers.
#[derive(Debug)]
pub(super) struct Connect(pub(super) Dialer);

impl Ask for Connect {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let stage = Stage::new("connection");
        within(timeout, &stage, async {
            match self.0.dial(&stage).await {
                Ok(_closed_at_once) => Answer::Alive,
                Err(answer) => answer,
            }
        })
        .await
    }
}
