//! Actions: the output of `decide`. The effects layer carries them out, and their outcomes come back as events.

use super::clock::{Duration, Instant};
use super::event::{Check, Exit, Life, Process, ServiceId};
use super::runtime::RuntimeId;

/// What a record is about; the journal's `kind` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// An instance began.
    Started,
    /// This stayd continues an instance of an earlier stayd, or ends it.
    Adopted,
    /// A foreign process on the port is monitored, and never signalled.
    Attached,
    /// It is no longer monitored.
    Detached,
    /// A monitored foreign process no longer answers. stayd would have killed an instance of its own.
    Wedged,
    /// The service is ready.
    Ready,
    /// The main process ended in order, or its exit status is unknown.
    Exited,
    /// The main process ended by a signal or with an error, without a request to end.
    Crashed,
    /// A kill was decided.
    Killed,
    /// A kill was considered and suppressed.
    Suppressed,
    /// The class of probe attempts changed.
    Verdict,
    /// Degraded for ten minutes.
    Degraded,
    /// No probe attempt has given a verdict for five minutes.
    Blind,
    /// A request arrived.
    Requested,
    /// Waiting before the next instance.
    Backoff,
    /// Too many instances ended.
    GaveUp,
    /// Cannot start: conflict, configuration, permission.
    Blocked,
    /// The launcher exited; its child is supervised.
    Daemonized,
    /// Processes that SIGKILL does not end.
    Unkillable,
    /// The machine slept.
    Slept,
    /// All services failed at once: the host is suspected.
    CommonCause,
    /// Stopped by a request or by its restart policy.
    Stopped,
    /// Left by an earlier stayd, of a service that is no longer configured.
    OrphanedService,
    /// A process that was reparented to stayd and belongs to no known instance.
    UnattributedOrphan,
    /// A different runtime than before.
    Runtime,
    /// An older runtime than the source's, because the source is gone or its runtime is marked bad.
    FallbackRuntime,
    /// A new runtime was given up for the last good one.
    RolledBack,
    /// stayd's own state directory was deleted or replaced.
    StateLost,
    /// A new version of stayd replaced the running one in the same process, or could not.
    Upgraded,
}

impl RecordKind {
    /// Stable name in journal and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Adopted => "adopted",
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Wedged => "wedged",
            Self::Ready => "ready",
            Self::Exited => "exited",
            Self::Crashed => "crashed",
            Self::Killed => "killed",
            Self::Suppressed => "spared",
            Self::Verdict => "verdict",
            Self::Degraded => "degraded",
            Self::Blind => "blind",
            Self::Requested => "wished",
            Self::Backoff => "backoff",
            Self::GaveUp => "gave-up",
            Self::Blocked => "blocked",
            Self::Daemonized => "daemonized",
            Self::Unkillable => "unkillable",
            Self::Slept => "slept",
            Self::CommonCause => "common-cause",
            Self::Stopped => "stopped",
            Self::OrphanedService => "forgotten",
            Self::UnattributedOrphan => "orphan",
            Self::Runtime => "runtime",
            Self::FallbackRuntime => "old-runtime",
            Self::RolledBack => "rolled-back",
            Self::StateLost => "state-lost",
            Self::Upgraded => "upgraded",
        }
    }

    /// Whether `why` shows it: it records a decision, not only news.
    #[must_use]
    pub const fn is_decision(self) -> bool {
        match self {
            Self::Adopted
            | Self::Attached
            | Self::Detached
            | Self::Wedged
            | Self::Killed
            | Self::Suppressed
            | Self::GaveUp
            | Self::Blocked
            | Self::Daemonized
            | Self::Unkillable
            | Self::CommonCause
            | Self::Backoff
            | Self::Stopped
            | Self::OrphanedService
            | Self::UnattributedOrphan
            | Self::Degraded
            | Self::Blind
            | Self::FallbackRuntime
            | Self::RolledBack
            | Self::Exited
            | Self::Crashed => true,
            Self::Started
            | Self::Runtime
            | Self::Ready
            | Self::Verdict
            | Self::Requested
            | Self::Slept
            | Self::StateLost
            | Self::Upgraded => false,
        }
    }
}

/// One value that a decision was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecordValue {
    /// A count or a size.
    Number(u64),
    /// Milliseconds.
    Millis(u64),
    /// Yes or no.
    Flag(bool),
    /// Text.
    Text(String),
}

