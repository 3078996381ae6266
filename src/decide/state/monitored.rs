//! The state of a running instance, or of a foreign process that is monitored like one, and when its probes are due.

use super::super::clock::{Duration, Instant};
use super::super::event::{Check, ProbeAttempt, Process};
use super::super::policy::Policy;
use super::super::snapshot::Class;
use super::super::unjudged::UnjudgedAttempts;
use super::super::verdict::ConsecutiveFailures;
use super::State;

/// The first attempt comes this long after exec; the wait then doubles up to the period.
const STARTUP_PACE_MIN: Duration = Duration::from_millis(20);
/// While the service starts, attempts come at least this often.
const STARTUP_PACE_MAX: Duration = Duration::from_secs(1);
/// An attempt that has not reported this long after its deadline is abandoned, without a verdict.
const PROBE_SLACK: Duration = Duration::from_secs(2);
/// Degraded for this long makes a service unhealthy.
pub(super) const DEGRADED_TOLERANCE: Duration = Duration::from_secs(600);

/// A running instance, or a foreign process that is monitored like one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Monitored {
    /// Always there for an instance of ours; a foreign process may be hidden from stayd.
    pub(super) main: Option<Process>,
    pub(super) spawned_at: Instant,
    /// End of the startup budget; `None` once the service is ready or the budget is over.
    pub(super) startup_until: Option<Instant>,
    /// End of the startup budget without its extensions; `None` once that or the startup is over. READY=1 of stayd waits no
    /// longer for one service.
    pub(super) waited_for_until: Option<Instant>,
    pub(super) ready_at: Option<Instant>,
    pub(super) failures: ConsecutiveFailures,
    pub(super) liveness: ProbeSchedule,
    pub(super) readiness: ProbeSchedule,
    pub(super) degraded_since: Option<Instant>,
    /// The long degradation is recorded.
    pub(super) degradation_reported: bool,
    /// The reason describes where the process comes from (successor of a launcher, foreign process) until something new
    /// happens.
    pub(super) keeps_reason: bool,
    /// What attempts had instead of an answer in a start that takes long, as far as it is recorded.
    pub(super) unready_because: Vec<String>,
    /// Why attempts had no verdict since the last one that had, as far as it is recorded.
    pub(super) unjudged_because: Vec<String>,
    /// Why consecutive failures have led to no kill yet.
    pub(super) suppressed_because: Option<&'static str>,
}

/// When one probe is due, and the result of its last attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ProbeSchedule {
    next_at: Instant,
    /// When the attempt under way was begun, and its deadline, by which its result is recognized.
    open: Option<(Instant, Instant)>,
    attempts: u32,
    pub(super) class: Option<Class>,
    pub(super) latency: Option<Duration>,
    pub(super) last_ok_at: Option<Instant>,
    /// The last attempt that gave a verdict had an answer.
    pub(super) answers: bool,
    /// The attempts since the last verdict.
    pub(super) unjudged: UnjudgedAttempts,
}

impl State {
    /// The process that is probed and judged: a main process of ours, or a foreign one.
    pub(super) const fn monitored(&self) -> Option<&Monitored> {
        match self {
            Self::Up(monitored) | Self::Attached(monitored) => Some(monitored),
            Self::Unconfigured
            | Self::Scanning { .. }
            | Self::Down(_)
            | Self::Preparing { .. }
            | Self::Spawning
            | Self::KillPending { .. }
            | Self::Ending(_) => None,
        }
    }

    /// As [`Self::monitored`], but mutable.
    pub(super) const fn monitored_mut(&mut self) -> Option<&mut Monitored> {
        if let Self::Up(monitored) | Self::Attached(monitored) = self {
            Some(monitored)
        } else {
            None
        }
    }
}

impl Monitored {
    pub(super) fn new(main: Option<Process>, now: Instant, policy: &Policy) -> Self {
        let first = ProbeSchedule {
            next_at: now.after(STARTUP_PACE_MIN),
            ..ProbeSchedule::default()
        };
        Self {
            main,
            spawned_at: now,
            startup_until: Some(now.after(policy.startup)),
            waited_for_until: Some(now.after(policy.startup)),
            ready_at: None,
            failures: ConsecutiveFailures::default(),
            liveness: first.clone(),
            readiness: first,
            degraded_since: None,
            degradation_reported: false,
            keeps_reason: false,
            unready_because: Vec::new(),
            unjudged_because: Vec::new(),
            suppressed_because: None,
        }
    }

