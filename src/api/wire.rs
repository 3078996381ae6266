//! The JSON bodies of the API, member by member as docs/reference/json.md and docs/openapi.json describe them.
//!
//! Reading is lenient: a missing member gets its default, an unknown one is ignored, and members whose set of values may
//! grow (`state`, `class`, `kind`) are text. So an old client understands a new daemon, and a new client an old one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Changes if an old reader would misunderstand the new form; not for an added member.
pub const SCHEMA: u32 = 1;

/// `GET /v1/status` and `status --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`SCHEMA`]
    pub schema: u32,
    /// About stayd itself.
    pub daemon: Daemon,
    /// The services, in the order of the configuration.
    pub services: Vec<Service>,
    /// The jobs.
    pub jobs: Vec<Value>,
}

/// A running stayd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Daemon {
    /// The name of the instance.
    pub name: String,
    /// Its pid.
    pub pid: i32,
    /// The version of the program.
    pub version: String,
    /// When it started (RFC 3339, UTC).
    pub started_at: String,
    /// The parent supervisor: `systemd`, `launchd`, `container`, `terminal`, `other`.
    pub supervisor: String,
    /// The configuration file; `None` if the service came from the command line.
    pub config: Option<String>,
    /// The state directory.
    pub state_dir: String,
    /// The path of the control socket.
    pub socket: String,
    /// Problems of stayd itself and what to do about them.
    pub warnings: Vec<String>,
    /// Orphaned services: processes that an earlier stayd started for services that are no longer configured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<UnmanagedProcess>,
    /// Unattributed orphans: processes that were reparented to stayd and belong to no known instance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<UnmanagedProcess>,
    /// The last attempt of an in-place upgrade; `None` before the first.
    pub upgrade: Option<Upgrade>,
}

/// A process that stayd shows but does not manage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnmanagedProcess {
    /// The service for which it was started, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its pid.
    pub pid: i32,
    /// The number of the instance for which it was started, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<u32>,
    /// What the process is, and what the user can do.
    pub message: String,
}

/// An in-place upgrade: a new version replaces the running one in the same process. This is the answer to
/// `POST /v1/upgrade`, and in the status it tells the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upgrade {
    /// The number of the upgrade, counted from 1.
    pub number: u32,
    /// The version before the upgrade.
    pub from: String,
    /// The new version.
    pub to: String,
    /// The program file of the new version.
    pub program: String,
    /// When it began (RFC 3339).
    pub at: String,
    /// Why the old version kept running; `None` if the new one runs or is about to.
    pub refused: Option<String>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `running`, `suspect`, `parked` and so on.
    pub state: String,
    /// `up` or `down`.
    pub wanted: String,
    /// The service answers, as far as its probes show.
    pub healthy: bool,
    /// The pid of the main process.
    pub pid: Option<i32>,
    /// The number of its present or last instance.
    pub life: u32,
    /// `spawned`, `adopted`, `attached`, `none`.
    pub ownership: String,
    /// When it entered this state (RFC 3339).
    pub since: String,
    /// Instances after the first.
    pub restarts: u32,
    /// Why it is in this state, as a sentence.
    pub reason: String,
    /// The reason is the failure of an earlier instance.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reason_is_past: bool,
    /// How the last instance ended.
    pub last_exit: Option<LastExit>,
    /// Its checks and their last results.
    pub probes: Vec<Probe>,
    /// The port that it must own.
    pub port: Option<u16>,
    /// Open files of its main process, if known.
    pub open_files: Option<u64>,
    /// Resident memory of its main process, if known.
    pub memory_bytes: Option<u64>,
    /// CPU time that its main process and the children that it has waited for have used, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The runtime or the replaced program that it runs from.
    pub runtime: Option<Runtime>,
    /// Kills are suppressed until a time.
    pub hold: Option<Hold>,
}

impl Service {
    /// Whether an instance has run and ended since the service was as in `before`.
    pub(super) fn has_run_since(&self, before: &Self) -> bool {
        let has_ended = matches!(
            self.state.as_str(),
            "backoff" | "parked" | "stopped" | "starting" | "running"
        );
        self.life > before.life && has_ended && self.last_exit.is_some()
    }
}

/// What a service runs from: a materialized runtime, or a program whose file has been replaced since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// The hash of the content of a runtime; `None` for a program.
    pub fingerprint: Option<String>,
    /// Its path.
    pub path: String,
    /// The running code differs from the source of the runtime, or from the program file.
    pub stale: bool,
}

/// How an instance ended; neither code nor signal if the kernel did not report it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastExit {
    /// The exit status.
    pub code: Option<i32>,
    /// The name of the signal without `SIG`: `KILL`.
    pub signal: Option<String>,
    /// When (RFC 3339).
    pub at: String,
}

/// The last result of a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// `liveness` or `readiness`.
    pub check: String,
    /// The URL of the probe, without secrets.
    pub target: String,
    /// The last probe attempt got an answer (alive or degraded).
    pub ok: bool,
    /// `alive`, `degraded`, `dead`, `no-verdict`, `void`; `None` before the first attempt.
    pub class: Option<String>,
    /// How long the last attempt took.
    pub latency_ms: Option<f64>,
    /// Consecutive failures.
    pub failures: u32,
    /// When it last got an answer (RFC 3339).
    pub last_ok_at: Option<String>,
}

/// A hold: kills are suppressed for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hold {
    /// When it ends (RFC 3339).
    pub until: String,
    /// The reason that the user gave.
    pub reason: String,
}

/// A record of the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Ascending; for `since` and `Last-Event-ID`.
    pub id: u64,
    /// When (RFC 3339).
    pub at: String,
    /// The service that it is about; `None`: stayd itself.
    pub service: Option<String>,
    /// `started`, `killed`, `spared` and so on.
    pub kind: String,
    /// The number of the instance that it is about.
    pub life: Option<u32>,
    /// What happened, as a sentence.
    pub message: String,
    /// The inputs of a decision.
    pub facts: Map<String, Value>,
}

/// The answer to `/v1/events` and `/v1/services/NAME/why`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Records, oldest first.
    pub events: Vec<Event>,
}

/// A wedge, crash, leak, conflict or give-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// The record of the decision.
    #[serde(flatten)]
    pub event: Event,
    /// The evidence collected before the kill, as text; only in the answer about a single incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// The answer to `/v1/incidents`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incidents {
    /// Incidents, oldest first.
    pub incidents: Vec<Incident>,
}

/// The answer to `/v1/services/NAME/logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLines {
    /// Log lines, oldest first, without line ends; bytes that are not UTF-8 are replaced.
    pub lines: Vec<String>,
}

/// The body of `POST …/hold`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldRequest {
    /// How long, such as `30m`.
    #[serde(rename = "for")]
    pub duration: String,
    /// Why; shown to other users.
    pub reason: String,
}

/// The answer to a command about a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandReply {
    /// The command has succeeded; false if the client did not wait for the outcome, or it did not come in time.
    pub done: bool,
    /// The present state of the service.
    pub service: Service,
    /// Set if the command is carried out but is not on disk, so that it is lost if stayd ends; says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The answer to `/livez` and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthReport {
    /// stayd answers (`/livez`), or every service is ready (`/readyz`).
    pub ok: bool,
    /// The services that are not ready.
    pub waiting_for: Vec<String>,
}

/// The answer to a request that failed: `{"error":{"kind":"…","message":"cannot …"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// Why it failed.
    pub error: ErrorDetail,
}

/// A stable identifier for programs and a sentence for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// See [`crate::api::backend::ApiErrorKind`].
    pub kind: String,
    /// "cannot …: cause; what to do".
    pub message: String,
}
