//! `notify`: the service itself reports that it is alive, with WATCHDOG=1 (sd_notify(3)).

use super::{Answer, Phase, ProtocolProbe, within};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Counts a service's WATCHDOG=1 messages. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Rc<HeartbeatState>);

#[derive(Debug, Default)]
struct HeartbeatState {
    count: Cell<u64>,
    arrived: tokio::sync::Notify,
}

impl Heartbeat {
    /// Counts a WATCHDOG=1 message.
    pub fn beat(&self) {
        self.0.count.set(self.0.count.get() + 1);
        self.0.arrived.notify_waiters();
    }

    async fn next(&self) {
        self.0.arrived.notified().await;
    }
}

/// Alive if a message came since the start of the last attempt, or comes before the deadline of this one.
#[derive(Debug)]
pub(super) struct NotifyProbe {
    heartbeat: Heartbeat,
    /// The count when the last attempt started.
    seen: u64,
}

impl NotifyProbe {
    pub(super) fn new(heartbeat: Heartbeat) -> Self {
        let seen = heartbeat.0.count.get();
        Self { heartbeat, seen }
    }
}

impl ProtocolProbe for NotifyProbe {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let seen_before = self.seen;
        self.seen = self.heartbeat.0.count.get();
        if self.seen != seen_before {
            return Answer::Alive;
        }
        let phase = Phase::new("next WATCHDOG=1 from the service");
        within(timeout, &phase, async {
            self.heartbeat.next().await;
            Answer::Alive
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Heartbeat, NotifyProbe, ProtocolProbe};
    use std::time::Duration;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test(flavor = "current_thread")]
    async fn alive_with_a_message_since_the_last_attempt_and_dead_without() {
        let heartbeat = Heartbeat::default();
        let mut probe = NotifyProbe::new(heartbeat.clone());
        heartbeat.beat();
        assert_eq!(probe.ask(SHORT).await, Answer::Alive);
        assert_eq!(
            probe.ask(SHORT).await,
            Answer::Dead {
                how: "timed out after 20 ms waiting for the next WATCHDOG=1 from the service"
                    .into()
            }
        );
        let (answer, ()) = tokio::join!(probe.ask(Duration::from_secs(5)), async {
            heartbeat.beat();
        });
        assert_eq!(answer, Answer::Alive);
    }
}