    /// Charges the process's age against the startup budget. If the budget is spent, the process counts as ready.
    pub(super) fn charge_age(&mut self, age: Duration, now: Instant, policy: &Policy) {
        if age < policy.startup {
            self.startup_until = Some(now.after(policy.startup - age));
            self.waited_for_until = self.startup_until;
        } else {
            self.become_judged(now);
        }
    }

    /// Treats an adopted process as ready, so that the watchdog judges it at once.
    pub(super) fn become_judged(&mut self, now: Instant) {
        self.end_startup();
        self.ready_at = Some(now);
    }

    pub(super) const fn end_startup(&mut self) {
        self.startup_until = None;
        self.waited_for_until = None;
    }

    /// Extends the startup budget, if it is not over, to at least `later`.
    pub(super) fn extend_startup(&mut self, later: Instant) {
        self.startup_until = self.startup_until.map(|until| until.max(later));
    }

    /// As [`Self::extend_startup`], but never beyond the maximum: otherwise a service that does not answer could keep itself
    /// from ever being judged.
    pub(super) fn extend_unanswered_startup(&mut self, later: Instant, policy: &Policy) {
        let latest = self.spawned_at.after(policy.startup_max);
        self.extend_startup(later.min(latest));
    }

    pub(super) fn deadline(&self, policy: &Policy) -> Instant {
        let mut due = self.startup_until.unwrap_or(Instant::NEVER);
        due = due.min(self.waited_for_until.unwrap_or(Instant::NEVER));
        if policy.watchdog.is_some() {
            due = due.min(self.liveness.due());
            due = due.min(self.liveness.unjudged.blind_at());
        }
        if policy.ready_probe {
            due = due.min(self.readiness.due());
        }
        if let Some(since) = self.degraded_since
            && !self.degradation_reported
        {
            due = due.min(since.after(DEGRADED_TOLERANCE));
        }
        due
    }

    pub(super) fn ready_for(&self, now: Instant) -> Option<Duration> {
        self.ready_at.map(|at| now.since(at))
    }

    pub(super) fn schedule(&mut self, check: Check) -> &mut ProbeSchedule {
        match check {
            Check::Liveness => &mut self.liveness,
            Check::Readiness => &mut self.readiness,
        }
    }
}

impl ProbeSchedule {
    pub(super) fn due(&self) -> Instant {
        self.open
            .map_or(self.next_at, |(_, deadline)| deadline.after(PROBE_SLACK))
    }

    /// Opens the next attempt if it is due, and returns its deadline.
    pub(super) fn begin_attempt(
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
            self.unjudged.note(now, Class::NoVerdict);
        }
        if now < self.next_at {
            return None;
        }
        let deadline = now.after(timeout);
        self.open = Some((now, deadline));
        self.next_at = now.after(period);
        self.attempts = self.attempts.saturating_add(1);
        Some(deadline)
    }

    /// Closes the attempt under way and returns when it was begun; `None` if the result belongs to another attempt.
    pub(super) fn close_attempt(&mut self, attempt: &ProbeAttempt) -> Option<Instant> {
        let (begun_at, _) = self
            .open
            .take_if(|(_, deadline)| *deadline == attempt.deadline)?;
        Some(begun_at)
    }

    /// Makes the next attempt due before a whole period has passed, because the service starts.
    pub(super) fn shorten_wait(&mut self, now: Instant) {
        let doublings = self.attempts.min(10);
        let pace = (STARTUP_PACE_MIN * (1 << doublings)).min(STARTUP_PACE_MAX);
        self.next_at = self.next_at.min(now.after(pace));
    }

    pub(super) fn note_result(&mut self, now: Instant, class: Class, latency: Duration) {
        self.class = Some(class);
        self.latency = Some(latency);
        self.unjudged.note(now, class);
        match class {
            Class::Alive | Class::Degraded => {
                self.last_ok_at = Some(now);
                self.answers = true;
            }
            Class::Dead => self.answers = false,
            Class::NoVerdict | Class::Void => {}
        }
    }
}
