//! One service's life: *wanted* × *actual*.
//!
//! What a person wants (`wanted_up`) and what is the case (`actual`) are two fields. A wish changes the first;
//! only facts change the second, and only the handlers of this room turn the difference into orders.
//!
//! ```text
//!   Surveying: nothing of ours ──► Down or Preparing; ours ──► Up, or Ending
//!
//!             wish up / backoff over            claim, before, port          exec reported
//!   Down ───────────────────────────► Preparing ───────────────► Spawning ───────────────► Up
//!    ▲  stopped · backoff · parked · blocked │ failed, port held     │ failed               │
//!    │◄──────────────────────────────────────┴───────────────────────┘                      │
//!    │                                                                   row of dead rounds │
//!    │   emptied                     deadline                 evidence taken                ▼
//!    └──────────── Ending(kill) ◄──────────── Ending(stop) ◄─── wish ── Up    KillPending (evidence, first)
//!                    │    ▲                                                       │
//!                    ▼    └───────────────────────────────────────────────────────┘
//!               unkillable (kill again, never spawn)
//!
//!   Preparing: the port is a stranger's ──► Attached ──► it leaves: Preparing; stop or the end of stayd: Down
//! ```
//!
//! Rules that hold everywhere: a fact about another life changes nothing; nothing is killed before its exec was
//! reported; nothing is spawned before the last life is emptied; the end of stayd wins over every pending start.

mod asking;
mod attached;
mod carried;
mod down;
mod ending;
mod judging;
mod kill_pending;
mod materializing;
mod requests;
mod surveying;
mod up;
mod view;

use super::action::{Kind, Record, ServiceAction, Value};
use super::clock::{Duration, Instant};
use super::event::{ChangedSetting, Exit, Life, ServiceEvent};
use super::policy::Policy;
use super::restart::History;
use super::runtime::Memory;

use asking::Up;
pub use carried::{Carried, CarriedUp, News, Rest};

/// A wish that outlives stayd.
const STOPPED: &str = "stopped on request until `start` or the next boot";

/// What a service is, for sentences and for spreading waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// What the watchdog asks: `SELECT 1`, `GET /health`.
    pub question: String,
    /// The program's file name, for naming the flag that keeps it in the foreground.
    pub program: String,
    /// Spreads waits; the same at every start.
    pub salt: u64,
}

/// A service and everything known about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    policy: Policy,
    identity: Identity,
    wanted_up: bool,
    /// stayd itself ends: nothing starts any more.
    leaving: bool,
    /// It was asked to end a second time: no grace for anybody.
    hurried: bool,
    actual: Actual,
    life: Life,
    /// The last start was refused: its number goes to the next.
    number_is_free: bool,
    since: Instant,
    restarts: u32,
    reason: String,
    last_exit: Option<(Exit, Instant)>,
    history: History,
    /// Failed preparations in a row; they wait like ended lives, and never park.
    refusals: u32,
    hold: Option<Hold>,
    proven: bool,
    /// What an earlier stayd has left is known, or was nothing.
    surveyed: bool,
    /// The present life was begun by an earlier stayd.
    adopted: bool,
    runtimes: Memory,
    /// What of that life's surroundings the configuration has changed since.
    former: Vec<ChangedSetting>,
}

/// No kills until then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hold {
    until: Instant,
    reason: String,
}

