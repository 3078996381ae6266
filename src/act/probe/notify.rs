//! `notify`: the service reports by itself, with WATCHDOG=1 (sd_notify(3)).

use super::{Answer, Ask, Stage, within};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Counts a service's WATCHDOG=1 messages; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Rc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    count: Cell<u64>,
    arrived: tokio::sync::Notify,
}

impl Heartbeat {
    /// A WATCHDOG=1 has come.
    pub fn beat(&self) {
        self.0.count.set(self.0.count.get() + 1);
        self.0.arrived.notify_waiters();
    }

    async fn next(&self) {
        self.0.arrived.notified().await;
    }
}

/// Alive when a message came since the last round's start, or comes before the deadline of this one.
#[derive(Debug)]
pub(super) struct Notify {
    heartbeat: Heartbeat,
    /// The count when the last round started.
    seen: u64,
}

impl Notify {
    pub(super) fn new(heartbeat: Heartbeat) -> Self {
        let seen = heartbeat.0.count.get();
        Self { heartbeat, seen }
    }
}

impl Ask for Notify {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let seen_before = self.seen;
        self.seen = self.heartbeat.0.count.get();
        if self.seen != seen_before {
            return Answer::Alive;
        }
        let stage = Stage::new("WATCHDOG=1 from the service");
        within(timeout, &stage, async {
            self.heartbeat.next().await;
            Answer::Alive
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Ask, Heartbeat, Notify};
    use std::time::Duration;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test(flavor = "current_thread")]
    async fn alive_with_a_message_since_the_last_round_and_dead_without() {
        let heartbeat = Heartbeat::default();
        let mut probe = Notify::new(heartbeat.clone());
        heartbeat.beat();
        assert_eq!(probe.ask(SHORT).await, Answer::Alive);
        assert_eq!(
            probe.ask(SHORT).await,
            Answer::Dead {
                how: "no WATCHDOG=1 from the service within 20 ms".into()
            }
        );
        let (answer, ()) = tokio::join!(probe.ask(Duration::from_secs(5)), async {
            heartbeat.beat();
        });
        assert_eq!(answer, Answer::Alive);
    }
}
