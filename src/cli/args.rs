//! The command line as clap reads it. Imports nothing of ours.

mod read;
mod runtime;

pub use read::{command, parse};
pub use runtime::RuntimeVerb;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Keeps a service answering, not merely running.
#[derive(Debug, Parser)]
#[command(name = "stayd", version, subcommand_precedence_over_arg = true)]
#[command(
    override_usage = "stayd --foreground [-c FILE]\n       stayd --foreground [OPTIONS] -- COMMAND [ARG]...\n       stayd VERB [OPTIONS]"
)]
#[command(
    after_help = "Without a verb, stayd runs the services of FILE, or COMMAND, and stays in the foreground.\n\n\
    Examples:\n  \
      stayd demo\n  \
      stayd --foreground --port 8080 --probe http://127.0.0.1:8080/orders -- ./server --listen 127.0.0.1:8080\n  \
      stayd --foreground -c stayd.toml\n  \
      stayd status\n\n\
    stayd(1) and stayd.toml(5) tell all of it."
)]
pub struct Arguments {
    /// Run the daemon; it is the only mode, so `-c FILE` alone does the same.
    #[arg(long)]
    pub foreground: bool,
    /// Where another stayd runs this instance, show its status instead of ending with 75.
    #[arg(long)]
    pub follow: bool,
    /// What every verb understands.
    #[command(flatten)]
    pub common: Common,
    /// The service that is described here rather than in a file.
    #[command(flatten)]
    pub service: ServiceOptions,
    /// What to do; without one, run.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Options of every verb.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The configuration; without it $STAYD_CONFIG, else the first of ./stayd.toml, the user's, /etc/stayd/stayd.toml.
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where the instance keeps its lock, socket, journal and logs; without it, as the instance's name says.
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// The daemon says more; twice, everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// The daemon says only what is wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How the daemon writes its messages: auto (as it suits who reads), text, json or journal.
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        global = true
    )]
    pub log_format: LogFormat,
    /// Answer in JSON, on stdout alone.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The form of our own messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// With priorities where the journal reads, else as text.
    #[default]
    Auto,
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
    /// With the priority prefixes of sd-daemon(3).
    Journal,
}

/// A service without a file.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "A service without a file")]
pub struct ServiceOptions {
    /// Name of the instance; otherwise made of the command and the folder.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Liveness: whom to ask, as a probe URL; a password only as ${NAME} or ${file:PATH}.
    #[arg(long, value_name = "URL")]
    pub probe: Option<String>,
    /// Readiness: whom to ask, where it is not the probe.
    #[arg(long, value_name = "URL")]
    pub ready: Option<String>,
    /// What to ask, where the protocol has a query [default: SELECT 1].
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    /// From the start of one round to the start of the next [default: 5s].
    #[arg(long, value_name = "TIME")]
    pub interval: Option<String>,
    /// How long an answer may take [default: 3s].
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Dead rounds in a row that are a wedge [default: 3].
    #[arg(long, value_name = "N")]
    pub failures: Option<String>,
    /// The TCP port the service must own.
    #[arg(long, value_name = "N")]
    pub port: Option<String>,
    /// An address that stayd binds and keeps, passed on as LISTEN_FDS; may be repeated.
    #[arg(long, value_name = "ADDR")]
    pub socket: Vec<String>,
    /// How long it may take to end before it is killed [default: 5s].
    #[arg(long, value_name = "TIME")]
    pub stop_grace: Option<String>,
    /// Adds a variable to the service's environment; may be repeated.
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// Working directory; otherwise this one.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Copy this folder into the state folder and run from the copy; `{runtime}` in COMMAND, --env and --cwd is its root.
    #[arg(long, value_name = "DIR")]
    pub runtime: Option<PathBuf>,
    /// The program and its arguments, behind `--`; no shell reads them.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What `exec` looks at before it becomes the command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The TCP port that must be free.
    #[arg(long, value_name = "N")]
    pub port: Option<String>,
    /// An address to bind and pass on as LISTEN_FDS; may be repeated.
    #[arg(long, value_name = "ADDR")]
    pub socket: Vec<String>,
    /// Adds a variable to the command's environment; may be repeated.
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// Working directory; otherwise this one.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Copy this folder into the state folder and run from the copy; `{runtime}` in COMMAND, --env and --cwd is its root.
    #[arg(long, value_name = "DIR")]
    pub runtime: Option<PathBuf>,
    /// The program and its arguments, behind `--`; no shell reads them.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl From<ExecOptions> for ServiceOptions {
    fn from(options: ExecOptions) -> Self {
        let ExecOptions {
            port,
            socket,
            env,
            cwd,
            runtime,
            command,
        } = options;
        Self {
            port,
            socket,
            env,
            cwd,
            runtime,
            command,
            ..Self::default()
        }
    }
}

