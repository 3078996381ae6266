//! The rules of one service that decisions depend on: numbers and choices from the configuration, no paths.

use super::clock::Duration;

/// When an ended service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// After every exit.
    Always,
    /// After a failure: a status other than 0, a signal, a watchdog kill.
    OnFailure,
    /// Not at all.
    Never,
}

/// What a main process stopped by SIGSTOP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoppedIs {
    /// The service does not answer: each attempt is dead, whatever a kept connection says.
    Wedged,
    /// A user holds it on purpose: each attempt is void.
    Held,
}

/// Waiting times between restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// The first wait.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// An instance that was ready for this long resets the history; the next restart is immediate.
    pub stable_after: Duration,
}

/// How many ended instances are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GiveUp {
    /// This many ended instances …
    pub exits: u32,
    /// … within this time park the service.
    pub within: Duration,
}

/// What follows a wedge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// SIGKILL and respawn.
    Kill,
    /// Record what would have been done.
    Shadow,
}

/// The rules of the liveness probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watchdog {
    /// From the start of one attempt to the start of the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// This many consecutive dead attempts are a wedge.
    pub failures: u32,
    /// How much longer the process tree may take while it is busy.
    pub busy_grace: Duration,
    /// Whether degraded attempts count as dead (`degraded = "kill"`).
    pub degraded_kills: bool,
    /// Time between the `first` signal and the SIGKILL, if a first signal is set.
    pub first_grace: Option<Duration>,
    /// Kill or only record.
    pub mode: Mode,
    /// Bound of the extra evidence command; zero when there is none.
    pub evidence_extra: Duration,
}

impl Watchdog {
    /// From start to start: the interval, or the timeout where that is longer.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.interval.max(self.timeout)
    }
}

/// What to do with an instance that an earlier stayd left running (`leftover`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnLeftover {
    /// Adopt it.
    Adopt,
    /// End it in order, and start a new instance.
    Replace,
}

/// What to do with a foreign process on the service's port (`stranger`). It is never signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnStranger {
    /// Name it; the service is blocked until the port is free.
    Report,
    /// Monitor it as if it were ours.
    Attach,
}

/// The rules of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// When to start again.
    pub restart: Restart,
    /// How long to wait before that.
    pub backoff: Backoff,
    /// When to give up and park.
    pub give_up: GiveUp,
    /// From the stop signal to the SIGKILL.
    pub stop_grace: Duration,
    /// The budget until ready.
    pub startup: Duration,
    /// The budget until ready with all its extensions.
    pub startup_max: Duration,
    /// What to do with an instance that an earlier stayd left.
    pub leftover: OnLeftover,
    /// What to do with a foreign process on its port.
    pub stranger: OnStranger,
    /// Each instance starts from a materialized runtime.
    pub has_runtime: bool,
    /// What a main process stopped by SIGSTOP means.
    pub stopped_is: StoppedIs,
    /// The liveness probe, if there is one.
    pub watchdog: Option<Watchdog>,
    /// Whether readiness has a probe of its own.
    pub ready_probe: bool,
    /// Whether the service sends READY=1 itself (`sd_notify`); readiness then waits for it.
    pub notifies_ready: bool,
}
