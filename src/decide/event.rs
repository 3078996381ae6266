//! Events: the input of `decide`, in the past tense.

use super::clock::{Duration, Instant};
use super::handover::StateHandover;
pub use super::process::Process;
use super::runtime::{Offer, RuntimeId};
pub use super::terms::{Check, Exit, Life, ServiceId, SpawnFailure, signal_name};

/// What was found when an instance's main process was reaped: what is left of its tree, and what may have ended it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Survivors {
    /// Members still alive.
    pub count: usize,
    /// The member with the best evidence that it serves, else the oldest: the new main process if the old one was a launcher.
    pub successor: Option<Process>,
    /// What shows whether the successor serves.
    pub evidence: ServingEvidence,
    /// Processes that the kernel has killed for lack of memory since the instance began, on the whole host.
    pub oom_kills: u64,
}

/// What shows whether a process that is left of an instance serves in the place of the main process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServingEvidence {
    /// The service has named it as its main process (MAINPID=).
    Named,
    /// It listens at an address of the service.
    Listens,
    /// It has a socket open that stayd holds for the service. A process that serves nothing can inherit it as well.
    HasHeldSocket,
    /// It listens at no address of the service.
    Nothing,
    /// Not known: the configuration names no address, or the sockets or descriptors cannot be read.
    #[default]
    Unknown,
}

/// A process that holds the service's port and is not provably ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortHolder {
    /// The port.
    pub port: u16,
    /// The process, the oldest of several; `None` when it is hidden from stayd.
    pub main: Option<Process>,
    /// "port 8080 is held by pid 906 (…) of user app, started …".
    pub description: String,
}

/// How a foreign process stopped holding the service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortRelease {
    /// Its process ended.
    Ended(Exit),
    /// The port is free, or another process holds it by now.
    LeftPort,
}

/// Something that a process was given at its start and keeps until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangedSetting {
    /// Its program and arguments.
    Command,
    /// The user it runs as.
    User,
    /// The variables of its environment.
    Environment,
    /// Its working directory.
    Folder,
}

impl ChangedSetting {
    /// For a sentence: "the former …".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::User => "user",
            Self::Environment => "environment",
            Self::Folder => "working folder",
        }
    }
}

/// What a probe attempt observed. It reports and does not judge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A good answer.
    Alive,
    /// A good answer, and something that the user should know.
    AliveWithNote {
        /// What else was seen, for example that only a new connection was answered.
        note: String,
    },
    /// A well-formed answer that is an error: refused login, SQL error, HTTP 5xx.
    Degraded {
        /// The error, shortened, without secrets.
        said: String,
        /// The answer says that the service is still starting (57P03, 503), so it does not count as ready.
        starting: bool,
    },
    /// Asked, and no answer (timeout, reset, malformed data, connection refused by its own port).
    Dead {
        /// What happened instead.
        how: String,
    },
    /// stayd could not ask: its own limits, a blocked helper, a listener outside the tree.
    NoVerdict {
        /// Why stayd could not ask.
        why: String,
    },
}

impl Answer {
    /// Whether the service answered, be it with an error.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        match self {
            Self::Alive | Self::AliveWithNote { .. } | Self::Degraded { .. } => true,
            Self::Dead { .. } | Self::NoVerdict { .. } => false,
        }
    }
}

/// The state and the resource use of the service and the host during an attempt without a good answer.
///
/// An attempt with an answer has the default, which has no meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResourceSample {
    /// The main process is stopped by a signal (state T).
    pub stopped: bool,
    /// A tracer is attached to the main process, or one from outside the tree to another member (TracerPid, or state t).
    pub traced: bool,
    /// The cgroup of a member is frozen.
    pub frozen: bool,
    /// Whether a process of the tree is stopped, traced or frozen could not be read, so the three above may be false where
    /// they should be true.
    pub state_unknown: bool,
    /// The duration over which the figures below were measured; zero if they were not measured.
    pub watched: Duration,
    /// CPU time the tree used in that time.
    pub tree_cpu: Duration,
    /// Bytes the tree read and wrote in that time.
    pub tree_io_bytes: u64,
    /// Why the use of CPU and I/O is not known, or only in part; `None` if it is known.
    pub unknown_use: Option<UnknownUse>,
    /// The tree was throttled by its own CPU quota (`nr_throttled` grew).
    pub throttled: bool,
    /// CPU time all processes used in that time.
    pub host_cpu: Duration,
    /// Processors of the host.
    pub host_cpus: u32,
    /// Runnable threads on the host at the end (proc_stat(5), `procs_running`).
    pub host_runnable: u32,
    /// How long in that time a runnable thread waited for a processor.
    pub host_stalled: Duration,
}

/// Why the use of CPU and I/O of a tree is not known, or only in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownUse {
    /// There is no earlier measurement to compare with, or too little time has passed since.
    ShortWindow,
    /// The I/O of a process cannot be read.
    Io,
    /// Processes of the tree cannot be read.
    Processes,
}

/// One finished attempt of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeAttempt {
    /// When the question was sent: a little after it was ordered.
    pub asked_at: Instant,
    /// Its deadline as ordered, by which the attempt is recognized.
    pub deadline: Instant,
    /// The answer.
    pub answer: Answer,
    /// How long it took.
    pub latency: Duration,
    /// The resource sample taken meanwhile.
    pub sample: ResourceSample,
}

