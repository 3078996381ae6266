//! The parts that a daemon is made of.

use super::Options;
use super::clock::Clock;
use super::signals::Signals;
use super::stall::StallDetector;
use super::state_lock::StateLock;
use super::status::StatusSource;
use crate::act::executor::Executor;
use crate::act::journal::{Journal, PersistedStates};
use crate::act::notify::supervisor::SupervisorNotifications;
use crate::config::Config;
use crate::decide::event::Event;
use crate::sys::reaper::Reaped;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The parts of a daemon, made by `setup`.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) status: StatusSource,
    pub(super) signals: Signals,
    pub(super) notifications: SupervisorNotifications,
    pub(super) stall: Arc<StallDetector>,
    pub(super) clock: Clock,
    pub(super) executor: Executor,
    pub(super) journal: Journal,
    /// What the journal has on disk about each service.
    pub(super) past: PersistedStates,
    pub(super) lock: StateLock,
    pub(super) options: Options,
    /// Outcomes of actions.
    pub(super) events: mpsc::Receiver<Event>,
    /// Processes that the tree killer has reaped.
    pub(super) reaped: mpsc::Receiver<Reaped>,
}