/// What is the case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Actual {
    /// Not configured yet; waits for [`ServiceEvent::Configured`].
    Unborn,
    /// It is looked for what an earlier stayd has left.
    Surveying {
        parked: bool,
        rest: Option<Box<Rest>>,
    },
    /// No process.
    Down(Down),
    /// Its runtime is looked at and perhaps copied; then claim, `before` and port check are under way.
    Preparing {
        until: Instant,
        cancelled: bool,
        copying: bool,
    },
    /// The fork is ordered; exec is not reported yet.
    Spawning,
    /// A main process runs.
    Up(Up),
    /// Somebody else's process holds the port and is watched. No handler of this state signals anybody.
    Attached(Up),
    /// The verdict is spoken: evidence, then perhaps `first`.
    KillPending { up: Up, step: KillPending },
    /// The tree is being ended.
    Ending(Ending),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Down {
    Stopped,
    Backoff { until: Instant },
    Parked { until: Instant },
    Blocked { until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum KillPending {
    Evidence { until: Instant },
    First { until: Instant },
}

/// A tree on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ending {
    main: Option<super::event::Process>,
    /// How long it had been ready.
    ready_for: Option<Duration>,
    /// Known once the main process is reaped.
    exit: Option<Exit>,
    /// The watchdog ended it.
    by_watchdog: bool,
    /// We ended it on a wish, not by a verdict and not because it ended itself.
    by_wish: bool,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The stop signal is sent; SIGKILL follows at this time.
    Grace { kill_at: Instant },
    /// SIGKILL is under way; its outcome is a fact.
    Kill,
    /// SIGKILL did not end it; again at this time.
    Unkillable { again_at: Instant },
}

/// Whether a verdict may become a kill now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permit {
    /// Yes.
    Free,
    /// The whole fleet fails: the host is suspected first.
    HostSuspected,
}

/// What a handler needs besides the fact.
struct Turn<'a> {
    now: Instant,
    permit: Permit,
    out: &'a mut Vec<ServiceAction>,
}

impl Service {
    /// A service nothing is known about yet.
    #[must_use]
    pub fn new(policy: Policy, identity: Identity) -> Self {
        Self {
            policy,
            identity,
            wanted_up: true,
            leaving: false,
            hurried: false,
            actual: Actual::Unborn,
            life: Life(0),
            number_is_free: false,
            since: Instant::START,
            restarts: 0,
            reason: String::new(),
            last_exit: None,
            history: History::default(),
            refusals: 0,
            hold: None,
            proven: false,
            surveyed: false,
            adopted: false,
            runtimes: Memory::default(),
            former: Vec::new(),
        }
    }

    /// Takes a fact about this service, or `None` for the passing of time, and appends orders.
    pub fn step(
        &mut self,
        now: Instant,
        fact: Option<ServiceEvent>,
        permit: Permit,
        out: &mut Vec<ServiceAction>,
    ) {
        let mut step = Turn { now, permit, out };
        self.expire_hold(&mut step);
        match fact {
            None => self.on_time(&mut step),
            Some(fact) if fact.life().is_some_and(|life| life != self.life) => {}
            Some(ServiceEvent::Configured(past)) => self.on_configured(past, &mut step),
            Some(ServiceEvent::Requested(request)) => self.on_wish(request, &mut step),
            Some(fact) => self.on_fact(fact, &mut step),
        }
    }

    /// The machine slept for `span`: silence from before says nothing.
    pub fn slept(&mut self, now: Instant, span: Duration, out: &mut Vec<ServiceAction>) {
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        let grace = self
            .policy
            .watchdog
            .map_or(Duration::ZERO, |rules| rules.period());
        let had_row = up.row.failures() > 0;
        up.row.distrust_before(now.after(grace));
        if had_row {
            let sentence = format!(
                "the machine slept {} s; the dead rounds before it do not count",
                span.as_secs()
            );
            self.record(
                Kind::Suppressed,
                sentence,
                vec![("slept_ms", millis(span))],
                out,
            );
        }
    }

    /// The loop was late: silence from rounds in flight says nothing.
    pub fn was_late(&mut self, now: Instant) {
        if let Some(up) = self.actual.watched_mut() {
            up.row.distrust_in_flight(now);
        }
    }

    /// stayd ends: stop, in order; `at_once` when it was asked for a second time.
    pub fn leave(&mut self, now: Instant, at_once: bool, out: &mut Vec<ServiceAction>) {
        self.leaving = true;
        self.hurried |= at_once;
        let mut step = Turn {
            now,
            permit: Permit::Free,
            out,
        };
        match &mut self.actual {
            Actual::Unborn => self.become_down(Down::Stopped, &mut step),
            // What is ours is ended as well, once it is known.
            Actual::Surveying { .. } | Actual::Spawning => {}
            Actual::Down(down) => *down = Down::Stopped,
            Actual::Preparing { .. } => self.cancel_preparation(&mut step),
            Actual::Up(_) | Actual::KillPending { .. } => self.begin_stop(&mut step),
            Actual::Attached(_) => self.detach(&mut step),
            Actual::Ending(ending) => {
                if at_once && matches!(ending.step, Step::Grace { .. }) {
                    ending.step = Step::Kill;
                    step.out.push(ServiceAction::KillTree(self.life));
                }
            }
        }
    }