/// What a user or a program requests for one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Start the service.
    Start,
    /// Stop the service, until `start` or the next boot.
    Stop,
    /// Replace the instance by a new one.
    Restart,
    /// Do not kill for this long.
    Hold {
        /// How long.
        duration: Duration,
        /// Why, in the user's words.
        reason: String,
    },
    /// End the hold.
    Release,
}

/// A message of the service over its notify socket (sd_notify(3)). WATCHDOG=1 is not among them: only the `notify` probe needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceMessage {
    /// READY=1
    Ready,
    /// WATCHDOG=trigger
    Trigger,
    /// EXTEND_TIMEOUT_USEC=
    Extend(Duration),
    /// STOPPING=1
    Stopping,
}

/// What an earlier stayd stored about the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PersistedState {
    /// `stop` was requested in this boot.
    pub stopped: bool,
    /// A hold with this much time left, and its reason.
    pub hold: Option<(Duration, String)>,
    /// This probe, query and command had an answer once.
    pub proven: bool,
    /// The last instance number that was used; the next is one more.
    pub last_life: Life,
    /// Parked, with the same program and config as now.
    pub parked: bool,
    /// The state that the version before handed over in this same process (in-place upgrade); it overrides the other fields.
    pub handover: Option<Box<StateHandover>>,
}

/// An instance that an earlier stayd left: proven ours, and supervised again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdoptableInstance {
    /// The runtime it runs from.
    pub runtime: Option<RuntimeId>,
    /// The number of the instance.
    pub life: Life,
    /// Its main process; `None` when that has ended and only other members of the tree are left.
    pub main: Option<Process>,
    /// It was ready once.
    pub was_ready: bool,
    /// A stop or a restart had begun to end it.
    pub ending: bool,
    /// How old the main process is.
    pub age: Duration,
    /// Settings that it was started with and that the configuration has changed since.
    pub changed_settings: Vec<ChangedSetting>,
}

/// Result of the recovery scan: what runs of a service before its first instance under this stayd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScanOutcome {
    /// Nothing of it runs. The number of the last instance that was claimed, 0 for none: that number is used, whatever else
    /// is stored.
    Nothing(Life),
    /// The last claimed instance, of this boot, ended, and no stayd started the next one.
    Ended {
        /// Which instance.
        life: Life,
        /// Its exit, where an earlier stayd saw it and started no other instance; `None`: it ended while no stayd ran.
        exit: Option<Exit>,
    },
    /// An instance of an earlier stayd runs.
    Adoptable(AdoptableInstance),
    /// A process may be ours and cannot be proven ours: which process, why, and what the user can do.
    Unclear(String),
}

/// Something that happened to one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceEvent {
    /// The service is part of the configuration; this is what an earlier stayd stored about it.
    Configured(PersistedState),
    /// A request came.
    Requested(Request),
    /// The recovery scan finished.
    RecoveryScanned(ScanOutcome),
    /// The content of the source was copied if it was new, and the usable runtimes are known.
    Materialized(Life, Offer),
    /// The preparation of an instance succeeded: claim written, `before` run, port free.
    Prepared(Life),
    /// The preparation failed; nothing runs.
    NotPrepared(Life, SpawnFailure),
    /// The preparation failed because `before` did not succeed.
    BeforeFailed(Life, SpawnFailure),
    /// A process that is not provably ours holds the port. The preparation is over; `Attach` or `Retire` follows.
    PortHeld(Life, PortHolder),
    /// The foreign process that the service was attached to has ended, or holds the port no longer.
    ForeignProcessLeft(Life, PortRelease),
    /// exec(2) has succeeded: this is the main process.
    Spawned(Life, Process),
    /// The spawn failed; there is no process.
    NotSpawned(Life, SpawnFailure),
    /// The main process ended and is reaped.
    Exited(Life, Exit, Survivors),
    /// No process of the instance is left.
    TreeEmptied(Life),
    /// The kill's deadline passed with members left; `stuck` of them in state D.
    KillTimedOut {
        /// Which instance.
        life: Life,
        /// Members left.
        left: usize,
        /// Of those, in uninterruptible sleep.
        stuck: usize,
        /// Why the system refused to signal one of them, if it did.
        refusal: Option<String>,
    },
    /// A probe attempt finished.
    Probed(Life, Check, ProbeAttempt),
    /// The evidence is written, or its time is over.
    EvidenceCollected(Life),
    /// The service sent a message by sd_notify(3).
    Notified(Life, ServiceMessage),
    /// The program or the runtime source of a parked service has changed.
    Changed,
}

/// An event and what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passed; a deadline may have come. Early, late and repeated ticks do nothing.
    Tick,
    /// The machine slept or was frozen as a whole for this long.
    Slept(Duration),
    /// The loop itself was late, for this cause: silence of attempts under way means nothing.
    Late(String),
    /// stayd shuts down: ends all services in order; a second time, at once.
    Shutdown,
    /// About one service.
    Service(ServiceId, ServiceEvent),
}

impl ServiceEvent {
    /// The instance it is about; `None` for events about the service as such.
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
            | Self::TreeEmptied(life)
            | Self::KillTimedOut { life, .. }
            | Self::Probed(life, _, _)
            | Self::EvidenceCollected(life)
            | Self::Notified(life, _) => Some(*life),
        }
    }
}
