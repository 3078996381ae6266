//! The configuration: a file or a command line, parsed into what it means.
//!
//! Nothing outside this room sees TOML, strings of durations or unchecked URLs: it gets a [`Config`]
//! with every default filled in, or a list of [`Finding`]s which name the place, the cause and the cure.

mod command_line;
mod cross_check;
mod env_file;
mod finding;
mod glob;
mod keys;
mod listen;
mod load;
pub mod paths;
mod prerequisite;
mod probe_url;
pub mod reference;
pub mod roff;
pub mod runtime;
mod schema;
mod secret;
mod section;
mod service;
mod signal;
mod source;
mod table;
mod text_file;
mod url_parts;
mod value;
mod words;

pub use command_line::{CommandLine, probe_from_command_line};
pub use env_file::{parse_env_file, read_env_file};
pub use finding::{Finding, Level, Location};
pub use load::{default_name, load, peek_name};
pub use prerequisite::Prerequisite;
pub use schema::schema;
pub use service::EVIDENCE_LIMIT;
pub use words::{SplitError, is_name, name_from, split_words};

/// Where stayd listens for a service.
pub use crate::sys::listen::Address as Listen;

use crate::decide::policy::Policy;
use crate::sys::fnv::Fnv;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
#[derive(Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: letters, digits, `-`, `_`, `.`; not starting with `.` or `-`.
    pub name: String,
    /// argv, at least one word.
    pub command: Vec<String>,
    /// Working directory, absolute, or from [`runtime::RUNTIME_PLACEHOLDER`].
    pub cwd: PathBuf,
    /// Run to its end before each start.
    pub before: Option<Vec<String>>,
    /// What its files are copied from, before it is started from the copy.
    pub runtime: Option<runtime::Runtime>,
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
    /// Bound and held by stayd, passed on as LISTEN_FDS in this order.
    pub sockets: Vec<Listen>,
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

/// Leaves out `env`, which may hold secrets.
impl std::fmt::Debug for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Service")
            .field("name", &self.name)
            .field("command", &self.command)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("port", &self.port)
            .field("policy", &self.policy)
            .field("probe", &self.probe)
            .field("ready", &self.ready)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Whether the child gets our NOTIFY_SOCKET: asked for, or needed by its probe.
    #[must_use]
    pub fn offers_notify_socket(&self) -> bool {
        self.sd_notify
            || self
                .probe
                .as_ref()
                .is_some_and(|probe| probe.target == Target::Notify)
    }

    /// Stable text that changes when the probe, its query or the command does; holds no secret.
    ///
    /// An answer is proof only for this key: a probe that has never had an answer kills nobody.
    /// The addresses behind `${ENV}` count, the passwords do not.
    #[must_use]
    pub fn proof_key(&self) -> String {
        let mut hash = Fnv::START;
        if let Some(probe) = &self.probe {
            hash = hash.with(&probe.shown).with(&probe.target.address());
            hash = hash.with(probe.query_shown.as_deref().unwrap_or_default());
        }
        self.with_command(hash)
    }

    /// Changes when another program or other arguments are to run.
    #[must_use]
    pub fn command_key(&self) -> String {
        self.with_command(Fnv::START)
    }

    /// Changes when a variable of `env` or the path of the env_file does. What is in that file does not count.
    #[must_use]
    pub fn env_key(&self) -> String {
        let hash = self.env.iter().fold(Fnv::START, |hash, (name, value)| {
            hash.with(name).with(value)
        });
        let file = self.env_file.as_deref().unwrap_or(Path::new(""));
        format!("{:016x}", hash.with(&file.to_string_lossy()).0)
    }

    fn with_command(&self, hash: Fnv) -> String {
        let hash = self.command.iter().fold(hash, |hash, word| hash.with(word));
        format!("{:016x}", hash.0)
    }
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
    /// The query as written, `${ENV}` not filled in; this is what is shown.
    pub query_shown: Option<String>,
    /// HTTP: statuses that are not an error.
    pub expect: Expect,
    /// How long a readiness round may take when there is no watchdog; the watchdog's timeout otherwise.
    pub timeout: Duration,
}

impl Probe {
    /// What is asked, for sentences: `SELECT 1`, `GET /health`, `a connection`.
    #[must_use]
    pub fn question(&self) -> String {
        match &self.target {
            Target::Postgres { .. } => self
                .query_shown
                .clone()
                .unwrap_or_else(|| "SELECT 1".into()),
            Target::Sqlite { path, .. } => format!("a read of {}", path.display()),
            Target::Http { path, .. } => {
                format!("GET {}", path.split('?').next().unwrap_or_default())
            }
            Target::Connect(at) => format!("a connection to {at}"),
            Target::Exec(argv) => argv
                .first()
                .map_or_else(String::new, |program| format!("the probe {program}")),
            Target::Notify => "the wait for its WATCHDOG=1".into(),
        }
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Probe")
            .field("shown", &self.shown)
            .field("query", &self.query_shown)
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

impl Target {
    /// What it connects to; none for a file, a command and `notify`.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Postgres { at, .. } | Self::Http { at, .. } | Self::Connect(at) => Some(at),
            Self::Sqlite { .. } | Self::Exec(_) | Self::Notify => None,
        }
    }

    /// Where it is asked, without user, password or query.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Postgres { at, database, .. } => format!("{at}/{database}"),
            Self::Sqlite { path, .. } => path.display().to_string(),
            Self::Http { at, path, .. } => {
                format!("{at}{}", path.split('?').next().unwrap_or_default())
            }
            Self::Connect(at) => at.to_string(),
            Self::Exec(words) => words.join(" "),
            Self::Notify => "notify".into(),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
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

impl Log {
    /// Into a file, as if the configuration said nothing else.
    pub const BY_DEFAULT: Self = Self {
        to: LogTo::File,
        max_size_bytes: 10 << 20,
        keep: 5,
    };
}

/// A configuration and what was noticed about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// Nothing that stops it; each is worth a line in the log.
    pub warnings: Vec<Finding>,
    /// What it counts on outside of itself, each with the place that says so. Not looked at: a file system may hang.
    pub prerequisites: Vec<(Location, Prerequisite)>,
}

/// What the system said, without the number that Rust adds.
fn os_error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}
