//! Read access for the loop, the API and the fleet: the snapshot, the phase, and predicates on the state of a service.

use super::super::clock::Instant;
use super::super::event::{Check, Process};
use super::super::snapshot::{Class, Phase, ProbeView, Snapshot};
use super::monitored::{DEGRADED_TOLERANCE, Monitored, ProbeSchedule};
use super::{Down, EndingStage, Service, State};

/// What the attempts of a process under an armed watchdog have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedProcess {
    /// When the process began.
    pub began_at: Instant,
    /// When its last answer came.
    pub answered_at: Option<Instant>,
    /// When the first of its consecutive dead attempts ended; `None` if there are none.
    pub dead_since: Option<Instant>,
}

impl Service {
    /// The snapshot at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            phase: self.phase(),
            wanted_up: self.wanted_up,
            healthy: self.is_healthy(now),
            main: self.main(),
            adopted: self.adopted,
            attached: self.is_attached(),
            runtime: self.runtimes.current.clone(),
            life: self.life,
            since: self.since,
            restarts: self.restarts,
            reason: self.shown_reason(),
            reason_is_past: matches!(self.state, State::Up(_)) && self.reason.shows_failure(),
            last_exit: self.last_exit,
            probes: self.probe_views(),
            hold: self
                .hold
                .as_ref()
                .map(|hold| (hold.until, hold.reason.clone())),
        }
    }

    /// The reason for the state. While the process runs on with settings that the configuration has changed since, the
    /// reason names those settings.
    pub(super) fn shown_reason(&self) -> String {
        // The cause of a refused start stays visible while the start is tried again.
        if self.phase() == Phase::Materializing && self.refusals == 0 {
            return "reads its runtime's source, and copies it if it is new".into();
        }
        if self.changed_settings.is_empty() || !matches!(self.state, State::Up(_)) {
            return self.reason.text().to_owned();
        }
        let words: Vec<_> = self
            .changed_settings
            .iter()
            .map(|setting| setting.word())
            .collect();
        format!(
            "{}; it still runs with the former {}: `stayd restart {}` applies the new",
            self.reason.text(),
            words.join(" and "),
            self.description.name
        )
    }

    /// The state as users see it.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Preparing { copying: true, .. } => Phase::Materializing,
            State::Unconfigured
            | State::Scanning { .. }
            | State::Preparing { .. }
            | State::Spawning => Phase::Starting,
            State::Down(Down::Stopped) => Phase::Stopped,
            State::Down(Down::Backoff { .. }) => Phase::Backoff,
            State::Down(Down::Parked { .. }) => Phase::Parked,
            State::Down(Down::Blocked { .. }) => Phase::Blocked,
            State::Up(monitored) | State::Attached(monitored)
                if monitored.startup_until.is_some() =>
            {
                Phase::Starting
            }
            State::Attached(_) => Phase::Attached,
            State::Up(_) if self.policy.watchdog.is_some() && !self.proven => Phase::Unproven,
            State::Up(monitored) if monitored.failures.count() > 0 => Phase::Suspect,
            State::Up(_) => Phase::Running,
            State::KillPending { .. } => Phase::Wedged,
            State::Ending(ending) => match ending.stage {
                EndingStage::Unkillable { .. } => Phase::Unkillable,
                EndingStage::Grace { .. } | EndingStage::Kill if ending.by_watchdog => {
                    Phase::Wedged
                }
                EndingStage::Grace { .. } | EndingStage::Kill => Phase::Stopping,
            },
        }
    }

    /// Whether the recovery scan has reported.
    #[must_use]
    pub const fn is_scanned(&self) -> bool {
        !matches!(self.state, State::Unconfigured | State::Scanning { .. })
    }

    /// Whether it is known to be ready, or unable to become ready, or its startup budget without extensions is over. stayd sends
    /// READY=1 when this holds for every service.
    #[must_use]
    pub fn has_verdict(&self) -> bool {
        match &self.state {
            State::Unconfigured
            | State::Scanning { .. }
            | State::Preparing { .. }
            | State::Spawning => self.last_exit.is_some(),
            State::Up(monitored) | State::Attached(monitored) => {
                monitored.waited_for_until.is_none() || self.last_exit.is_some()
            }
            State::Down(_) | State::KillPending { .. } | State::Ending(_) => true,
        }
    }

    /// Whether stayd can do nothing more to end it: it is down, or SIGKILL has not ended it.
    #[must_use]
    pub const fn is_past_ending(&self) -> bool {
        self.is_down()
            || matches!(
                &self.state,
                State::Ending(ending) if matches!(ending.stage, EndingStage::Unkillable { .. })
            )
    }

    /// Whether its last attempt had an answer, which may have been an error.
    #[must_use]
    pub const fn answers(&self) -> bool {
        matches!(
            self.state.monitored(),
            Some(monitored) if matches!(monitored.liveness.class, Some(Class::Alive | Class::Degraded))
        )
    }

    /// Whether it has no process, and none is being started.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        matches!(self.state, State::Down(_))
    }

    /// The main process, or the foreign process that is monitored; `None` if there is none, or if stayd may not see it.
    #[must_use]
    pub const fn main(&self) -> Option<Process> {
        match &self.state {
            State::Up(monitored)
            | State::Attached(monitored)
            | State::KillPending { monitored, .. } => monitored.main,
            State::Ending(ending) if ending.exit.is_none() => ending.main,
            State::Unconfigured
            | State::Scanning { .. }
            | State::Down(_)
            | State::Preparing { .. }
            | State::Spawning
            | State::Ending(_) => None,
        }
    }

    /// The attempts of a process under an armed watchdog; `None` for every other service.
    #[must_use]
    pub fn under_watch(&self) -> Option<WatchedProcess> {
        self.policy.watchdog?;
        let (State::Up(monitored)
        | State::Attached(monitored)
        | State::KillPending { monitored, .. }) = &self.state
        else {
            return None;
        };
        let is_judged = matches!(self.state, State::KillPending { .. })
            || monitored.startup_until.is_none() && self.is_proven();
        is_judged.then(|| WatchedProcess {
            began_at: monitored.spawned_at,
            answered_at: monitored.liveness.last_ok_at,
            dead_since: monitored.failures.dead_since(),
        })
    }

    /// Ready, answering, and not degraded for ten minutes. Answering means that the last attempt with a verdict had an answer,
    /// and that fewer than `failures` attempts have ended since. A service is also healthy that has ended with status 0 as its
    /// restart policy wants.
    #[must_use]
    pub fn is_healthy(&self, now: Instant) -> bool {
        let Some(monitored) = self.state.monitored() else {
            return self.is_complete && self.wanted_up && self.is_down();
        };
        let long_degraded = monitored
            .degraded_since
            .is_some_and(|since| now.since(since) >= DEGRADED_TOLERANCE);
        let answering = match self.policy.watchdog {
            None => true,
            Some(rules) => {
                let liveness = &monitored.liveness;
                let is_blind = liveness.unjudged.count() >= rules.failures.max(1);
                self.is_proven() && liveness.answers && !is_blind
            }
        };
        monitored.ready_at.is_some() && answering && !long_degraded
    }

    fn probe_views(&self) -> Vec<ProbeView> {
        let (State::Up(monitored)
        | State::Attached(monitored)
        | State::KillPending { monitored, .. }) = &self.state
        else {
            return Vec::new();
        };
        let mut views = Vec::new();
        if self.policy.watchdog.is_some() {
            views.push(probe_view(Check::Liveness, &monitored.liveness, monitored));
        }
        if self.policy.ready_probe {
            views.push(probe_view(
                Check::Readiness,
                &monitored.readiness,
                monitored,
            ));
        }
        views
    }
}

fn probe_view(check: Check, schedule: &ProbeSchedule, monitored: &Monitored) -> ProbeView {
    ProbeView {
        check,
        class: schedule.class,
        latency: schedule.latency,
        failures: if check == Check::Liveness {
            monitored.failures.count()
        } else {
            0
        },
        last_ok_at: schedule.last_ok_at,
    }
}
