//! The state of one service that is handed over to a new version of stayd in an in-place upgrade, in its serialized form.
//!
//! A service is handed over only in a settled state: running, or down. The new version continues the clock of the instants.
//! The state of the kernel overrides all of this. Every change of these types raises `FORMAT` in `run/upgrade`.

use super::clock::{Duration, Instant};
use super::runtime::RuntimeHistory;
use super::snapshot::Class;
use super::terms::{Exit, Life};
use super::unjudged::UnjudgedAttempts;

/// What is known of one service besides its claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct StateHandover {
    /// The present instance, or the last one.
    pub life: Life,
    /// No process ran under that number.
    pub number_is_free: bool,
    /// Whether the service is wanted up.
    pub wanted_up: bool,
    /// No kills until then, and why.
    pub hold: Option<(Instant, String)>,
    /// A stayd in another process started the instance.
    pub adopted: bool,
    /// When the service entered its state.
    pub since: Instant,
    /// Instances after the first.
    pub restarts: u32,
    /// Why it is in its state.
    pub reason: String,
    /// That sentence is true only in this state.
    pub reason_is_present: bool,
    /// Whether it is about a failure that has happened; `None` from a version that does not know this member.
    pub reason_is_failure: Option<bool>,
    /// How and when the last instance ended.
    pub last_exit: Option<(Exit, Instant)>,
    /// When instances ended, since the last stable one.
    pub ended: Vec<Instant>,
    /// It gave up, and no stable instance has run since.
    pub gave_up: bool,
    /// Consecutive refused starts.
    pub refusals: u32,
    /// The runtime it runs from, and whether that has become ready.
    pub runtimes: RuntimeHistory,
    /// The state it is in.
    pub state: SettledState,
}

/// A state in which nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub enum SettledState {
    /// Down, and does not start by itself.
    Stopped,
    /// Down until then: the wait between two instances.
    Backoff(Instant),
    /// Down until then: it gave up.
    Parked(Instant),
    /// Down until then: the start was refused.
    Blocked(Instant),
    /// A foreign process is monitored.
    Attached,
    /// A main process runs.
    Up(MonitoredHandover),
}

/// What is known of a running instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct MonitoredHandover {
    /// When its exec was reported.
    pub spawned_at: Instant,
    /// The end of its startup budget; `None` once that is over.
    pub startup_until: Option<Instant>,
    /// Since when it is ready.
    pub ready_at: Option<Instant>,
    /// Since when it answers with errors.
    pub degraded_since: Option<Instant>,
    /// That is recorded as an incident.
    pub degradation_reported: bool,
    /// Its reason stays until something new happens.
    pub keeps_reason: bool,
    /// The last result of the watchdog's probe.
    pub liveness: ProbeHandover,
    /// The last result of the readiness probe.
    pub readiness: ProbeHandover,
}

/// The last result of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct ProbeHandover {
    /// The class of the last attempt.
    pub class: Option<Class>,
    /// How long it took.
    pub latency: Option<Duration>,
    /// When an answer last came.
    pub last_ok_at: Option<Instant>,
    /// The last attempt that gave a verdict had an answer.
    pub answers: bool,
    /// The attempts since the last verdict.
    pub unjudged: UnjudgedAttempts,
}
