//! The state that the probes of one instance keep between their attempts.

use super::judged_listeners::JudgedListeners;
use super::{Heartbeat, Prober};
use crate::act::tree::Usage;
use crate::decide::clock::Instant;
use crate::decide::event::Check;
use crate::sys::process::Host;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// The probes of one instance.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    liveness: CheckState,
    readiness: CheckState,
    /// Counts the service's WATCHDOG=1 messages.
    pub(crate) heartbeat: Heartbeat,
    /// The instance is to stop and gets no question any more.
    are_over: Cell<bool>,
    over: Notify,
    judged_listeners: JudgedListeners,
}

/// What one check keeps. Liveness and readiness measure apart: an answer to one of them says nothing about the window in
/// which the other was silent.
#[derive(Debug, Default)]
struct CheckState {
    prober: ProberSlot,
    baseline: Cell<Option<Baseline>>,
}

/// Use of CPU and I/O at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline {
    pub(crate) at: Instant,
    pub(crate) tree: Usage,
    pub(crate) host: Host,
}

impl Checks {
    /// The prober of a check.
    pub(crate) const fn prober(&self, check: Check) -> &ProberSlot {
        &self.state(check).prober
    }

    /// What the tree and the host had used when an attempt of this check without a good answer was last measured.
    pub(crate) const fn baseline(&self, check: Check) -> &Cell<Option<Baseline>> {
        &self.state(check).baseline
    }

    const fn state(&self, check: Check) -> &CheckState {
        match check {
            Check::Liveness => &self.liveness,
            Check::Readiness => &self.readiness,
        }
    }

    /// Ends all probes: closes their connections, and abandons the attempts under way. For an instance that is to stop.
    pub(crate) fn end(&self) {
        self.are_over.set(true);
        self.over.notify_waiters();
        for check in [Check::Liveness, Check::Readiness] {
            // A prober that an attempt has taken is dropped by the attempt.
            let _ = self.prober(check).clear();
        }
    }

    /// Returns when the probes have ended.
    pub(crate) async fn ended(&self) {
        let over = self.over.notified();
        if !self.are_over.get() {
            over.await;
        }
    }

    /// The judgments on the listeners that the probes have reached.
    pub(crate) const fn judged_listeners(&self) -> &JudgedListeners {
        &self.judged_listeners
    }
}

/// Holds the prober of one check. An attempt takes the prober, so that there is never a second attempt under way.
#[derive(Debug, Default)]
pub(crate) struct ProberSlot(RefCell<Slot>);

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Taken,
    Ready(Box<Prober>),
}

/// The previous attempt has not returned yet.
#[derive(Debug)]
pub(crate) struct StillTaken;

impl ProberSlot {
    /// Takes the prober for an attempt; none if the caller must create it.
    pub(crate) fn take(&self) -> Result<Option<Box<Prober>>, StillTaken> {
        match self.0.replace(Slot::Taken) {
            Slot::Ready(prober) => Ok(Some(prober)),
            Slot::Empty => Ok(None),
            Slot::Taken => Err(StillTaken),
        }
    }

    /// Puts the prober back after the attempt.
    pub(crate) fn put(&self, prober: Box<Prober>) {
        self.0.replace(Slot::Ready(prober));
    }

    /// Marks the slot as empty, because the prober could not be created. The next attempt tries again.
    pub(crate) fn release(&self) {
        self.0.replace(Slot::Empty);
    }

    /// Drops the prober, which ends its helper; the next attempt creates a new one. Fails while an attempt is under way.
    pub(crate) fn clear(&self) -> Result<(), StillTaken> {
        if matches!(*self.0.borrow(), Slot::Taken) {
            return Err(StillTaken);
        }
        self.release();
        Ok(())
    }
}

/// The last answers of a service's probe, in sentences, for the evidence.
#[derive(Debug, Default)]
pub(crate) struct Transcript(RefCell<VecDeque<String>>);

impl Transcript {
    /// The largest number of answers that are kept.
    pub(crate) const LINES_MAX: usize = 20;

    /// Adds a line.
    pub(crate) fn add(&self, line: String) {
        let mut lines = self.0.borrow_mut();
        if lines.len() == Self::LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// All lines, the newest last.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.borrow().iter().cloned().collect()
    }
}
