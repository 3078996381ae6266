//! Hands the state of a service over to a new version of stayd, and resumes the state that the version before handed over.

use super::super::clock::Instant;
use super::super::event::Process;
use super::super::handover::{MonitoredHandover, ProbeHandover, SettledState, StateHandover};
use super::super::policy::Policy;
use super::monitored::{Monitored, ProbeSchedule};
use super::{Down, Hold, Service, State, StepContext};

impl Service {
    /// The state to hand over; `None` while something is under way that the upgrade would interrupt.
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
            reason: self.reason.lasting().to_owned(),
            reason_is_present: self.reason.is_present(),
            reason_is_failure: Some(self.reason.is_failure()),
            last_exit: self.last_exit,
            ended: self.history.ends().to_vec(),
            gave_up: self.history.is_parked(),
            refusals: self.refusals,
            runtimes: self.runtimes.clone(),
            state,
        })
    }

    /// Resumes the state that the version before handed over, and returns the settled state of the service.
    pub(super) fn resume_handover(&mut self, handover: StateHandover) -> SettledState {
        self.life = self.life.max(handover.life);
        self.number_is_free = handover.number_is_free && self.life == handover.life;
        self.wanted_up = handover.wanted_up;
        self.hold = handover.hold.map(|(until, reason)| Hold { until, reason });
        self.since = handover.since;
        self.restarts = handover.restarts;
        self.reason.resume(
            handover.reason,
            handover.reason_is_present,
            handover.reason_is_failure.unwrap_or(false),
        );
        self.last_exit = handover.last_exit;
        self.history.resume(handover.ended, handover.gave_up);
        self.refusals = handover.refusals;
        self.adopted = handover.adopted;
        self.runtimes = handover.runtimes;
        handover.state
    }

    /// Returns to the handed-over state, because no process of the service runs.
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
        monitored.waited_for_until = handover.startup_until;
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
            answers: self.answers,
            unjudged: self.unjudged,
        }
    }

    fn resume(&mut self, handover: ProbeHandover) {
        self.class = handover.class;
        self.latency = handover.latency;
        self.last_ok_at = handover.last_ok_at;
        self.answers = handover.answers;
        self.unjudged = handover.unjudged;
    }
}