/// A verb.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Check everything, then become COMMAND: the OS supervisor sees the service itself.
    #[command(override_usage = "stayd exec [OPTIONS] -- COMMAND [ARG]...")]
    #[command(
        after_help = "Example:\n  stayd exec --port 8080 -- /srv/app/server --listen 127.0.0.1:8080"
    )]
    Exec(ExecOptions),
    /// Watch a built-in service wedge and come back, in this terminal.
    Demo,
    /// What runs, for how long, the last verdict and its reason.
    #[command(
        after_help = "Examples:\n  stayd status\n  stayd status db --json\n  stayd status --watch"
    )]
    Status {
        /// Only this one.
        service: Option<String>,
        /// Stay, and show it again whenever it changes.
        #[arg(long)]
        watch: bool,
    },
    /// Start services, and wait until they are ready.
    Start(Request),
    /// Stop services until `start` or the next boot, and wait until they have ended.
    Stop(Request),
    /// Stop services and start them again.
    Restart(Request),
    /// No kills for a while: a migration, a backup, a debugger.
    #[command(after_help = "Example:\n  stayd hold db --for 30m --reason \"restoring a backup\"")]
    Hold {
        /// Which service.
        service: String,
        /// How long, as 30m; 30d at most.
        #[arg(long = "for", value_name = "TIME")]
        length: String,
        /// Why: shown in `status`, kept in the journal.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a hold.
    Release {
        /// Which service.
        service: String,
    },
    /// Send a service its reload signal.
    Reload {
        /// Which service.
        service: String,
    },
    /// The last decisions about a service, kills and non-kills, with the facts each was made from.
    #[command(after_help = "Examples:\n  stayd why db\n  stayd why db --since 7d")]
    Why {
        /// Which service.
        service: String,
        /// Only this far back, as 7d; without it, all that is kept.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Every wedge, crash and give-up, with its evidence.
    #[command(after_help = "Examples:\n  stayd incidents\n  stayd incidents 42")]
    Incidents {
        /// Only this one, in full: its number in the list.
        id: Option<u64>,
    },
    /// The journal: everything that was decided and done, oldest first.
    #[command(after_help = "Examples:\n  stayd events\n  stayd events -f --json")]
    Events {
        /// Go on as it grows.
        #[arg(short, long)]
        follow: bool,
    },
    /// What services have printed.
    #[command(after_help = "Examples:\n  stayd logs db -n 20\n  stayd logs -f")]
    Logs {
        /// Only this one.
        service: Option<String>,
        /// Go on as it grows.
        #[arg(short, long)]
        follow: bool,
        /// This many lines of what is there.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: usize,
    },
    /// Who holds a port, or who a process is: what is proven about it, and what stayd would and would not do with it.
    #[command(after_help = "Examples:\n  stayd explain :8080\n  stayd explain 4711 --json")]
    Explain {
        /// `:8080` for who listens on a TCP port, `4711` for a process.
        #[arg(value_name = ":PORT|PID")]
        what: String,
    },
    /// Ask once, timed: 0 alive or degraded, 1 dead, 4 no verdict.
    #[command(
        after_help = "Examples:\n  stayd probe 'postgres://app:${DB_PASSWORD}@127.0.0.1:5432/shop'\n  stayd probe http://127.0.0.1:8080/orders --timeout 1s"
    )]
    Probe {
        /// Whom, as a probe URL; a password only as ${NAME} or ${file:PATH}.
        url: String,
        /// What to ask, where the protocol has a query.
        #[arg(long, value_name = "SQL")]
        query: Option<String>,
        /// How long the answer may take.
        #[arg(long, value_name = "TIME", default_value = "3s")]
        timeout: String,
    },
    /// The materialized runtimes: copies that services run from.
    Runtime {
        /// How.
        #[command(subcommand)]
        verb: RuntimeVerb,
    },
    /// Execute the new version of stayd in place of the one that runs: same process, same children, same sockets.
    ///
    /// The file that stayd was started from is tried first; one that is not fit leaves the old version running. For the
    /// owner and root.
    Upgrade,
    /// Print the plist or the unit that runs stayd with the configuration.
    #[command(
        after_help = "Examples:\n  stayd render systemd -c /etc/stayd/stayd.toml\n  stayd render launchd --user -c ~/stayd.toml"
    )]
    Render {
        /// For whom: a property list for launchd, a unit for systemd.
        #[arg(
            value_enum,
            hide_possible_values = true,
            value_name = "launchd|systemd"
        )]
        target: RenderTarget,
        /// A LaunchAgent or a user unit, for the person who calls; without it, for the machine.
        #[arg(long)]
        user: bool,
        /// launchd's name for the job; without it, stayd.INSTANCE.
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
    },
    /// Check a configuration, or print the schema of all.
    Config {
        /// How.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Asks what may hang; started by stayd itself.
    #[command(name = "__helper", hide = true)]
    Helper,
    /// Whether this version could take over; started by stayd itself.
    #[command(name = "__upgrade-trial", hide = true)]
    UpgradeTrial {
        /// The form in which the other one leaves things.
        format: u32,
        /// The schema of its journal.
        schema: u32,
        /// How the other one was called.
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// The service of `demo`; started by stayd itself.
    #[command(name = "__demo-service", hide = true)]
    DemoService {
        /// Its own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<OsString>,
    },
}

/// `start`, `stop`, `restart`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which services; `stayd status` names them.
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Do not wait for the outcome: say so and leave.
    #[arg(long)]
    pub no_wait: bool,
}

/// Whom a file is rendered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RenderTarget {
    /// A property list.
    Launchd,
    /// A unit.
    Systemd,
}

/// `config …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigVerb {
    /// Tell all that is wrong with the configuration; 0 good, perhaps with warnings, 78 not.
    Check,
    /// Print the JSON Schema of stayd.toml, for editors.
    Schema,
}
