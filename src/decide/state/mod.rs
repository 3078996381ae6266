//! The state machine of one service: what the user requested (`wanted_up`) and the state the service is in (`state`).
//!
//! A request changes `wanted_up`. Only events change `state`. The handlers in this module turn the difference between
//! the two into actions.
//!
//! ```text
//!   Unconfigured ──► Scanning: nothing runs ──► Down or Preparing; an adoptable instance ──► Up or Ending
//!
//!          start requested / backoff over          claim, before, port          exec reported
//!   Down ───────────────────────────► Preparing ───────────────► Spawning ───────────────► Up
//!    ▲  stopped · backoff · parked · blocked │ failed, port held     │ failed               │
//!    │◄──────────────────────────────────────┴───────────────────────┘                      │
//!    │                                                  `failures` consecutive dead attempts │
//!    │   tree emptied                deadline               evidence collected              ▼
//!    └──────────── Ending(kill) ◄──────────── Ending(stop) ◄── request ── Up   KillPending (evidence, first signal)
//!                    │    ▲                                                       │
//!                    ▼    └───────────────────────────────────────────────────────┘
//!               unkillable (SIGKILL again, never a spawn)
//!
//!   Preparing: a foreign process holds the port ──► Attached ──► it leaves: Preparing; stop or shutdown: Down
//! ```
//!
//! These rules hold in every state: an event about another instance changes nothing; no process is killed before its
//! exec is reported; no instance is spawned before the tree of the last one is empty; shutdown overrides every pending
//! start.

mod attached;
mod handover;
mod kill_pending;
mod materializing;
mod monitored;
mod probe_results;
mod reason;
mod recovery;
mod requests;
mod restarting;
mod running;
mod starting;
mod stopping;
mod view;

use super::action::{Record, RecordKind, RecordValue, ServiceAction};
use super::clock::{Duration, Instant};
use super::event::{ChangedSetting, Exit, Life, Process, ServiceEvent, Survivors};
use super::handover::SettledState;
use super::policy::Policy;
use super::restart::RestartHistory;
use super::runtime::RuntimeHistory;

use monitored::Monitored;
use reason::Reason;

/// Reason of a service whose `stop` was requested under an earlier stayd.
const STOPPED: &str = "stopped on request until `start` or the next boot";

/// The properties of a service that its sentences and the spread of its waits depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceDescription {
    /// Its name.
    pub name: String,
    /// What the watchdog asks: `SELECT 1`, `GET /health`.
    pub question: String,
    /// The program's file name, to name the flag that keeps the program in the foreground.
    pub program: String,
    /// Spreads waits between services; the same at every start of stayd.
    pub jitter_seed: u64,
}

/// A service, with its state and history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    policy: Policy,
    description: ServiceDescription,
    wanted_up: bool,
    /// stayd shuts down: nothing starts any more.
    shutting_down: bool,
    /// Shutdown was requested twice: no stop grace any more.
    forced: bool,
    state: State,
    life: Life,
    /// The last start was refused, so the next start takes the same instance number.
    number_is_free: bool,
    since: Instant,
    restarts: u32,
    reason: Reason,
    last_exit: Option<(Exit, Instant)>,
    /// The last instance ended with status 0, and its restart policy wants no other one.
    is_complete: bool,
    history: RestartHistory,
    /// Consecutive refused starts. They wait like ended instances, and never park the service.
    refusals: u32,
    hold: Option<Hold>,
    proven: bool,
    /// The recovery scan has reported.
    scanned: bool,
    /// An earlier stayd started the present instance.
    adopted: bool,
    runtimes: RuntimeHistory,
    /// Settings of the present instance that the configuration has changed since its start.
    changed_settings: Vec<ChangedSetting>,
}

/// Until then the watchdog kills nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hold {
    until: Instant,
    reason: String,
}

