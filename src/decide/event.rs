//! Facts: everything that can be true, in the past tense.

use super::clock::{Duration, Instant};
pub use super::former::ChangedSetting;
pub use super::process::Process;
use super::runtime::{Offer, RuntimeId};
use super::state::Carried;

/// The number of a service's life: 1 for the first spawn, one more for each later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u32);

impl Life {
    /// The life that follows this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A service's place in the fleet; stable while stayd runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// exit(2) with this status.
    Code(i32),
    /// Killed by this signal number.
    Signal(i32),
    /// The kernel did not tell us; never taken for clean.
    Unknown,
}

/// What is seen when a life's main process has gone: what is left of its tree, and what may have ended it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Survivors {
    /// Members still alive.
    pub count: usize,
    /// The member that holds the service's port, else the oldest; the heir of a daemonizing launcher.
    pub successor: Option<Process>,
    /// Whether the heir listens on the service's port; none where that tells nothing: no port is known, or its socket is
    /// held for the service.
    pub successor_listens: Option<bool>,
    /// Processes that the kernel has killed for want of memory since the life began, on the whole host.
    pub oom_kills: u64,
}

/// Who holds the service's port and is not provably ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The port.
    pub port: u16,
    /// Its process, the oldest of several; none when it is hidden from us.
    pub main: Option<Process>,
    /// "port 8080 is held by pid 906 (…) of user app, started …".
    pub words: String,
}

/// How a stranger has left the service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Departure {
    /// Its process ended.
    Ended(Exit),
    /// The port is free, or somebody else's by now.
    LeftPort,
}

/// Why no process could be started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpawnFailure {
    /// The step that failed and its cause, "cannot …: cause".
    pub message: String,
    /// Nothing that time cures by itself: a missing program, a permission.
    pub lasting: bool,
}

/// What a probe saw. The probe reports, it does not judge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A good answer.
    Alive,
    /// A well-formed answer that is an error: refused login, SQL error, HTTP 5xx.
    Degraded {
        /// What it said, shortened, without secrets.
        said: String,
        /// It said that it is still starting (57P03, 503): not a reason to call it ready.
        starting: bool,
    },
    /// Requested, and no answer (timeout, reset, nonsense, refused by its own port).
    Dead {
        /// What happened instead.
        how: String,
    },
    /// We could not ask: our own limits, a blocked prober, a listener outside the tree.
    NoVerdict {
        /// What kept us from asking.
        why: String,
    },
}

/// What was seen of the service and the host during a round that brought no good answer.
///
/// Rounds that were answered carry the default, which claims nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResourceSample {
    /// The main process is stopped by a signal (state T).
    pub stopped: bool,
    /// Somebody traces the main process, or somebody outside the tree any other member (TracerPid, or state t).
    pub traced: bool,
    /// The cgroup of a member is frozen.
    pub frozen: bool,
    /// How long the tree was watched for the figures below; zero when it was not.
    pub watched: Duration,
    /// CPU time the tree used in that time.
    pub tree_cpu: Duration,
    /// Bytes the tree read and wrote in that time.
    pub tree_io_bytes: u64,
    /// The tree was throttled by its own CPU quota (`nr_throttled` grew).
    pub throttled: bool,
    /// CPU time all processes used in that time.
    pub host_cpu: Duration,
    /// Processors of the host.
    pub host_cpus: u32,
    /// Runnable threads on the host at the end (proc_stat(5), `procs_running`).
    pub host_runnable: u32,
}

/// One finished round of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeAttempt {
    /// When the question was sent: a little after it was ordered.
    pub asked_at: Instant,
    /// Its deadline as ordered; the round is known by it.
    pub deadline: Instant,
    /// What came.
    pub answer: Answer,
    /// How long it took.
    pub latency: Duration,
    /// What was seen meanwhile.
    pub sample: ResourceSample,
}

/// Which of a service's probes a round belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// The watchdog's: may kill.
    Liveness,
    /// Gates READY; never kills.
    Readiness,
}

/// What a person or program wishes for one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Be up.
    Start,
    /// Be down, until `start` or the next boot.
    Stop,
    /// A new life.
    Restart,
    /// No kills for this long.
    Hold {
        /// How long.
        span: Duration,
        /// Why, in the person's words.
        reason: String,
    },
    /// Kills again.
    Release,
}

/// What the service said over its notify socket (sd_notify(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceMessage {
    /// READY=1
    Ready,
    /// WATCHDOG=1
    Watchdog,
    /// WATCHDOG=trigger
    Trigger,
    /// EXTEND_TIMEOUT_USEC=
    Extend(Duration),
    /// STOPPING=1
    Stopping,
}

/// What a stayd before this one left as wishes that outlive it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PersistedState {
    /// `stop` was wished in this boot.
    pub stopped: bool,
    /// A hold with this much time left, and its reason.
    pub hold: Option<(Duration, String)>,
    /// This probe, query and command had an answer once.
    pub proven: bool,
    /// The life number last used; the next is one more.
    pub last_life: Life,
    /// Parked, with the same program and config as now.
    pub parked: bool,
    /// What the version knew whose place this one has taken in the same process; it wins over the rest.
    pub carried: Option<Box<Carried>>,
}