    /// When this service next wants a tick.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        if self.leaving && self.is_down() {
            return Instant::NEVER;
        }
        let own = match &self.actual {
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Spawning
            | Actual::Down(Down::Stopped) => Instant::NEVER,
            Actual::Down(
                Down::Backoff { until } | Down::Parked { until } | Down::Blocked { until },
            )
            | Actual::KillPending {
                step: KillPending::Evidence { until } | KillPending::First { until },
                ..
            } => *until,
            Actual::Preparing {
                until, cancelled, ..
            } => {
                if *cancelled {
                    Instant::NEVER
                } else {
                    *until
                }
            }
            Actual::Up(up) => up.deadline(&self.policy).min(self.uptime_counts_at()),
            Actual::Attached(up) => up.deadline(&self.policy),
            Actual::Ending(ending) => match ending.step {
                Step::Grace { kill_at } => kill_at,
                Step::Kill => Instant::NEVER,
                Step::Unkillable { again_at } => again_at,
            },
        };
        self.hold.as_ref().map_or(own, |hold| own.min(hold.until))
    }

    fn on_time(&mut self, step: &mut Turn<'_>) {
        match &self.actual {
            Actual::Unborn | Actual::Surveying { .. } | Actual::Spawning => {}
            Actual::Down(_) => self.time_in_down(step),
            Actual::Preparing {
                until, cancelled, ..
            } => {
                if !cancelled && step.now >= *until {
                    self.cancel_preparation(step);
                }
            }
            Actual::Up(_) | Actual::Attached(_) => self.time_in_up(step),
            Actual::KillPending { .. } => self.time_in_condemned(step),
            Actual::Ending(_) => self.time_in_ending(step),
        }
    }

    fn on_fact(&mut self, fact: ServiceEvent, step: &mut Turn<'_>) {
        match self.actual {
            Actual::Unborn => {}
            Actual::Surveying { .. } => self.fact_in_surveying(fact, step),
            Actual::Down(_) => self.fact_in_down(&fact, step),
            Actual::Preparing { .. } => self.fact_in_preparing(fact, step),
            Actual::Spawning => self.fact_in_spawning(fact, step),
            Actual::Up(_) => self.fact_in_up(fact, step),
            Actual::Attached(_) => self.fact_in_attached(&fact, step),
            Actual::KillPending { .. } => self.fact_in_condemned(fact, step),
            Actual::Ending(_) => self.fact_in_ending(fact, step),
        }
    }

    /// Whoever connects waits as long as the next life is on its way. When stayd leaves, the OS supervisor may keep the
    /// sockets for the next one.
    fn become_down(&mut self, down: Down, step: &mut Turn<'_>) {
        if matches!(down, Down::Stopped | Down::Parked { .. }) && !self.leaving {
            step.out.push(ServiceAction::CloseSockets);
        }
        if matches!(down, Down::Parked { .. }) && !self.leaving {
            step.out.push(ServiceAction::AwaitChange(true));
        } else {
            self.await_nothing(step);
        }
        self.actual = Actual::Down(down);
        self.since = step.now;
    }

    /// A parked service waits for no change any more.
    fn await_nothing(&self, step: &mut Turn<'_>) {
        if matches!(self.actual, Actual::Down(Down::Parked { .. })) {
            step.out.push(ServiceAction::AwaitChange(false));
        }
    }

    fn record(
        &self,
        kind: Kind,
        sentence: String,
        facts: Vec<(&'static str, Value)>,
        out: &mut Vec<ServiceAction>,
    ) {
        let life = (self.life > Life(0)).then_some(self.life);
        out.push(ServiceAction::Record(Record {
            kind,
            life,
            sentence,
            facts,
        }));
    }
}

fn millis(span: Duration) -> Value {
    Value::Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
