//! What the person asked for, as far as decisions depend on it: numbers and choices, no paths.

use super::clock::Duration;

/// When an ended service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Whatever the exit was.
    Always,
    /// After a failure: a status other than 0, a signal, a watchdog kill.
    OnFailure,
    /// Not at all.
    Never,
}

/// What a main process stopped by SIGSTOP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoppedIs {
    /// It serves nobody: each round is dead, whatever a kept connection says.
    Wedged,
    /// Somebody holds it on purpose: each round is void.
    Held,
}

/// Waiting times between restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// The first wait.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// A life that was ready for this long resets the row; the next restart is immediate.
    pub stable_after: Duration,
}

/// How many failed lives are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GiveUp {
    /// This many ended lives …
    pub exits: u32,
    /// … within this time park the service.
    pub within: Duration,
}

/// What a wedge leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// SIGKILL and respawn.
    Kill,
    /// Record what would have been done.
    Shadow,
}

/// The liveness probe's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watchdog {
    /// From the start of one round to the start of the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// This many dead rounds in a row are a wedge.
    pub failures: u32,
    /// How much longer a tree that is visibly working may take.
    pub busy_grace: Duration,
    /// Whether degraded rounds count as dead (`degraded = "kill"`).
    pub degraded_kills: bool,
    /// Time between the `first` signal and the SIGKILL, if a first signal is set.
    pub first_grace: Option<Duration>,
    /// Kill or only record.
    pub mode: Mode,
    /// Bound of the extra evidence command; zero when there is none.
    pub evidence_extra: Duration,
    /// The service reports by itself (`notify`); rounds are not asked but awaited.
    pub told_by_service: bool,
}

impl Watchdog {
    /// From start to start: the interval, or the timeout where that is longer.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.interval.max(self.timeout)
    }
}

/// What is done with a process of ours that an earlier stayd has left running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnLeftover {
    /// It goes on.
    Adopt,
    /// It is ended in order, and a new life begins.
    Replace,
}

/// What is done with somebody else's process on the service's port. It is never signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnStranger {
    /// It is named; the service is blocked until the port is free.
    Report,
    /// It is watched as if it were ours.
    Attach,
}

/// One service's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// When to start again.
    pub restart: Restart,
    /// How long to wait before that.
    pub backoff: Backoff,
    /// When to park.
    pub give_up: GiveUp,
    /// From the stop signal to the SIGKILL.
    pub stop_grace: Duration,
    /// The budget until ready.
    pub startup: Duration,
    /// What an earlier stayd has left.
    pub leftover: OnLeftover,
    /// Who else may hold its port.
    pub stranger: OnStranger,
    /// Each life begins from a materialized runtime.
    pub has_runtime: bool,
    /// Meaning of SIGSTOP.
    pub stopped_is: StoppedIs,
    /// The liveness probe, if there is one.
    pub watchdog: Option<Watchdog>,
    /// Whether readiness has a probe of its own.
    pub ready_probe: bool,
    /// Whether the service sends READY=1 itself (`sd_notify`); readiness waits for it then.
    pub notifies_ready: bool,
}
