//! Orders: everything that can be done, in the imperative.

use super::clock::{Duration, Instant};
use super::event::{Check, Exit, Life, ServiceId};
use super::runtime::RuntimeId;

/// What a record is about; the journal's `kind` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A life began.
    Started,
    /// An earlier stayd's life goes on under this one, or is ended by it.
    Adopted,
    /// Somebody else's process on the port is watched, and never signalled.
    Attached,
    /// It is watched no longer.
    Detached,
    /// A stranger that is watched answers no more: a life of ours would have been killed.
    Wedged,
    /// Ready.
    Ready,
    /// The main process ended in order, or nobody knows how.
    Exited,
    /// The main process ended by a signal or with an error, and nobody had asked it to end.
    Crashed,
    /// A kill was decided.
    Killed,
    /// A kill was considered and not done.
    Suppressed,
    /// The class of rounds changed.
    Verdict,
    /// Degraded for ten minutes.
    Degraded,
    /// A wish arrived.
    Requested,
    /// Waiting before the next life.
    Backoff,
    /// Too many ended lives.
    GaveUp,
    /// Cannot start: conflict, configuration, permission.
    Blocked,
    /// The launcher forked away; its child is supervised.
    Daemonized,
    /// Processes that SIGKILL does not end.
    Unkillable,
    /// The machine slept.
    Slept,
    /// The whole fleet failed at once: the host is suspected.
    CommonCause,
    /// Stopped for good by a wish or its restart policy.
    Stopped,
    /// Left by an earlier stayd, of a service that is not configured any more.
    Forgotten,
    /// Landed with stayd when its parent ended; nothing proves whose it is.
    Orphan,
    /// Another runtime than before.
    Runtime,
    /// An older runtime than the source's, because that is gone or refused.
    OldRuntime,
    /// A new runtime was given up for the last good one.
    RolledBack,
    /// stayd's own state folder was deleted or replaced.
    StateLost,
    /// A new version of stayd took the place of the one that ran, or could not.
    Upgraded,
}

impl Kind {
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
            Self::Requested => "wished",
            Self::Backoff => "backoff",
            Self::GaveUp => "gave-up",
            Self::Blocked => "blocked",
            Self::Daemonized => "daemonized",
            Self::Unkillable => "unkillable",
            Self::Slept => "slept",
            Self::CommonCause => "common-cause",
            Self::Stopped => "stopped",
            Self::Forgotten => "forgotten",
            Self::Orphan => "orphan",
            Self::Runtime => "runtime",
            Self::OldRuntime => "old-runtime",
            Self::RolledBack => "rolled-back",
            Self::StateLost => "state-lost",
            Self::Upgraded => "upgraded",
        }
    }

    /// Whether `why` shows it: a decision, not only news.
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
            | Self::Forgotten
            | Self::Orphan
            | Self::Degraded
            | Self::OldRuntime
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

/// One value a decision was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A count or a size.
    Number(u64),
    /// Milliseconds.
    Millis(u64),
    /// Yes or no.
    Flag(bool),
    /// Words.
    Text(String),
}

/// A decision or an event for the journal: a sentence, and the facts it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// What it is about.
    pub kind: Kind,
    /// Which life, if one.
    pub life: Option<Life>,
    /// For a person.
    pub sentence: String,
    /// For a machine, and for the replay.
    pub facts: Vec<(&'static str, Value)>,
}

/// What has to outlive this stayd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Persist {
    /// `stop` holds until `start` or the next boot.
    Stopped(bool),
    /// A hold: how much longer and why; or none.
    Hold(Option<(Duration, String)>),
    /// The probe had an answer.
    Proven,
    /// Parked, or no longer.
    Parked(bool),
}

/// Something to do for one service. Outcomes come back as facts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceAction {
    /// Look for what an earlier stayd has left of the service, and take it in hand. Comes back as `RecoveryScanned`.
    ScanOutcome,
    /// Look at the service's runtimes, and copy what its source holds where that is new. Comes back as `Materialized`, or
    /// as `NotPrepared` when it is cancelled.
    Materialize(Life),
    /// The next life runs from this one.
    UseRuntime(RuntimeId),
    /// Remember that the service became ready under this runtime.
    MarkRuntimeGood(RuntimeId),
    /// Remember that this runtime is not used again until the source holds another, and why.
    MarkRuntimeBad(RuntimeId, String),
    /// Write the claim for this life, run `before`, look whether the port is free.
    /// Comes back as `Prepared`, `NotPrepared`, `BeforeFailed` or `PortHeld`.
    Prepare(Life),
    /// The port of this life is somebody else's: look whether that stays so, and touch nobody. Comes back as
    /// `ForeignProcessLeft`.
    Attach {
        /// The number of the watch; no process of ours has it.
        life: Life,
        /// Whom; none when it is hidden from us.
        stranger: Option<super::event::Process>,
    },
    /// Look again and again whether another program, or another runtime, is to be started than has failed; comes back as
    /// `Changed`. False: no longer.
    AwaitChange(bool),
    /// Start the program. Comes back as `Spawned` or `NotSpawned`.
    Spawn(Life),
    /// Give up a preparation that is under way (a wish came between).
    CancelPreparation(Life),
    /// Send the stop signal (and CONT) to the main process; to the whole tree if `tree`.
    Terminate {
        /// Which life.
        life: Life,
        /// Everything that is left, because the main process has gone.
        tree: bool,
    },
    /// Send the `first` signal of the watchdog to the main process.
    SignalFirst(Life),
    /// SIGKILL the whole tree until nothing is left. Comes back as `Exited` and `Emptied`, or `NotEmptied`.
    KillTree(Life),
    /// Supervise this descendant as the life's main process: its launcher has forked away.
    SuperviseSuccessor {
        /// Which life.
        life: Life,
        /// The new main process.
        successor: super::event::Process,
    },
    /// Ask, with this deadline. Comes back as `Probed`.
    Probe {
        /// Which life.
        life: Life,
        /// Which probe.
        check: Check,
        /// When the answer must be there.
        deadline: Instant,
    },
    /// Take evidence for at most this long; of a stranger, only by looking. Comes back as `EvidenceTaken`.
    TakeEvidence {
        /// Which life.
        life: Life,
        /// Its bound.
        within: Duration,
    },
    /// The life is over: close probes and output; release the claim.
    Retire(Life),
    /// No life is on its way: close the sockets that are held for the next one.
    CloseSockets,
    /// The same, but none follows by itself: the claim stays and says how it ended, so that a stayd which comes after a
    /// crash of this one begins none either. It goes with the next life, or when stayd ends in order.
    Conclude(Life, Exit),
    /// Append to the journal and tell the log.
    Record(Record),
    /// Remember over our own death.
    Persist(Persist),
}

/// An order and whom it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// For one service.
    Service(ServiceId, ServiceAction),
    /// Every service has a verdict: tell the supervisor READY=1.
    AnnounceReady,
    /// Nothing runs any more: end.
    Finish,
}