/// The state that a service is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Waits for [`ServiceEvent::Configured`].
    Unconfigured,
    /// The recovery scan runs. `settled` is the state that the version before this one handed over.
    Scanning {
        parked: bool,
        settled: Option<Box<SettledState>>,
    },
    /// No process.
    Down(Down),
    /// First the runtime is chosen and perhaps copied (`copying`), then follow claim, `before` and the port check.
    Preparing {
        until: Instant,
        cancelled: bool,
        copying: bool,
    },
    /// The spawn has begun, and exec is not reported yet.
    Spawning,
    /// A main process runs.
    Up(Monitored),
    /// A foreign process holds the port and is monitored. No handler of this state sends a signal.
    Attached(Monitored),
    /// The verdict is reached: collect evidence, then perhaps send the first signal.
    KillPending {
        monitored: Monitored,
        stage: KillStage,
    },
    /// The process tree is being ended.
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
enum KillStage {
    Evidence { until: Instant },
    FirstSignal { until: Instant },
}

/// The end of an instance that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ending {
    main: Option<Process>,
    /// How long the instance had been ready.
    ready_for: Option<Duration>,
    /// Known once the main process is reaped.
    exit: Option<Exit>,
    /// The watchdog ended it.
    by_watchdog: bool,
    /// A request ended it, not a verdict and not the process itself.
    by_request: bool,
    stage: EndingStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum EndingStage {
    /// The stop signal is sent; SIGKILL follows at this time.
    Grace { kill_at: Instant },
    /// SIGKILL is under way; its outcome comes as an event.
    Kill,
    /// SIGKILL did not end it; it is sent again at this time.
    Unkillable { again_at: Instant },
}

/// Whether the fleet allows a kill after a verdict now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KillPermit {
    /// The kill is allowed.
    Allowed,
    /// All monitored services are silent: suspect the host first.
    HostSuspected,
}

/// The inputs of one step besides the event, and the actions that the step collects.
struct StepContext<'a> {
    now: Instant,
    permit: KillPermit,
    actions: &'a mut Vec<ServiceAction>,
}

impl Service {
    /// A service that waits for [`ServiceEvent::Configured`].
    #[must_use]
    pub fn new(policy: Policy, description: ServiceDescription) -> Self {
        Self {
            policy,
            description,
            wanted_up: true,
            shutting_down: false,
            forced: false,
            state: State::Unconfigured,
            life: Life(0),
            number_is_free: false,
            since: Instant::START,
            restarts: 0,
            reason: Reason::default(),
            last_exit: None,
            is_complete: false,
            history: RestartHistory::default(),
            refusals: 0,
            hold: None,
            proven: false,
            scanned: false,
            adopted: false,
            runtimes: RuntimeHistory::default(),
            changed_settings: Vec::new(),
        }
    }

    /// Takes one event about this service, or `None` where only time has passed, and appends actions.
    pub fn step(
        &mut self,
        now: Instant,
        event: Option<ServiceEvent>,
        permit: KillPermit,
        actions: &mut Vec<ServiceAction>,
    ) {
        let mut ctx = StepContext {
            now,
            permit,
            actions,
        };
        let (phase, since, was_scanned) = (self.phase(), self.since, self.is_scanned());
        self.expire_hold(&mut ctx);
        match event {
            None => self.on_tick(&mut ctx),
            Some(event) if event.life().is_some_and(|life| life != self.life) => {}
            Some(event) => self.on_event(event, &mut ctx),
        }
        self.reason.keep_in(&self.state);
        // Users see the phase: `running` and `suspect` are one state, and `starting` is several.
        if was_scanned && self.phase() == phase {
            self.since = since;
        } else if was_scanned && self.since == since {
            self.since = now;
        }
    }

    /// The machine slept for `duration`: silence from before the sleep means nothing.
    pub fn slept(&mut self, now: Instant, duration: Duration, actions: &mut Vec<ServiceAction>) {
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let grace = self
            .policy
            .watchdog
            .map_or(Duration::ZERO, |rules| rules.period());
        let had_failures = monitored.failures.count() > 0;
        monitored.failures.void_before(now.after(grace));
        if had_failures {
            let sentence = format!(
                "the machine slept {} s; the dead attempts before it do not count",
                duration.as_secs()
            );
            self.record(
                RecordKind::Suppressed,
                sentence,
                vec![("slept_ms", millis(duration))],
                actions,
            );
        }
    }

