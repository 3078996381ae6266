//! `tcp://HOST:PORT` and `unix:PATH`: connects and asks nothing.

use super::connector::Connector;
use super::{Answer, Phase, ProtocolProbe, within};
use std::time::Duration;

/// Connects and closes. This proves that a process listens, but not that it answers.
#[derive(Debug)]
pub(super) struct ConnectProbe(pub(super) Connector);

impl ProtocolProbe for ConnectProbe {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let phase = Phase::new("connection");
        within(timeout, &phase, async {
            match self.0.connect(&phase).await {
                Ok(_closed_at_once) => Answer::Alive,
                Err(answer) => answer,
            }
        })
        .await
    }
}
