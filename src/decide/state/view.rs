//! What a service shows of itself.

use super::super::clock::Instant;
use super::super::event::{Check, Process};
use super::super::snapshot::{Class, Phase, ProbeView, Snapshot};
use super::asking::{Asking, DEGRADED_TOLERANCE};
use super::{Actual, Down, Service, Step, Up};

impl Service {
    /// A copy of what is known, at `now`.
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
            last_exit: self.last_exit,
            probes: self.probe_views(),
            hold: self
                .hold
                .as_ref()
                .map(|hold| (hold.until, hold.reason.clone())),
        }
    }

    /// The reason; and for as long as the process runs on with what the configuration has changed, that.
    pub(super) fn shown_reason(&self) -> String {
        // What a refused start was refused for stays to be read while it is tried again.
        if self.phase() == Phase::Materializing && self.refusals == 0 {
            return "looks at what its runtime's source holds, and copies it if it is new".into();
        }
        if self.former.is_empty() || !matches!(self.actual, Actual::Up(_)) {
            return self.reason.clone();
        }
        let words: Vec<_> = self.former.iter().map(|former| former.word()).collect();
        format!(
            "{}; it still runs with the former {}: `stayd restart {}` applies the new",
            self.reason,
            words.join(" and "),
            self.identity.name
        )
    }

    /// The contract's state.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.actual {
            Actual::Preparing { copying: true, .. } => Phase::Materializing,
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Preparing { .. }
            | Actual::Spawning => Phase::Starting,
            Actual::Down(Down::Stopped) => Phase::Stopped,
            Actual::Down(Down::Backoff { .. }) => Phase::Backoff,
            Actual::Down(Down::Parked { .. }) => Phase::Parked,
            Actual::Down(Down::Blocked { .. }) => Phase::Blocked,
            Actual::Up(up) | Actual::Attached(up) if up.startup_until.is_some() => Phase::Starting,
            Actual::Attached(_) => Phase::Attached,
            Actual::Up(_) if self.policy.watchdog.is_some() && !self.proven => Phase::Unproven,
            Actual::Up(up) if up.row.failures() > 0 => Phase::Suspect,
            Actual::Up(_) => Phase::Running,
            Actual::KillPending { .. } => Phase::Wedged,
            Actual::Ending(ending) => match ending.step {
                Step::Unkillable { .. } => Phase::Unkillable,
                Step::Grace { .. } | Step::Kill if ending.by_watchdog => Phase::Wedged,
                Step::Grace { .. } | Step::Kill => Phase::Stopping,
            },
        }
    }

    /// Whether it is known what of it runs already.
    #[must_use]
    pub const fn is_surveyed(&self) -> bool {
        !matches!(self.actual, Actual::Unborn | Actual::Surveying { .. })
    }

    /// Whether it has been found ready, or unable: what READY=1 waits for.
    #[must_use]
    pub fn has_verdict(&self) -> bool {
        match &self.actual {
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Preparing { .. }
            | Actual::Spawning => self.last_exit.is_some(),
            Actual::Up(up) | Actual::Attached(up) => {
                up.startup_until.is_none() || self.last_exit.is_some()
            }
            Actual::Down(_) | Actual::KillPending { .. } | Actual::Ending(_) => true,
        }
    }

    /// Whether nothing more can be done to end it: down, or SIGKILL has been tried in vain.
    #[must_use]
    pub const fn is_past_ending(&self) -> bool {
        self.is_down()
            || matches!(
                &self.actual,
                Actual::Ending(ending) if matches!(ending.step, Step::Unkillable { .. })
            )
    }

    /// Whether its last round was answered, with an error perhaps.
    #[must_use]
    pub const fn answers(&self) -> bool {
        matches!(
            self.actual.watched(),
            Some(up) if matches!(up.liveness.class, Some(Class::Alive | Class::Degraded))
        )
    }

    /// Whether no process of it is there or on its way.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        matches!(self.actual, Actual::Down(_))
    }

    /// The main process, or the stranger that is watched, while there is one and it can be seen.
    #[must_use]
    pub const fn main(&self) -> Option<Process> {
        match &self.actual {
            Actual::Up(up) | Actual::Attached(up) | Actual::KillPending { up, .. } => up.main,
            Actual::Ending(ending) if ending.exit.is_none() => ending.main,
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Down(_)
            | Actual::Preparing { .. }
            | Actual::Spawning
            | Actual::Ending(_) => None,
        }
    }

    /// A running life, or a stranger, under an armed watchdog: when it began, and when its row of dead rounds began.
    #[must_use]
    pub fn under_watch(&self) -> Option<(Instant, Option<Instant>)> {
        self.policy.watchdog?;
        match &self.actual {
            Actual::Up(up) | Actual::Attached(up)
                if up.startup_until.is_none() && self.is_proven() =>
            {
                Some((up.spawned_at, up.row.began()))
            }
            Actual::KillPending { up, .. } => Some((up.spawned_at, up.row.began())),
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Down(_)
            | Actual::Preparing { .. }
            | Actual::Spawning
            | Actual::Up(_)
            | Actual::Attached(_)
            | Actual::Ending(_) => None,
        }
    }

    /// Ready, answering as far as is known, and not degraded for ten minutes.
    #[must_use]
    pub fn is_healthy(&self, now: Instant) -> bool {
        let Some(up) = self.actual.watched() else {
            return false;
        };
        let long_degraded = up
            .degraded_since
            .is_some_and(|since| now.since(since) >= DEGRADED_TOLERANCE);
        let answering = match self.policy.watchdog {
            None => true,
            Some(_) => {
                let answering = up.row.failures() == 0 && up.liveness.class != Some(Class::Dead);
                self.is_proven() && answering
            }
        };
        up.ready_at.is_some() && answering && !long_degraded
    }

    fn probe_views(&self) -> Vec<ProbeView> {
        let (Actual::Up(up) | Actual::Attached(up) | Actual::KillPending { up, .. }) = &self.actual
        else {
            return Vec::new();
        };
        let mut views = Vec::new();
        if self.policy.watchdog.is_some() {
            views.push(probe_view(Check::Liveness, &up.liveness, up));
        }
        if self.policy.ready_probe {
            views.push(probe_view(Check::Readiness, &up.readiness, up));
        }
        views
    }
}

fn probe_view(check: Check, asking: &Asking, up: &Up) -> ProbeView {
    ProbeView {
        check,
        class: asking.class,
        latency: asking.latency,
        failures: if check == Check::Liveness {
            up.row.failures()
        } else {
            0
        },
        last_ok_at: asking.last_ok_at,
    }
}