    /// The loop was late for this cause: silence of attempts under way means nothing.
    pub fn was_late(&mut self, now: Instant, cause: &str) {
        if let Some(monitored) = self.state.monitored_mut() {
            monitored.failures.no_verdict_before(now, cause.into());
        }
    }

    /// stayd shuts down: stop the service in order, or `at_once` when shutdown was requested a second time.
    pub fn shut_down(&mut self, now: Instant, at_once: bool, actions: &mut Vec<ServiceAction>) {
        self.shutting_down = true;
        self.forced |= at_once;
        let mut ctx = StepContext {
            now,
            permit: KillPermit::Allowed,
            actions,
        };
        match &mut self.state {
            State::Unconfigured => self.become_down(Down::Stopped, &mut ctx),
            // When the scan or the spawn reports a process, that is stopped.
            State::Scanning { .. } | State::Spawning => {}
            State::Down(down) => *down = Down::Stopped,
            State::Preparing { .. } => self.cancel_preparation(&mut ctx),
            State::Up(_) | State::KillPending { .. } => self.begin_stop(&mut ctx),
            State::Attached(_) => self.detach(&mut ctx),
            State::Ending(ending) => {
                if at_once && matches!(ending.stage, EndingStage::Grace { .. }) {
                    ending.stage = EndingStage::Kill;
                    ctx.actions.push(ServiceAction::KillTree(self.life));
                }
            }
        }
        self.reason.keep_in(&self.state);
    }

