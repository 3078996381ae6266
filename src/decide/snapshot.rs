//! Snapshots of a service for users: copies, never references into the machine.

use super::clock::{Duration, Instant};
use super::process::Process;
use super::runtime::RuntimeId;
use super::terms::{Check, Exit, Life};

/// The state of a service as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Down, and meant to be.
    Stopped,
    /// Cannot start: conflict, configuration, permission. It tries again.
    Blocked,
    /// Reading its runtime's source, and copying it if it is new.
    Materializing,
    /// Preparing, or running and not ready yet.
    Starting,
    /// Ready, and answering as far as is known.
    Running,
    /// Its probe has never had an answer, so the watchdog kills nothing.
    Unproven,
    /// Some consecutive dead attempts, not yet enough.
    Suspect,
    /// A kill is pending or under way.
    Wedged,
    /// Ending on a request.
    Stopping,
    /// Waiting between two instances.
    Backoff,
    /// Gave up; tries again slowly.
    Parked,
    /// SIGKILL does not end it.
    Unkillable,
    /// A foreign process holds its port and is probed and reported.
    Attached,
}

impl Phase {
    /// Its name in JSON and for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Blocked => "blocked",
            Self::Materializing => "materializing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Unproven => "unproven",
            Self::Suspect => "suspect",
            Self::Wedged => "wedged",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Parked => "parked",
            Self::Unkillable => "unkillable",
            Self::Attached => "attached",
        }
    }
}

/// How one probe attempt was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub enum Class {
    /// A good answer.
    Alive,
    /// A well-formed answer that is an error.
    Degraded,
    /// Asked, and no answer.
    Dead,
    /// stayd could not ask.
    NoVerdict,
    /// Asleep, traced, frozen, held: means nothing, and resets the consecutive failures.
    Void,
}

impl Class {
    /// Its name in JSON and for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Degraded => "degraded",
            Self::Dead => "dead",
            Self::NoVerdict => "no-verdict",
            Self::Void => "void",
        }
    }
}

/// The last result of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeView {
    /// Which probe.
    pub check: Check,
    /// How its last attempt was judged; `None` before the first.
    pub class: Option<Class>,
    /// How long that took.
    pub latency: Option<Duration>,
    /// Consecutive dead attempts.
    pub failures: u32,
    /// When it was last alive or degraded.
    pub last_ok_at: Option<Instant>,
}

/// A service as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Its state.
    pub phase: Phase,
    /// Whether it is wanted up.
    pub wanted_up: bool,
    /// Answering, and not degraded for ten minutes; or ended with status 0 as its restart policy wants.
    pub healthy: bool,
    /// Its main process, when there is one.
    pub main: Option<Process>,
    /// An earlier stayd spawned that main process.
    pub adopted: bool,
    /// The main process is a foreign process that is monitored.
    pub attached: bool,
    /// The runtime that the current or last instance started from.
    pub runtime: Option<RuntimeId>,
    /// The number of the current or last instance.
    pub life: Life,
    /// Since when it is in this state.
    pub since: Instant,
    /// Instances after the first.
    pub restarts: u32,
    /// Why it is in this state, in a sentence.
    pub reason: String,
    /// The reason is the failure of an earlier instance, and another one is up.
    pub reason_is_past: bool,
    /// How the last instance ended, and when.
    pub last_exit: Option<(Exit, Instant)>,
    /// Its probes.
    pub probes: Vec<ProbeView>,
    /// Until when no kill is allowed, and why.
    pub hold: Option<(Instant, String)>,
}
