//! The configuration: parses a file or a command line into a [`Config`].
//!
//! Other modules never see TOML, durations as text, or unchecked URLs. They get a [`Config`] with all defaults applied, or
//! a list of [`Finding`]s, each with the place, the cause, and what to do.

mod command_line;
mod cross_check;
mod env_file;
mod finding;
mod glob;
mod key;
mod keys;
mod listen;
mod listening;
mod load;
pub mod paths;
mod port_addresses;
mod prerequisite;
mod probe_url;
pub mod reference;
pub mod runtime;
mod schema;
mod secret;
mod section;
mod service;
mod shell_syntax;
mod signal;
mod source;
mod table;
mod text_file;
mod toml_reader;
mod url_parts;
mod value;
mod words;

pub use command_line::{CommandLine, probe_from_command_line};
pub use env_file::{parse_env_file, read_env_file};
pub use finding::{Finding, Level, Location};
pub use listening::ListeningAddresses;
pub use load::{default_name, load, peek_name};
pub use port_addresses::{PortAddresses, literal_addresses};
pub use prerequisite::Prerequisite;
pub use schema::schema;
pub use service::EVIDENCE_LIMIT;
pub use words::{SplitError, is_name, name_from, split_words};

/// An address on which stayd listens for a service.
pub use crate::sys::listen::Address as Listen;

use crate::decide::policy::Policy;
use crate::sys::fnv::Fnv;
use crate::sys::limits::OpenFilesLimit;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of the instance.
    pub name: String,
    /// The file that it was read from; none if it was given on the command line.
    pub file: Option<PathBuf>,
    /// Its services, in the order of the file.
    pub services: Vec<Service>,
    /// The group that may use the control socket, besides the owner and root.
    pub control_group: Option<String>,
}

/// A signal, by its number on this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub i32);

/// One service.
#[derive(Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: letters, digits, `-`, `_`, `.`; not starting with `.` or `-`.
    pub name: String,
    /// The program and its arguments, at least one word.
    pub command: Vec<String>,
    /// The working directory: an absolute path, or one that begins with [`runtime::RUNTIME_PLACEHOLDER`].
    pub cwd: PathBuf,
    /// A command that runs to its end before each start.
    pub before: Option<Vec<String>>,
    /// The folder whose copy the service runs from.
    pub runtime: Option<runtime::Runtime>,
    /// Variables added to the clean environment. They may contain secrets, so they are never displayed.
    pub env: BTreeMap<String, String>,
    /// A dotenv file, read at each start.
    pub env_file: Option<PathBuf>,
    /// Which variables of stayd it inherits.
    pub inherit_env: InheritEnv,
    /// Variables of stayd that its probe URLs refer to.
    pub secret_variables: Vec<String>,
    /// The user that the service runs as; requires root.
    pub user: Option<String>,
    /// The file mode creation mask of the service.
    pub umask: u32,
    /// Its limit of open files, if one is configured.
    pub limit_nofile: Option<OpenFilesLimit>,
    /// The port that the service must own.
    pub port: Option<u16>,
    /// `port_owner = "any"`: accept a listener outside the process tree.
    pub any_port_owner: bool,
    /// `kill = "group"`: kill only the process group, not the whole tree.
    pub kill_group_only: bool,
    /// The signal that asks the service to stop.
    pub stop_signal: Signal,
    /// The signal that asks the service to reload.
    pub reload_signal: Signal,
    /// Whether `sd_notify` is set: the service gets NOTIFY_SOCKET.
    pub sd_notify: bool,
    /// Sockets that stayd binds and holds, passed on as LISTEN_FDS in this order.
    pub sockets: Vec<Listen>,
    /// The names of services that must be ready first.
    pub after: Vec<String>,
    /// The settings that decisions depend on.
    pub policy: Policy,
    /// The probe of the watchdog.
    pub probe: Option<Probe>,
    /// The signal that the watchdog sends before SIGKILL (`first`).
    pub first_signal: Option<Signal>,
    /// An additional command that collects evidence.
    pub evidence: Option<Vec<String>>,
    /// The separate readiness probe.
    pub ready: Option<Probe>,
    /// The settings for captured output.
    pub log: Log,
}