    /// When this service next needs a tick; [`Instant::NEVER`] when it waits only for events.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        if self.shutting_down && self.is_down() {
            return Instant::NEVER;
        }
        let own = match &self.state {
            State::Unconfigured
            | State::Scanning { .. }
            | State::Spawning
            | State::Down(Down::Stopped) => Instant::NEVER,
            State::Down(
                Down::Backoff { until } | Down::Parked { until } | Down::Blocked { until },
            )
            | State::KillPending {
                stage: KillStage::Evidence { until } | KillStage::FirstSignal { until },
                ..
            } => *until,
            State::Preparing {
                until, cancelled, ..
            } => {
                if *cancelled {
                    Instant::NEVER
                } else {
                    *until
                }
            }
            State::Up(monitored) => monitored
                .deadline(&self.policy)
                .min(self.stable_uptime_at()),
            State::Attached(monitored) => monitored.deadline(&self.policy),
            State::Ending(ending) => match ending.stage {
                EndingStage::Grace { kill_at } => kill_at,
                EndingStage::Kill => Instant::NEVER,
                EndingStage::Unkillable { again_at } => again_at,
            },
        };
        self.hold.as_ref().map_or(own, |hold| own.min(hold.until))
    }

    fn on_tick(&mut self, ctx: &mut StepContext<'_>) {
        match &self.state {
            State::Unconfigured | State::Scanning { .. } | State::Spawning => {}
            State::Down(_) => self.tick_in_down(ctx),
            State::Preparing {
                until, cancelled, ..
            } => {
                if !cancelled && ctx.now >= *until {
                    self.cancel_preparation(ctx);
                }
            }
            State::Up(_) | State::Attached(_) => self.tick_in_monitored(ctx),
            State::KillPending { .. } => self.tick_in_kill_pending(ctx),
            State::Ending(_) => self.tick_in_ending(ctx),
        }
    }

    /// Gives the event to its handler. Each handler first checks that the service is in a state to which the event
    /// applies, and ignores the event in every other state.
    fn on_event(&mut self, event: ServiceEvent, ctx: &mut StepContext<'_>) {
        match event {
            ServiceEvent::Configured(past) => self.on_configured(past, ctx),
            ServiceEvent::Requested(request) => self.on_request(request, ctx),
            ServiceEvent::RecoveryScanned(outcome) => self.on_recovery_scanned(outcome, ctx),
            ServiceEvent::Changed => self.on_program_changed(ctx),
            ServiceEvent::Materialized(_, offer) => self.on_materialized(&offer, ctx),
            ServiceEvent::Prepared(_) => self.on_prepared(ctx),
            ServiceEvent::NotPrepared(_, failure) => self.on_not_prepared(failure, ctx),
            ServiceEvent::BeforeFailed(_, failure) => self.on_before_failed(failure, ctx),
            ServiceEvent::PortHeld(_, holder) => self.on_port_held(&holder, ctx),
            ServiceEvent::Spawned(_, main) => self.on_spawned(main, ctx),
            ServiceEvent::NotSpawned(_, failure) => self.on_not_spawned(failure, ctx),
            ServiceEvent::Probed(_, check, attempt) => self.on_probed(check, &attempt, ctx),
            ServiceEvent::Notified(_, message) => self.on_notified(message, ctx),
            ServiceEvent::ForeignProcessLeft(_, how) => self.on_foreign_process_left(how, ctx),
            ServiceEvent::EvidenceCollected(_) => self.on_evidence_collected(ctx),
            ServiceEvent::Exited(_, exit, survivors) => self.on_exited(exit, &survivors, ctx),
            ServiceEvent::TreeEmptied(_) => self.on_tree_emptied(ctx),
            ServiceEvent::KillTimedOut {
                left,
                stuck,
                refusal,
                ..
            } => self.on_kill_timed_out(left, stuck, refusal.as_deref(), ctx),
        }
    }

    /// The main process was reaped.
    fn on_exited(&mut self, exit: Exit, survivors: &Survivors, ctx: &mut StepContext<'_>) {
        match &self.state {
            State::Up(_) => self.exited_in_up(exit, survivors, ctx),
            State::KillPending { .. } => self.exited_in_kill_pending(exit, survivors, ctx),
            State::Ending(_) => self.exited_in_ending(exit, survivors, ctx),
            State::Unconfigured
            | State::Scanning { .. }
            | State::Down(_)
            | State::Preparing { .. }
            | State::Spawning
            | State::Attached(_) => {}
        }
    }

    /// Enters `down`. Sockets that stayd holds stay open if another instance follows by itself, so that clients wait. When
    /// stayd shuts down, the parent supervisor may keep the sockets for the next stayd.
    fn become_down(&mut self, down: Down, ctx: &mut StepContext<'_>) {
        if matches!(down, Down::Stopped | Down::Parked { .. }) && !self.shutting_down {
            ctx.actions.push(ServiceAction::CloseSockets);
        }
        if matches!(down, Down::Parked { .. }) && !self.shutting_down {
            ctx.actions.push(ServiceAction::AwaitChange(true));
        } else {
            self.stop_awaiting_change(ctx);
        }
        self.state = State::Down(down);
        self.since = ctx.now;
    }

    /// A parked service stops watching its program or runtime source.
    fn stop_awaiting_change(&self, ctx: &mut StepContext<'_>) {
        if matches!(self.state, State::Down(Down::Parked { .. })) {
            ctx.actions.push(ServiceAction::AwaitChange(false));
        }
    }

    /// Whether no new instance may start: shutdown, or a request to be down.
    const fn must_stay_down(&self) -> bool {
        self.shutting_down || !self.wanted_up
    }

    fn record(
        &self,
        kind: RecordKind,
        sentence: String,
        facts: Vec<(&'static str, RecordValue)>,
        actions: &mut Vec<ServiceAction>,
    ) {
        let life = (self.life > Life(0)).then_some(self.life);
        actions.push(ServiceAction::Record(Record {
            kind,
            life,
            sentence,
            facts,
        }));
    }
}

fn millis(duration: Duration) -> RecordValue {
    RecordValue::Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
