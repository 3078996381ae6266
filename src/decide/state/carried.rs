//! What goes over when a new version of stayd takes the place of this one in the same process.
//!
//! A service goes over at rest: running, or down. The moments are of one clock, which goes on counting. What the new one
//! finds in the kernel wins over all of this.

use super::super::clock::{Duration, Instant};
use super::super::event::{Exit, Life, Process};
use super::super::policy::Policy;
use super::super::runtime::Memory;
use super::super::snapshot::Class;
use super::asking::{Asking, Up};
use super::{Actual, Down, Hold, Service, Turn};

/// What is known of one service besides its claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Carried {
    /// The present life, or the last one.
    pub life: Life,
    /// Nothing ran under that number.
    pub number_is_free: bool,
    /// Whether it is wanted up.
    pub wanted_up: bool,
    /// No kills until then, and why.
    pub hold: Option<(Instant, String)>,
    /// An earlier stayd, in another process, began the life.
    pub adopted: bool,
    /// When it came into its state.
    pub since: Instant,
    /// Lives after the first.
    pub restarts: u32,
    /// Why it is as it is.
    pub reason: String,
    /// How and when the last life ended.
    pub last_exit: Option<(Exit, Instant)>,
    /// When lives ended, since the last stable one.
    pub ended: Vec<Instant>,
    /// It gave up, and no stable life has come since.
    pub gave_up: bool,
    /// Starts that were refused in a row.
    pub refusals: u32,
    /// What it runs from, and how that has gone.
    pub runtimes: Memory,
    /// What is the case.
    pub rest: Rest,
}

/// A state in which nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rest {
    /// Down for good.
    Stopped,
    /// Down until then: the wait between two lives.
    Backoff(Instant),
    /// The same, given up.
    Parked(Instant),
    /// The same, refused.
    Blocked(Instant),
    /// Somebody else's process is watched.
    Attached,
    /// A main process runs.
    Up(CarriedUp),
}

/// What is known of a running life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CarriedUp {
    /// When its program began.
    pub spawned_at: Instant,
    /// The end of its startup budget; none once that is over.
    pub startup_until: Option<Instant>,
    /// Since when it is ready.
    pub ready_at: Option<Instant>,
    /// Since when it answers with errors.
    pub degraded_since: Option<Instant>,
    /// That has been told as an incident.
    pub degraded_told: bool,
    /// Its reason stays until something new happens.
    pub keeps_reason: bool,
    /// The last news of the watchdog's probe.
    pub liveness: News,
    /// The last news of the readiness probe.
    pub readiness: News,
}

/// What a probe said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct News {
    /// The last round's class.
    pub class: Option<Class>,
    /// How long it took.
    pub latency: Option<Duration>,
    /// When it was last answered.
    pub last_ok_at: Option<Instant>,
}

impl Service {
    /// What goes over of it; none while something is under way that would be cut.
    #[must_use]
    pub fn carried(&self) -> Option<Carried> {
        let rest = match &self.actual {
            Actual::Down(Down::Stopped) => Rest::Stopped,
            Actual::Down(Down::Backoff { until }) => Rest::Backoff(*until),
            Actual::Down(Down::Parked { until }) => Rest::Parked(*until),
            Actual::Down(Down::Blocked { until }) => Rest::Blocked(*until),
            Actual::Up(up) => Rest::Up(up.carried()),
            Actual::Attached(_) => Rest::Attached,
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Preparing { .. }
            | Actual::Spawning
            | Actual::KillPending { .. }
            | Actual::Ending(_) => return None,
        };
        Some(Carried {
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
            rest,
        })
    }

    /// Takes over what the version before knew, and says in what state it left the service.
    pub(super) fn remember_all(&mut self, carried: Carried) -> Rest {
        self.life = self.life.max(carried.life);
        self.number_is_free = carried.number_is_free && self.life == carried.life;
        self.wanted_up = carried.wanted_up;
        self.hold = carried.hold.map(|(until, reason)| Hold { until, reason });
        self.since = carried.since;
        self.restarts = carried.restarts;
        self.reason = carried.reason;
        self.last_exit = carried.last_exit;
        self.history.resume(carried.ended, carried.gave_up);
        self.refusals = carried.refusals;
        self.adopted = carried.adopted;
        self.runtimes = carried.runtimes;
        carried.rest
    }

    /// Nothing of it runs: it is left as it was.
    pub(super) fn rest_again(&mut self, rest: Rest, step: &mut Turn<'_>) {
        let until = |until: Instant| until.max(step.now);
        let down = match rest {
            Rest::Stopped => Down::Stopped,
            Rest::Backoff(at) => Down::Backoff { until: until(at) },
            Rest::Parked(at) => Down::Parked { until: until(at) },
            Rest::Blocked(at) => Down::Blocked { until: until(at) },
            // Whoever has the port is found there again.
            Rest::Attached | Rest::Up(_) => return self.begin_life(step),
        };
        let since = self.since;
        self.become_down(down, step);
        self.since = since;
    }
}

impl Up {
    fn carried(&self) -> CarriedUp {
        CarriedUp {
            spawned_at: self.spawned_at,
            startup_until: self.startup_until,
            ready_at: self.ready_at,
            degraded_since: self.degraded_since,
            degraded_told: self.degraded_told,
            keeps_reason: self.keeps_reason,
            liveness: self.liveness.news(),
            readiness: self.readiness.news(),
        }
    }

    /// Goes on with it. Its dead rounds are counted anew: nobody has asked meanwhile.
    pub(super) fn going_on(
        main: Process,
        carried: CarriedUp,
        now: Instant,
        policy: &Policy,
    ) -> Self {
        let mut up = Self::new(Some(main), now, policy);
        up.spawned_at = carried.spawned_at;
        up.startup_until = carried.startup_until;
        up.ready_at = carried.ready_at;
        up.degraded_since = carried.degraded_since;
        up.degraded_told = carried.degraded_told;
        up.keeps_reason = carried.keeps_reason;
        up.liveness.resume(carried.liveness);
        up.readiness.resume(carried.readiness);
        up
    }
}

impl Asking {
    const fn news(&self) -> News {
        News {
            class: self.class,
            latency: self.latency,
            last_ok_at: self.last_ok_at,
        }
    }

    fn resume(&mut self, news: News) {
        self.class = news.class;
        self.latency = news.latency;
        self.last_ok_at = news.last_ok_at;
    }
}