/// Omits `env`, which may contain secrets.
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
    /// Whether the service gets a NOTIFY_SOCKET: `sd_notify` is set, or its probe is `notify`.
    #[must_use]
    pub fn offers_notify_socket(&self) -> bool {
        self.sd_notify
            || self
                .probe
                .as_ref()
                .is_some_and(|probe| probe.target == Target::Notify)
    }

    /// A stable text that changes when the probe, its query or the command changes; it contains no secret.
    ///
    /// An answer proves the probe only for this key: a probe that has never succeeded with it causes no kill. The key
    /// depends on addresses from `${NAME}` references, but not on passwords.
    #[must_use]
    pub fn proof_key(&self) -> String {
        let mut hash = Fnv::START;
        if let Some(probe) = &self.probe {
            hash = hash.with(&probe.shown).with(&probe.target.address());
            hash = hash.with(probe.query_shown.as_deref().unwrap_or_default());
        }
        self.with_command(hash)
    }

    /// A text that changes when the program or its arguments change.
    #[must_use]
    pub fn command_key(&self) -> String {
        self.with_command(Fnv::START)
    }

    /// A text that changes when a variable of `env`, the path of the env_file or `inherit_env` changes. It does not depend on the content of
    /// that file.
    #[must_use]
    pub fn env_key(&self) -> String {
        let hash = self.env.iter().fold(Fnv::START, |hash, (name, value)| {
            hash.with(name).with(value)
        });
        let file = self.env_file.as_deref().unwrap_or(Path::new(""));
        let hash = hash.with(&file.to_string_lossy());
        let hash = match &self.inherit_env {
            InheritEnv::All => hash,
            InheritEnv::Nothing => hash.with("inherits nothing"),
            InheritEnv::Named(names) => names.iter().fold(hash, |hash, name| hash.with(name)),
        };
        format!("{:016x}", hash.0)
    }

    fn with_command(&self, hash: Fnv) -> String {
        let hash = self.command.iter().fold(hash, |hash, word| hash.with(word));
        format!("{:016x}", hash.0)
    }
}

/// Which variables of stayd a service inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InheritEnv {
    /// All that are not for stayd itself, and not secrets of a probe.
    #[default]
    All,
    /// None.
    Nothing,
    /// These, also if they are secrets of a probe.
    Named(Vec<String>),
}

/// A probe: a target and what to ask it.
#[derive(Clone, PartialEq, Eq)]
pub struct Probe {
    /// The URL without secrets, for display.
    pub shown: String,
    /// The target.
    pub target: Target,
    /// The query, if the protocol has one; none means the default of the protocol.
    pub query: Option<String>,
    /// The query as written, with references not replaced, for display.
    pub query_shown: Option<String>,
    /// The HTTP statuses that are not an error.
    pub expect: Expect,
    /// The timeout of a readiness attempt: that of the watchdog, or its default if there is no watchdog.
    pub timeout: Duration,
}

impl Probe {
    /// The question in words, for messages: `SELECT 1`, `GET /health`, `a connection to …`.
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

/// A network endpoint or Unix socket.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and a port. The host is a literal address or a name, which the helper resolves; `localhost` is never resolved.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// The target of a probe, by protocol.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// PostgreSQL.
    Postgres {
        /// The endpoint.
        at: Endpoint,
        /// The role.
        user: String,
        /// The password, a secret.
        password: Option<String>,
        /// The database.
        database: String,
    },
    /// A SQLite file, probed in the helper.
    Sqlite {
        /// Its absolute path.
        path: PathBuf,
        /// Whether to take and release a write lock as well.
        write: bool,
    },
    /// HTTP/1.1.
    Http {
        /// The endpoint.
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
    /// A command. Exit status 0 means alive; 4, 126, 127 or a failed start mean no verdict; any other status means dead.
    Exec(Vec<String>),
    /// The WATCHDOG=1 notifications of the service.
    Notify,
}

impl Target {
    /// The endpoint that the probe connects to; none for a file, a command and `notify`.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Postgres { at, .. } | Self::Http { at, .. } | Self::Connect(at) => Some(at),
            Self::Sqlite { .. } | Self::Exec(_) | Self::Notify => None,
        }
    }

    /// The address without user, password or query, for display.
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

/// The destination of captured output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Chosen by the parent supervisor: see the key `log.to`.
    Auto,
    /// Files in STATE/logs/SERVICE/.
    File,
    /// The stdout and stderr of stayd (under journald, a journal stream for each service).
    Inherit,
    /// Both.
    Both,
}

/// The settings for captured output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The destination.
    pub to: LogTo,
    /// The size at which a file is rotated.
    pub max_size_bytes: u64,
    /// The number of old files that are kept.
    pub keep: u32,
}

impl Log {
    /// Output to files, with the default size and number.
    pub const BY_DEFAULT: Self = Self {
        to: LogTo::File,
        max_size_bytes: 10 << 20,
        keep: 5,
    };
}

/// A loaded configuration with its warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, for the log.
    pub warnings: Vec<Finding>,
    /// What must exist outside the configuration, each with the place that requires it. Not checked here, because a file
    /// system may hang.
    pub prerequisites: Vec<(Location, Prerequisite)>,
}

/// The text of a system error, without the number that Rust appends.
fn os_error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}
