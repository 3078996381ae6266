//! The command line as clap reads it. Imports nothing of ours.

mod read;

pub use read::{command, parse};

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
    after_help = "Without a verb, stayd runs the services of FILE, or COMMAND, and stays in the foreground."
)]
pub struct Arguments {
    /// What every verb understands.
    #[command(flatten)]
    pub common: Common,
    /// Run the daemon; it is the only mode, so `-c FILE` alone does the same.
    #[arg(long)]
    pub foreground: bool,
    /// Where another stayd runs this instance, show its status instead of ending with 75.
    #[arg(long)]
    pub follow: bool,
    /// The service that is described here rather than in a file.
    #[command(flatten)]
    pub service: ServiceOptions,
    /// What to do; without one, run.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Options of every verb.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// The configuration; otherwise $STAYD_CONFIG, ./stayd.toml, the user's and /etc/stayd/stayd.toml, the first that exists.
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where the instance keeps its lock, socket, journal and logs.
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Say more; twice, everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say only what is wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How stayd's own messages are written.
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
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
    /// As it suits who reads: a terminal, the journal, a file.
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
pub struct ServiceOptions {
    /// Name of the instance; otherwise made of the command and the folder.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Liveness: whom to ask, as a probe URL; a password only as ${NAME} or file:PATH.
    #[arg(long, value_name = "URL")]
    pub probe: Option<String>,
    /// Readiness: whom to ask, where it is not the probe.
    #[arg(long, value_name = "URL")]
    pub ready: Option<String>,
    /// What to ask, where the protocol has a query.
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    /// From the start of one round to the start of the next (5s).
    #[arg(long, value_name = "TIME")]
    pub interval: Option<String>,
    /// How long an answer may take (3s).
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Dead rounds in a row that are a wedge (3).
    #[arg(long, value_name = "N")]
    pub failures: Option<String>,
    /// The TCP port the service must own.
    #[arg(long, value_name = "N")]
    pub port: Option<String>,
    /// A socket that stayd binds and keeps; not in this version.
    #[arg(long, value_name = "ADDR", hide = true)]
    pub socket: Option<String>,
    /// How long it may take to end before it is killed (5s).
    #[arg(long, value_name = "TIME")]
    pub stop_grace: Option<String>,
    /// Adds a variable to the service's environment; may be repeated.
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// Working directory; otherwise this one.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// A runtime that is materialized; not in this version.
    #[arg(long, value_name = "DIR", hide = true)]
    pub runtime: Option<PathBuf>,
    /// The program and its arguments, behind `--`; no shell reads them.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// A verb.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Check everything, then become COMMAND: the OS supervisor sees the service itself.
    Exec(Box<ServiceOptions>),
    /// Watch a built-in service wedge and come back, in this terminal.
    Demo,
    /// What runs, for how long, the last verdict and its reason.
    Status {
        /// Only this one.
        service: Option<String>,
        /// Show it again whenever it changes.
        #[arg(long)]
        watch: bool,
    },
    /// Start services, and wait until they are ready.
    Start(Wish),
    /// Stop services until `start` or the next boot, and wait until they have ended.
    Stop(Wish),
    /// Stop services and start them again.
    Restart(Wish),
    /// No kills for a while: a migration, a backup, a debugger.
    Hold {
        /// Which service.
        service: String,
        /// How long, as 30m.
        #[arg(long = "for", value_name = "TIME")]
        length: String,
        /// Why; shown in `status`.
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
    Why {
        /// Which service.
        service: String,
        /// Only this far back, as 7d.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Every wedge, crash and give-up, with its evidence.
    Incidents {
        /// Only this one, in full.
        id: Option<u64>,
    },
    /// The journal.
    Events {
        /// Go on as it grows.
        #[arg(short, long)]
        follow: bool,
    },
    /// What services have printed.
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
    /// Ask once, timed: 0 alive or degraded, 1 dead, 4 no verdict.
    Probe {
        /// Whom, as a probe URL; a password only as ${NAME} or file:PATH.
        url: String,
        /// What to ask, where the protocol has a query.
        #[arg(long, value_name = "SQL")]
        query: Option<String>,
        /// How long the answer may take.
        #[arg(long, value_name = "TIME", default_value = "3s")]
        timeout: String,
    },
    /// Print the plist or the unit that runs stayd with this configuration.
    Render {
        /// For whom.
        #[arg(value_enum)]
        target: RenderTarget,
        /// For the person who calls, not for the machine.
        #[arg(long)]
        user: bool,
        /// The name under which launchd or systemd knows it.
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
    },
    /// Look at configurations.
    Config {
        /// How.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Asks what may hang; started by stayd itself.
    #[command(name = "__helper", hide = true)]
    Helper,
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
pub struct Wish {
    /// Which services.
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Do not wait for the outcome.
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
    /// Check the configuration: 0 good, perhaps with warnings; 78 not.
    Check,
    /// Print the JSON Schema of stayd.toml, for editors.
    Schema,
}