/// A decision or an event for the journal: a sentence, and the facts it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// What it is about.
    pub kind: RecordKind,
    /// The number of the instance, if it is about one.
    pub life: Option<Life>,
    /// For users.
    pub sentence: String,
    /// For programs, and for `replay`.
    pub facts: Vec<(&'static str, RecordValue)>,
}

/// State to store for a later stayd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Persist {
    /// `stop` holds until `start` or the next boot.
    Stopped(bool),
    /// A hold: how much longer, and why; or none.
    Hold(Option<(Duration, String)>),
    /// The probe had an answer.
    Proven,
    /// Parked, or no longer.
    Parked(bool),
}

/// Something to do for one service. Outcomes come back as events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceAction {
    /// Search for an instance that an earlier stayd left, and adopt it if it is proven ours. Comes back as
    /// `RecoveryScanned`.
    RecoveryScan,
    /// Copy the content of the service's source if it is new, and report the usable runtimes. Comes back as `Materialized`, or
    /// as `NotPrepared` when it is cancelled.
    Materialize(Life),
    /// Start the next instance from this runtime.
    UseRuntime(RuntimeId),
    /// Store that the service became ready under this runtime.
    MarkRuntimeGood(RuntimeId),
    /// Store that this runtime must not be used again until the source holds another, and why.
    MarkRuntimeBad(RuntimeId, String),
    /// Store in the claim that this instance became ready.
    MarkReady(Life),
    /// Write the claim for this instance, run `before`, check whether the port is free.
    /// Comes back as `Prepared`, `NotPrepared`, `BeforeFailed` or `PortHeld`.
    Prepare(Life),
    /// A foreign process holds the port: watch whether it still does, and signal nothing. Comes back as
    /// `ForeignProcessLeft`.
    Attach {
        /// The number of the attachment; no instance of ours has this number.
        life: Life,
        /// The process; `None` when it is hidden from stayd.
        foreign: Option<Process>,
    },
    /// Check from time to time whether the program or the runtime source differs from the one that failed; comes back as
    /// `Changed`. False: stop checking.
    AwaitChange(bool),
    /// Start the program. Comes back as `Spawned` or `NotSpawned`.
    Spawn(Life),
    /// Cancel a preparation that is under way, because of a request or its deadline.
    CancelPreparation(Life),
    /// Send the stop signal (and CONT) to the main process; to the whole tree if `tree`.
    Terminate {
        /// Which instance.
        life: Life,
        /// Signal all that is left of the tree, because the main process is gone.
        tree: bool,
    },
    /// Send the watchdog's `first` signal to the main process.
    SignalFirst(Life),
    /// SIGKILL the whole tree until no process is left. Comes back as `Exited` and `TreeEmptied`, or as `KillTimedOut`.
    KillTree(Life),
    /// Supervise this descendant as the instance's main process: its launcher has exited.
    SuperviseSuccessor {
        /// Which instance.
        life: Life,
        /// The new main process.
        successor: Process,
    },
    /// Begin a probe attempt with this deadline. Comes back as `Probed`.
    Probe {
        /// Which instance.
        life: Life,
        /// Which probe.
        check: Check,
        /// When the answer must be there.
        deadline: Instant,
    },
    /// Collect evidence for at most this long; of a foreign process, only from outside. Comes back as
    /// `EvidenceCollected`.
    CollectEvidence {
        /// Which instance.
        life: Life,
        /// How long it may take.
        within: Duration,
    },
    /// The instance is over: close its probes and output, and release its claim.
    Retire(Life),
    /// The instance is over and no restart follows: as `Retire`, but keep the claim, with this exit in it, so that a stayd
    /// that starts after a crash of this one starts no instance either. The claim is replaced by the
    /// next instance, or removed when stayd shuts down in order.
    RetireKeepingClaim(Life, Exit),
    /// No instance is about to start: close the sockets that are held for the next one.
    CloseSockets,
    /// Append to the journal and write to the log.
    Record(Record),
    /// Store state for a later stayd.
    Persist(Persist),
}

/// An action and the service it is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// For one service.
    Service(ServiceId, ServiceAction),
    /// Every service has a verdict: send READY=1 to the parent supervisor.
    AnnounceReady,
    /// No service runs any more: end.
    Finish,
}
