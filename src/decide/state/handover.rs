//! The state of one service that goes over to a new version of stayd in an in-place upgrade, in the form in which it is
//! written down.
//!
//! A service goes over only in a settled state: running, or down. Instants are of one clock that the new version
//! continues. What the new version finds in the kernel wins over all of this. Every change of these types raises
//! `FORMAT` in `run/upgrade`.

use super::super::clock::{Duration, Instant};
use super::super::event::{Exit, Life, Process};
use super::super::policy::Policy;
use super::super::runtime::RuntimeHistory;
use super::super::snapshot::Class;
use super::monitored::{Monitored, ProbeSchedule};
use super::{Down, Hold, Service, State, StepContext};

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
    /// When the service came into its state.
    pub since: Instant,
    /// Instances after the first.
    pub restarts: u32,
    /// Why it is in its state.
    pub reason: String,
    /// How and when the last instance ended.
    pub last_exit: Option<(Exit, Instant)>,
    /// When instances ended, since the last stable one.
    pub ended: Vec<Instant>,
    /// It gave up, and no stable instance has run since.
    pub gave_up: bool,
    /// Consecutive refused starts.
    pub refusals: u32,
    /// What it runs from, and how that has gone.
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
}

impl Service {
    /// What goes over of it; `None` while something is under way that the upgrade would interrupt.
    #[must_use]
    pub fn handover(&self) -> Option<StateHandover> {
        let state = match &self.state {
            State::Down(Down::Stopped) => SettledState::Stopped,
            State::Down(Down::Backoff { until }) => SettledState::Backoff(*until),
            State::Down(Down::Parked { until }) => SettledState::Parked(*until),
            State::Down(Down::Blocked { until }) => SettledState::Blocked(*until),
            State::Up(monitored) => SettledState::Up(monitored.handover()),
            State::Attached(_) => SettledState::Attached,
            State::Unconfigured
            | State::Scanning { .. }
            | State::Preparing { .. }
            | State::Spawning
            | State::KillPending { .. }
            | State::Ending(_) => return None,
        };
        Some(StateHandover {
            life: self.life,
            number_is_free: self.number_is_free,
            wanted_up: self.wanted_up,
            hold: self.hold.clone().map(|hold| (hold.until, hold.reason)),
            adopted: self.adopted,
            since: self.since,
            restarts: self.restarts,
            reason: self.reason.clone(),
            last_exit: self.last_exit,
            ended: self.history.ends().to_vec(),
            gave_up: self.history.is_parked(),
            refusals: self.refusals,
            runtimes: self.runtimes.clone(),
            state,
        })
    }

    /// Takes over what the version before knew, and returns the state in which it left the service.
    pub(super) fn resume_handover(&mut self, handover: StateHandover) -> SettledState {
        self.life = self.life.max(handover.life);
        self.number_is_free = handover.number_is_free && self.life == handover.life;
        self.wanted_up = handover.wanted_up;
        self.hold = handover.hold.map(|(until, reason)| Hold { until, reason });
        self.since = handover.since;
        self.restarts = handover.restarts;
        self.reason = handover.reason;
        self.last_exit = handover.last_exit;
        self.history.resume(handover.ended, handover.gave_up);
        self.refusals = handover.refusals;
        self.adopted = handover.adopted;
        self.runtimes = handover.runtimes;
        handover.state
    }

    /// No process of the service runs: go back into the state in which the version before left it.
    pub(super) fn resume_settled(&mut self, settled: SettledState, ctx: &mut StepContext<'_>) {
        let until = |until: Instant| until.max(ctx.now);
        let down = match settled {
            SettledState::Stopped => Down::Stopped,
            SettledState::Backoff(at) => Down::Backoff { until: until(at) },
            SettledState::Parked(at) => Down::Parked { until: until(at) },
            SettledState::Blocked(at) => Down::Blocked { until: until(at) },
            // The preparation finds the process that holds the port again.
            SettledState::Attached | SettledState::Up(_) => return self.begin_start(ctx),
        };
        let since = self.since;
        self.become_down(down, ctx);
        self.since = since;
    }
}

impl Monitored {
    fn handover(&self) -> MonitoredHandover {
        MonitoredHandover {
            spawned_at: self.spawned_at,
            startup_until: self.startup_until,
            ready_at: self.ready_at,
            degraded_since: self.degraded_since,
            degradation_reported: self.degradation_reported,
            keeps_reason: self.keeps_reason,
            liveness: self.liveness.handover(),
            readiness: self.readiness.handover(),
        }
    }

    /// Continues a handed-over instance. The count of dead attempts begins anew, because no probe ran meanwhile.
    pub(super) fn resume(
        main: Process,
        handover: MonitoredHandover,
        now: Instant,
        policy: &Policy,
    ) -> Self {
        let mut monitored = Self::new(Some(main), now, policy);
        monitored.spawned_at = handover.spawned_at;
        monitored.startup_until = handover.startup_until;
        monitored.ready_at = handover.ready_at;
        monitored.degraded_since = handover.degraded_since;
        monitored.degradation_reported = handover.degradation_reported;
        monitored.keeps_reason = handover.keeps_reason;
        monitored.liveness.resume(handover.liveness);
        monitored.readiness.resume(handover.readiness);
        monitored
    }
}

impl ProbeSchedule {
    const fn handover(&self) -> ProbeHandover {
        ProbeHandover {
            class: self.class,
            latency: self.latency,
            last_ok_at: self.last_ok_at,
        }
    }

    fn resume(&mut self, handover: ProbeHandover) {
        self.class = handover.class;
        self.latency = handover.latency;
        self.last_ok_at = handover.last_ok_at;
    }
}
