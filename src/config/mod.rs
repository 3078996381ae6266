//! The configuration as meant: parsed, checked, defaults filled in.

use crate::decide::policy::Policy;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A whole instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The instance's name.
    pub name: String,
    /// The file it came from; none when it came from the command line.
    pub file: Option<PathBuf>,
    /// Its services, in the order of the file.
    pub services: Vec<Service>,
    /// Group that may use the control socket, besides the owner and root.
    pub control_group: Option<String>,
}

/// What a signal is called and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub i32);

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: letters, digits, `-`, `_`, `.`; not starting with `.` or `-`.
    pub name: String,
    /// argv, at least one word.
    pub command: Vec<String>,
    /// Working directory, absolute.
    pub cwd: PathBuf,
    /// Run to its end before each start.
    pub before: Option<Vec<String>>,
    /// Added to the clean environment; may hold secrets, so never shown.
    pub env: BTreeMap<String, String>,
    /// Read at each start.
    pub env_file: Option<PathBuf>,
    /// Run as this user; only when root.
    pub user: Option<String>,
    /// The port it must own.
    pub port: Option<u16>,
    /// `port_owner = "any"`: a listener outside the tree is believed.
    pub any_port_owner: bool,
    /// `kill = "group"`: only the process group.
    pub kill_group_only: bool,
    /// Sent first when stopping.
    pub stop_signal: Signal,
    /// Sent on reload.
    pub reload_signal: Signal,
    /// Offer NOTIFY_SOCKET.
    pub sd_notify: bool,
    /// Names that must be ready first.
    pub after: Vec<String>,
    /// Numbers and choices that decisions depend on.
    pub policy: Policy,
    /// The watchdog's probe.
    pub probe: Option<Probe>,
    /// `first` signal of the watchdog.
    pub first_signal: Option<Signal>,
    /// Extra evidence command.
    pub evidence: Option<Vec<String>>,
    /// Readiness's own probe.
    pub ready: Option<Probe>,
    /// Captured output.
    pub log: Log,
}

/// A question and whom to ask.
#[derive(Clone, PartialEq, Eq)]
pub struct Probe {
    /// The URL with secrets removed; this is what is shown.
    pub shown: String,
    /// Whom to ask.
    pub target: Target,
    /// What to ask, where the protocol has a query; the default is each protocol's own.
    pub query: Option<String>,
    /// HTTP: statuses that are not an error.
    pub expect: Expect,
    /// How long a readiness round may take when there is no watchdog; the watchdog's timeout otherwise.
    pub timeout: Duration,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Probe")
            .field("shown", &self.shown)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host (a literal address, or a name that is resolved in the helper; `localhost` never is) and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Probe targets by protocol.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// PostgreSQL.
    Postgres {
        /// Where.
        at: Endpoint,
        /// Role.
        user: String,
        /// Secret.
        password: Option<String>,
        /// Database.
        database: String,
    },
    /// A SQLite file, asked in the helper.
    Sqlite {
        /// Absolute.
        path: PathBuf,
        /// Take and drop a write lock.
        write: bool,
    },
    /// HTTP/1.1.
    Http {
        /// Where.
        at: Endpoint,
        /// The Host header.
        host: String,
        /// Path and query, starting with `/`.
        path: String,
        /// `user:password`, if the URL had one.
        credentials: Option<String>,
    },
    /// A TCP or Unix connection.
    Connect(Endpoint),
    /// A command: 0 alive; 4, 126, 127 or no spawn no verdict; anything else dead.
    Exec(Vec<String>),
    /// The service's own WATCHDOG=1.
    Notify,
}

/// Accepted HTTP statuses, as inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect(pub Vec<(u16, u16)>);

impl Default for Expect {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

/// Where the output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Decided by who started us.
    Auto,
    /// STATE/logs/SERVICE/
    File,
    /// Our own stdout and stderr (journal stream per service under journald).
    Inherit,
    /// Both.
    Both,
}

/// Output capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where to.
    pub to: LogTo,
    /// Rotated at this size.
    pub max_size_bytes: u64,
    /// This many old files are kept.
    pub keep: u32,
}
