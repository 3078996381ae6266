//! What the machine shows of itself: cheap copies, never references into it.

use super::clock::{Duration, Instant};
use super::event::{Check, Exit, Life, Process};
use super::runtime::RuntimeId;

/// A service's state, as the contract names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Down, and meant to be.
    Stopped,
    /// For a dependency.
    Waiting,
    /// Conflict, configuration, permission.
    Blocked,
    /// Copying its runtime.
    Materializing,
    /// Preparing, or running and not ready yet.
    Starting,
    /// Ready, and answering as far as is known.
    Running,
    /// Its probe has never once been answered; it kills nobody.
    Unproven,
    /// Some dead rounds, not enough.
    Suspect,
    /// KillPending: evidence is taken, the kill is under way.
    Wedged,
    /// Ending on a wish.
    Stopping,
    /// Between lives.
    Backoff,
    /// Gave up; retries slowly.
    Parked,
    /// SIGKILL does not end it.
    Unkillable,
    /// Somebody else's process, probed and reported.
    Attached,
    /// Never to come back by itself.
    Destroyed,
}

impl Phase {
    /// The contract's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
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
            Self::Destroyed => "destroyed",
        }
    }
}

/// How a round was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A good answer.
    Alive,
    /// A well-formed answer that is an error.
    Degraded,
    /// Requested, and no answer.
    Dead,
    /// We could not ask.
    NoVerdict,
    /// Asleep, traced, frozen, held: says nothing and breaks the row.
    Void,
}

impl Class {
    /// The contract's word for it.
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

/// Last news of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeView {
    /// Which.
    pub check: Check,
    /// How its last round was judged; none before the first.
    pub class: Option<Class>,
    /// How long that took.
    pub latency: Option<Duration>,
    /// Dead rounds in a row.
    pub failures: u32,
    /// When it was last alive or degraded.
    pub last_ok_at: Option<Instant>,
}

/// A service as shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// State.
    pub phase: Phase,
    /// Whether it is wanted up.
    pub wanted_up: bool,
    /// Answering, as far as is known, and not degraded for ten minutes.
    pub healthy: bool,
    /// Its main process, when there is one.
    pub main: Option<Process>,
    /// That main process was spawned by an earlier stayd.
    pub adopted: bool,
    /// It is somebody else's process that is watched.
    pub attached: bool,
    /// The runtime that the current or last life began with.
    pub runtime: Option<RuntimeId>,
    /// The current or last life.
    pub life: Life,
    /// Since when it is in this state.
    pub since: Instant,
    /// Lives after the first.
    pub restarts: u32,
    /// Why, in a sentence.
    pub reason: String,
    /// How the last life ended, and when.
    pub last_exit: Option<(Exit, Instant)>,
    /// Its probes.
    pub probes: Vec<ProbeView>,
    /// Until when no kill is allowed, and why.
    pub hold: Option<(Instant, String)>,
}
