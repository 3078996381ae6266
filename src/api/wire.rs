//! What goes over the socket, field by field as the reference has it.
//!
//! Every structure is read leniently (a missing field is its default, an unknown one is ignored) and words that may grow
//! (`state`, `class`, `kind`) are text, so that an old client understands a new daemon and the other way round.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The number that changes when an old reader would misunderstand; never for an added field.
pub const SCHEMA: u32 = 1;

/// `GET /v1/status` and `status --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The stayd that answers.
    pub daemon: Daemon,
    /// Its services, in the order of the configuration.
    pub services: Vec<Service>,
    /// Its jobs.
    pub jobs: Vec<Value>,
}

/// One running stayd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Daemon {
    /// The instance.
    pub name: String,
    /// Its process.
    pub pid: i32,
    /// The program's version.
    pub version: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Who started it: `systemd`, `launchd`, `container`, `terminal`, `other`.
    pub supervisor: String,
    /// The configuration file; none when everything came from the command line.
    pub config: Option<String>,
    /// The state directory.
    pub state_dir: String,
    /// The control socket.
    pub socket: String,
    /// What is wrong with stayd's own surroundings and what to do about it; empty when nothing is.
    pub warnings: Vec<String>,
    /// What earlier stayds have left running of services that are not configured any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<LeftAlone>,
    /// Processes that landed with stayd when their parents ended, and of which nothing proves whose they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<LeftAlone>,
    /// The last time that a new version was to take its place; none before the first.
    pub upgrade: Option<Upgrade>,
}

/// A process that is named, shown and left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftAlone {
    /// The service that it was started as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its number.
    pub pid: i32,
    /// The life that it was started as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<u32>,
    /// What it is and what to do.
    pub message: String,
}

/// A new version takes the place of the one that runs, in the same process: the answer to `POST /v1/upgrade`, and what
/// became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upgrade {
    /// Ascending from 1.
    pub number: u32,
    /// The version that ran.
    pub from: String,
    /// The version that was to take its place.
    pub to: String,
    /// The program file.
    pub program: String,
    /// RFC 3339.
    pub at: String,
    /// Why the old one went on; none when the new one runs, or is about to.
    pub refused: Option<String>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `running`, `suspect`, `parked` and so on.
    pub state: String,
    /// `up` or `down`.
    pub wanted: String,
    /// Answering, as far as is known.
    pub healthy: bool,
    /// The main process.
    pub pid: Option<i32>,
    /// The number of its current or last life.
    pub life: u32,
    /// `spawned`, `adopted`, `attached`, `none`.
    pub ownership: String,
    /// Since when it is in this state (RFC 3339).
    pub since: String,
    /// Lives after the first.
    pub restarts: u32,
    /// Why it is in this state, in a sentence.
    pub reason: String,
    /// How the last life ended.
    pub last_exit: Option<LastExit>,
    /// Its probes.
    pub probes: Vec<Probe>,
    /// The port it must own.
    pub port: Option<u16>,
    /// Files its main process has open, where known.
    pub open_files: Option<u64>,
    /// Resident memory of its main process, where known.
    pub memory_bytes: Option<u64>,
    /// Its materialized runtime.
    pub runtime: Option<Runtime>,
    /// No kills until then.
    pub hold: Option<Hold>,
}

/// What a service runs from: a copy; or a program in whose place there is another one by now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// The hash of what is in it; none of a plain program.
    pub fingerprint: Option<String>,
    /// Where it is.
    pub path: String,
    /// The source, or the program's place, holds something else by now.
    pub stale: bool,
}

/// How a life ended; neither code nor signal when the kernel did not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastExit {
    /// exit(2)'s status.
    pub code: Option<i32>,
    /// The signal's name without SIG: `KILL`.
    pub signal: Option<String>,
    /// RFC 3339.
    pub at: String,
}

/// Last news of a probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// `liveness` or `readiness`.
    pub check: String,
    /// The URL, without secrets.
    pub target: String,
    /// The last round was answered (alive or degraded).
    pub ok: bool,
    /// `alive`, `degraded`, `dead`, `no-verdict`, `void`; none before the first round.
    pub class: Option<String>,
    /// How long the last round took.
    pub latency_ms: Option<f64>,
    /// Dead rounds in a row.
    pub failures: u32,
    /// When it was last answered (RFC 3339).
    pub last_ok_at: Option<String>,
}

/// No kills for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hold {
    /// RFC 3339.
    pub until: String,
    /// Why, in the words of who asked for it.
    pub reason: String,
}

/// One record of the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Ascending; what `since` and `Last-Event-ID` take.
    pub id: u64,
    /// RFC 3339.
    pub at: String,
    /// Whom it is about; none when about stayd itself.
    pub service: Option<String>,
    /// `started`, `killed`, `spared` and so on.
    pub kind: String,
    /// Which life.
    pub life: Option<u32>,
    /// For a person.
    pub message: String,
    /// What a decision was made from.
    pub facts: Map<String, Value>,
}

/// A list of records: `/v1/events`, `/v1/services/NAME/why`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
}

/// A wedge, crash, conflict or give-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// The decision.
    #[serde(flatten)]
    pub event: Event,
    /// What was seen before the kill, as text; only when one incident is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// `/v1/incidents`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incidents {
    /// Oldest first.
    pub incidents: Vec<Incident>,
}

/// `/v1/services/NAME/logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lines {
    /// Oldest first, without line ends; bytes that are not UTF-8 are replaced.
    pub lines: Vec<String>,
}

/// The body of `POST …/hold`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldRequest {
    /// `30m`
    #[serde(rename = "for")]
    pub span: String,
    /// Why.
    pub reason: String,
}

/// The answer to a wish.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requested {
    /// The outcome is there; false when it was not waited for, or not in time.
    pub done: bool,
    /// The service now.
    pub service: Service,
    /// It is carried out, but does not outlive this stayd, and why; none: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// `/livez` and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answering {
    /// The question's answer.
    pub ok: bool,
    /// Services it is not true of.
    pub waiting_for: Vec<String>,
}

/// Anything that went wrong: `{"error":{"kind":"…","message":"cannot …"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// What.
    pub error: Fault,
}

/// A stable word for programs and a sentence for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// See [`crate::api::desk::Kind`].
    pub kind: String,
    /// "cannot …: cause; what to do".
    pub message: String,
}
