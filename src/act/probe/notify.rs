//! `notify`: the service itself reports that it is alive, with WATCHDOG=1 (sd_notify(3)).

use super::{Answer, Phase, ProtocolProbe, no_verdict, within};
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
    gap: Cell<Gap>,
}

/// When stayd may have missed messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gap {
    /// How often that began or ended.
    changes: u64,
    is_open: bool,
    /// Why it began the last time.
    why: &'static str,
}

impl Heartbeat {
    /// Counts a WATCHDOG=1 message.
    pub fn beat(&self) {
        self.0.count.set(self.0.count.get() + 1);
        self.0.arrived.notify_waiters();
    }

    /// Notes that stayd may miss messages until the returned value is dropped. An attempt during which that is so takes silence
    /// for no verdict. `why` is a sentence.
    #[must_use]
    pub(crate) fn open_gap(&self, why: &'static str) -> OpenGap {
        self.change_gap(Some(why));
        OpenGap(self.clone())
    }

    fn change_gap(&self, begins: Option<&'static str>) {
        let gap = self.0.gap.get();
        self.0.gap.set(Gap {
            changes: gap.changes + 1,
            is_open: begins.is_some(),
            why: begins.unwrap_or(gap.why),
        });
    }

    async fn next(&self) {
        self.0.arrived.notified().await;
    }
}

/// Ends the gap when it is dropped.
#[derive(Debug)]
pub(crate) struct OpenGap(Heartbeat);

impl Drop for OpenGap {
    fn drop(&mut self) {
        self.0.change_gap(None);
    }
}

/// Alive if a message came since the start of the last attempt, or comes before the deadline of this one.
#[derive(Debug)]
pub(super) struct NotifyProbe {
    heartbeat: Heartbeat,
    /// The count when the last attempt started.
    seen: u64,
    /// The gap at that time.
    gap: Gap,
}

impl NotifyProbe {
    pub(super) fn new(heartbeat: Heartbeat) -> Self {
        let (seen, gap) = (heartbeat.0.count.get(), heartbeat.0.gap.get());
        Self {
            heartbeat,
            seen,
            gap,
        }
    }
}

impl ProtocolProbe for NotifyProbe {
    async fn ask(&mut self, timeout: Duration) -> Answer {
        let seen_before = self.seen;
        let gap_before = std::mem::replace(&mut self.gap, self.heartbeat.0.gap.get());
        self.seen = self.heartbeat.0.count.get();
        if self.seen != seen_before {
            return Answer::Alive;
        }
        let phase = Phase::new("next WATCHDOG=1 from the service");
        let answer = within(timeout, &phase, async {
            self.heartbeat.next().await;
            Answer::Alive
        })
        .await;
        let gap = self.heartbeat.0.gap.get();
        let was_open = gap.is_open || gap != gap_before;
        match answer {
            Answer::Dead { .. } if was_open => no_verdict(format!("cannot ask: {}", gap.why)),
            answer => answer,
        }
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

    #[tokio::test(flavor = "current_thread")]
    async fn silence_is_no_verdict_while_messages_may_be_missed() {
        let heartbeat = Heartbeat::default();
        let mut probe = NotifyProbe::new(heartbeat.clone());
        let unheard = Answer::NoVerdict {
            why: "cannot ask: it is loud".into(),
        };
        let gap = heartbeat.open_gap("it is loud");
        assert_eq!(probe.ask(SHORT).await, unheard, "it began before");
        assert_eq!(probe.ask(SHORT).await, unheard, "it lasts");
        heartbeat.beat();
        assert_eq!(probe.ask(SHORT).await, Answer::Alive);
        drop(gap);
        assert_eq!(probe.ask(SHORT).await, unheard, "it has ended meanwhile");
        let silent = probe.ask(SHORT).await;
        assert!(matches!(silent, Answer::Dead { .. }), "{silent:?}");
    }
}