/// What an earlier stayd has left of a service: proven to be of that life, and in our hands again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdoptableInstance {
    /// The runtime it runs from.
    pub runtime: Option<RuntimeId>,
    /// The life it is of.
    pub life: Life,
    /// Its main process; none when that has ended and others of the tree are left.
    pub main: Option<Process>,
    /// It was told to end, by a stop or a restart that did not come to its end.
    pub ending: bool,
    /// How old the main process is.
    pub age: Duration,
    /// What of its command and surroundings the configuration has changed since.
    pub former: Vec<ChangedSetting>,
}

/// What was found of a service before its first life under this stayd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScanOutcome {
    /// Nothing of it runs. The last life that was claimed, 0 for none: its number is used up, whatever else is remembered.
    Nothing(Life),
    /// The last life that was claimed, in this boot, ended without a stayd that would have gone on from there.
    Ended {
        /// Which life.
        life: Life,
        /// How, where an earlier stayd saw it and left it at that; none: it ended while no stayd ran.
        exit: Option<Exit>,
    },
    /// An earlier stayd's.
    Ours(AdoptableInstance),
    /// Something may run that cannot be proven ours: who, why, and what to do.
    Unclear(String),
}

/// Something that became true.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceEvent {
    /// The service is part of the configuration; this is what is known of its past.
    Configured(PersistedState),
    /// Somebody asked.
    Requested(Request),
    /// It was looked for what an earlier stayd has left.
    RecoveryScanned(ScanOutcome),
    /// Its runtimes were looked at, and the source's copied where that was new.
    Materialized(Life, Offer),
    /// The preparation of a life ended: claim written, `before` run, port free.
    Prepared(Life),
    /// The preparation failed; nothing runs.
    NotPrepared(Life, SpawnFailure),
    /// The same, because `before` did not succeed.
    BeforeFailed(Life, SpawnFailure),
    /// The port is held by a process that is not provably ours; the life waits to be attached to it, or retired.
    PortHeld(Life, Holder),
    /// The stranger that was attached to is gone, or its port is.
    ForeignProcessLeft(Life, Departure),
    /// exec(2) has succeeded: this is the main process.
    Spawned(Life, Process),
    /// No process came of it.
    NotSpawned(Life, SpawnFailure),
    /// The main process ended; it is reaped.
    Exited(Life, Exit, Survivors),
    /// No process of the life is left.
    Emptied(Life),
    /// The kill's deadline passed with members left; `stuck` of them in state D.
    NotEmptied {
        /// Which life.
        life: Life,
        /// Members left.
        left: usize,
        /// Of those, in uninterruptible sleep.
        stuck: usize,
    },
    /// A probe finished.
    Probed(Life, Check, ProbeAttempt),
    /// The evidence is written, or its time was over.
    EvidenceTaken(Life),
    /// The service spoke.
    ServiceMessage(Life, ServiceMessage),
    /// The config or program of a parked or blocked service changed.
    Changed,
}

/// A fact and whom it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passed; a deadline may have come. Early, late and repeated ticks do nothing.
    Tick,
    /// The machine slept or was frozen as a whole for this long.
    Slept(Duration),
    /// The loop itself was late by this much: whatever was in flight says nothing.
    Late(Duration),
    /// Everything is to end, in order; a second time: at once.
    Shutdown,
    /// About one service.
    Service(ServiceId, ServiceEvent),
}

impl ServiceEvent {
    /// The life it is about; `None` for facts about the service as such.
    #[must_use]
    pub const fn life(&self) -> Option<Life> {
        match self {
            Self::Configured(_) | Self::Requested(_) | Self::RecoveryScanned(_) | Self::Changed => {
                None
            }
            Self::Materialized(life, _)
            | Self::Prepared(life)
            | Self::NotPrepared(life, _)
            | Self::BeforeFailed(life, _)
            | Self::PortHeld(life, _)
            | Self::ForeignProcessLeft(life, _)
            | Self::Spawned(life, _)
            | Self::NotSpawned(life, _)
            | Self::Exited(life, _, _)
            | Self::Emptied(life)
            | Self::NotEmptied { life, .. }
            | Self::Probed(life, _, _)
            | Self::EvidenceTaken(life)
            | Self::ServiceMessage(life, _) => Some(*life),
        }
    }
}

impl Exit {
    /// "exited with status 1", "was killed by SIGKILL", "ended, its status is unknown".
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::Code(code) => format!("exited with status {code}"),
            Self::Signal(number) => match signal_name(number) {
                Some(name) => format!("was ended by SIG{name}"),
                None => format!("was ended by signal {number}"),
            },
            Self::Unknown => "ended, its exit status is unknown".into(),
        }
    }

    /// Whether nobody who is well ends like this by itself. What is unknown accuses nobody.
    #[must_use]
    pub const fn is_crash(self) -> bool {
        !matches!(self, Self::Code(0) | Self::Unknown)
    }
}

impl SpawnFailure {
    /// A wish came between.
    #[must_use]
    pub fn cancelled() -> Self {
        Self {
            message: "cancelled".into(),
            lasting: false,
        }
    }
}

/// Names of the signals that have one number on Linux and macOS (signal(7), signal(3)).
#[must_use]
pub const fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        _ => return None,
    })
}
