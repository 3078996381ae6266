//! A running life, and the timetable of its probes.

use super::super::clock::{Duration, Instant};
use super::super::event::{Check, ProbeAttempt, Process};
use super::super::policy::Policy;
use super::super::snapshot::Class;
use super::super::verdict::Row;
use super::Actual;

/// The first question comes this long after exec; the wait then doubles up to the period.
const STARTUP_PACE_MIN: Duration = Duration::from_millis(20);
/// While starting, questions come at least this often.
const STARTUP_PACE_MAX: Duration = Duration::from_secs(1);
/// A probe that has not reported this long after its deadline is given up, without a verdict.
const PROBE_SLACK: Duration = Duration::from_secs(2);
/// Degraded for this long makes a service unhealthy.
pub(super) const DEGRADED_TOLERANCE: Duration = Duration::from_secs(600);

/// A running life, or a stranger's process that is watched like one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Up {
    /// Always there for a life of ours; a stranger may be hidden from us.
    pub(super) main: Option<Process>,
    pub(super) spawned_at: Instant,
    /// The startup budget; `None` once ready, or once it is over.
    pub(super) startup_until: Option<Instant>,
    pub(super) ready_at: Option<Instant>,
    pub(super) row: Row,
    pub(super) liveness: Asking,
    pub(super) readiness: Asking,
    pub(super) degraded_since: Option<Instant>,
    pub(super) degraded_told: bool,
    /// The reason says how it came to be what it is (its launcher's heir, a stranger) until something new happens.
    pub(super) keeps_reason: bool,
    /// Why a row of dead rounds is no kill yet.
    pub(super) spared: Option<&'static str>,
    /// The reason that a trouble of the moment has taken the place of.
    pub(super) displaced: Option<String>,
}

/// One probe's timetable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Asking {
    next_at: Instant,
    /// When the question under way was ordered, and its deadline, by which the answer is known.
    open: Option<(Instant, Instant)>,
    asked: u32,
    pub(super) class: Option<Class>,
    pub(super) latency: Option<Duration>,
    pub(super) last_ok_at: Option<Instant>,
}

impl Actual {
    /// What is asked and judged: a life of ours, or a stranger.
    pub(super) const fn watched(&self) -> Option<&Up> {
        match self {
            Self::Up(up) | Self::Attached(up) => Some(up),
            Self::Unborn
            | Self::Surveying { .. }
            | Self::Down(_)
            | Self::Preparing { .. }
            | Self::Spawning
            | Self::KillPending { .. }
            | Self::Ending(_) => None,
        }
    }

    /// The same, to be changed.
    pub(super) const fn watched_mut(&mut self) -> Option<&mut Up> {
        if let Self::Up(up) | Self::Attached(up) = self {
            Some(up)
        } else {
            None
        }
    }
}

impl Up {
    pub(super) fn new(main: Option<Process>, now: Instant, policy: &Policy) -> Self {
        let first = Asking {
            next_at: now.after(STARTUP_PACE_MIN),
            ..Asking::default()
        };
        Self {
            main,
            spawned_at: now,
            startup_until: Some(now.after(policy.startup)),
            ready_at: None,
            row: Row::default(),
            liveness: first.clone(),
            readiness: first,
            degraded_since: None,
            degraded_told: false,
            keeps_reason: false,
            spared: None,
            displaced: None,
        }
    }

    /// It has used up as much of its budget as it is old; one that is older has been ready, or never will be.
    pub(super) fn has_run_for(&mut self, age: Duration, now: Instant, policy: &Policy) {
        if age < policy.startup {
            self.startup_until = Some(now.after(policy.startup - age));
        } else {
            self.startup_until = None;
            self.ready_at = Some(now);
        }
    }

    pub(super) fn deadline(&self, policy: &Policy) -> Instant {
        let mut due = self.startup_until.unwrap_or(Instant::NEVER);
        if policy.watchdog.is_some() {
            due = due.min(self.liveness.due());
        }
        if policy.ready_probe {
            due = due.min(self.readiness.due());
        }
        if let Some(since) = self.degraded_since
            && !self.degraded_told
        {
            due = due.min(since.after(DEGRADED_TOLERANCE));
        }
        due
    }

    pub(super) fn ready_for(&self, now: Instant) -> Option<Duration> {
        self.ready_at.map(|at| now.since(at))
    }

    pub(super) fn asking(&mut self, check: Check) -> &mut Asking {
        match check {
            Check::Liveness => &mut self.liveness,
            Check::Readiness => &mut self.readiness,
        }
    }
}

impl Asking {
    pub(super) fn due(&self) -> Instant {
        self.open
            .map_or(self.next_at, |(_, deadline)| deadline.after(PROBE_SLACK))
    }

    /// Sends the next question if it is time; says its deadline.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        period: Duration,
        timeout: Duration,
    ) -> Option<Instant> {
        if let Some((_, deadline)) = self.open {
            if now < deadline.after(PROBE_SLACK) {
                return None;
            }
            self.open = None;
            self.class = Some(Class::NoVerdict);
        }
        if now < self.next_at {
            return None;
        }
        let deadline = now.after(timeout);
        self.open = Some((now, deadline));
        self.next_at = now.after(period);
        self.asked = self.asked.saturating_add(1);
        Some(deadline)
    }

    /// Takes the answer to the question under way and says when that was ordered; none if it is not that one's.
    pub(super) fn close(&mut self, attempt: &ProbeAttempt) -> Option<Instant> {
        let (ordered_at, _) = self
            .open
            .take_if(|(_, deadline)| *deadline == attempt.deadline)?;
        Some(ordered_at)
    }

    /// While starting, the next question does not wait for a whole period.
    pub(super) fn hurry(&mut self, now: Instant) {
        let doublings = self.asked.min(10);
        let pace = (STARTUP_PACE_MIN * (1 << doublings)).min(STARTUP_PACE_MAX);
        self.next_at = self.next_at.min(now.after(pace));
    }

    pub(super) fn note(&mut self, now: Instant, class: Class, latency: Duration) {
        self.class = Some(class);
        self.latency = Some(latency);
        if matches!(class, Class::Alive | Class::Degraded) {
            self.last_ok_at = Some(now);
        }
    }
}
