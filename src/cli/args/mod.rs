//! The command line as clap parses it: options and verbs with their help texts. Imports no other module of stayd.
//!
//! stayd(1) and docs/reference/command-line.md are generated from these doc comments.

mod parse;

pub use parse::{command, parse};

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
    See stayd(1) and stayd.toml(5) for the full documentation."
)]
pub struct Arguments {
    /// Run the daemon in the foreground. This is the only mode: `-c FILE` alone does the same.
    #[arg(long)]
    pub foreground: bool,
    /// If another stayd already runs this instance, show its status instead of exiting with 75.
    #[arg(long)]
    pub follow: bool,
    /// Options that every verb accepts.
    #[command(flatten)]
    pub common: CommonOptions,
    /// The service that the command line describes instead of a file.
    #[command(flatten)]
    pub service: ServiceOptions,
    /// The verb; without one, the daemon runs.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Options that every verb accepts.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Common options")]
pub struct CommonOptions {
    /// The configuration file [default: $STAYD_CONFIG, else the first that exists of ./stayd.toml, the user's file and /etc/stayd/stayd.toml].
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The folder for the instance's lock, socket, journal and logs [default: a folder named after the instance].
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// The name of the instance [default: `name` in the configuration, else the only instance that runs; of a service without a file: made from the command and the folder].
    #[arg(long, value_name = "NAME", global = true)]
    pub name: Option<String>,
    /// Let the daemon log more; given twice, log everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Let the daemon log only warnings and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The format of the daemon's log on stderr: auto (journal if stderr goes to the systemd journal, else text), text, json or journal.
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        global = true
    )]
    pub log_format: LogFormat,
    /// Print the result as JSON. Only JSON goes to stdout.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The format of the daemon's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// As for `Journal` if stderr goes to the systemd journal, else as for `Text`.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
    /// Text with the priority prefixes of sd-daemon(3).
    Journal,
}

/// A service that the command line describes, without a file.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "A service without a file")]
pub struct ServiceOptions {
    /// The liveness probe, as a probe URL. A password may only be given as ${NAME} or ${file:PATH}.
    #[arg(long, value_name = "URL")]
    pub probe: Option<String>,
    /// The readiness probe, as a probe URL [default: the liveness probe].
    #[arg(long, value_name = "URL")]
    pub ready: Option<String>,
    /// The query to send, for protocols that have queries [default: SELECT 1].
    #[arg(long, value_name = "SQL")]
    pub query: Option<String>,
    /// The time from the start of one probe attempt to the start of the next [default: 5s].
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub interval: Option<String>,
    /// How long an answer may take [default: 3s].
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub timeout: Option<String>,
    /// How many consecutive dead attempts make a wedge [default: 3].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub failures: Option<String>,
    /// The TCP port that the service must own.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub port: Option<String>,
    /// An address that stayd binds, keeps open and passes to the service as LISTEN_FDS. May be given more than once.
    #[arg(long, value_name = "ADDR")]
    pub socket: Vec<String>,
    /// How long the service may take to stop before stayd kills it [default: 5s].
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub stop_grace: Option<String>,
    /// The command and what it runs with.
    #[command(flatten)]
    pub launch: LaunchOptions,
}

/// A command and what it runs with. A service without a file and `exec` share these options.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchOptions {
    /// Add a variable to the command's environment. May be given more than once.
    #[arg(long, value_name = "K=V")]
    pub env: Vec<String>,
    /// The working directory [default: the current one].
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Copy this folder into the state folder and run from the copy. `{runtime}` in COMMAND, --env and --cwd is the root of the copy.
    #[arg(long, value_name = "DIR")]
    pub runtime: Option<PathBuf>,
    /// The program and its arguments, after `--`. No shell interprets them.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Options of `exec`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The TCP port that must be free.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub port: Option<String>,
    /// An address to bind and pass to the command as LISTEN_FDS. May be given more than once.
    #[arg(long, value_name = "ADDR")]
    pub socket: Vec<String>,
    /// The command and what it runs with.
    #[command(flatten)]
    pub launch: LaunchOptions,
}

impl From<ExecOptions> for ServiceOptions {
    fn from(options: ExecOptions) -> Self {
        Self {
            port: options.port,
            socket: options.socket,
            launch: options.launch,
            ..Self::default()
        }
    }
}

/// What stayd is asked to do, instead of running as the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Check that COMMAND can start, then replace stayd with it: the OS supervisor sees the service itself.
    #[command(override_usage = "stayd exec [OPTIONS] -- COMMAND [ARG]...")]
    #[command(
        after_help = "Example:\n  stayd exec --port 8080 -- /srv/app/server --listen 127.0.0.1:8080"
    )]
    Exec(ExecOptions),
    /// Run a built-in service in this terminal, and show how it wedges and recovers.
    Demo,
    /// Show what runs, for how long, the last verdict and its reason.
    ///
    /// Without a configuration and --name it shows all instances of this user.
    #[command(
        after_help = "Examples:\n  stayd status\n  stayd status db --json\n  stayd status --watch"
    )]
    Status {
        /// Show only this service.
        service: Option<String>,
        /// Keep running and show the status again whenever it changes.
        #[arg(long)]
        watch: bool,
        /// Show every instance that this user may see, those of other users too.
        #[arg(long, conflicts_with_all = ["config", "state_dir", "name"])]
        all: bool,
    },
    /// Start services and wait until they are ready.
    Start(ServicesArgs),
    /// Stop services until `start` or the next boot, and wait until they have ended.
    Stop(ServicesArgs),
    /// Stop services, start them again and wait until they are ready.
    Restart(ServicesArgs),
    /// Suppress kills for a while: for a migration, a backup, a debugger.
    #[command(after_help = "Example:\n  stayd hold db --for 30m --reason \"restoring a backup\"")]
    Hold {
        /// The service.
        service: String,
        /// How long, such as 30m; at most 30d.
        #[arg(long = "for", value_name = "TIME", allow_negative_numbers = true)]
        length: String,
        /// The reason. `status` shows it and the journal keeps it.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a hold.
    Release {
        /// The service.
        service: String,
    },
    /// Send a service its reload signal.
    Reload {
        /// The service.
        service: String,
    },
    /// Show the last decisions about a service, kills and suppressed kills, with the facts behind each.
    ///
    /// If no stayd runs, the records come from its state folder.
    #[command(after_help = "Examples:\n  stayd why db\n  stayd why db --since 7d")]
    Why {
        /// The service.
        service: String,
        /// Go back only this far, such as 7d [default: everything that is kept].
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// List every wedge, crash and give-up, or show one with its evidence.
    ///
    /// If no stayd runs, the records come from its state folder.
    #[command(after_help = "Examples:\n  stayd incidents\n  stayd incidents 42")]
    Incidents {
        /// Show only this incident, in full: its number in the list.
        #[arg(value_parser = parse::incident)]
        id: Option<u64>,
    },
    /// Show the journal: every decision and action, oldest first.
    ///
    /// If no stayd runs, the records come from its state folder.
    #[command(after_help = "Examples:\n  stayd events\n  stayd events -f --json")]
    Events {
        /// Keep running and show new records as they are written.
        #[arg(short, long)]
        follow: bool,
    },
    /// Show the output of services.
    ///
    /// If no stayd runs, the output comes from its state folder.
    #[command(after_help = "Examples:\n  stayd logs db -n 20\n  stayd logs -f")]
    Logs {
        /// Show only this service.
        service: Option<String>,
        /// Keep running and show new output as it is written.
        #[arg(short, long)]
        follow: bool,
        /// Show at most this many of the last lines.
        #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = parse::count, allow_negative_numbers = true)]
        lines: usize,
        /// Print the bytes that the service wrote, from the log files, with the rights of the caller. Without this option, control characters are shown as escapes, except tabs and, on a terminal, colors.
        #[arg(long)]
        raw: bool,
    },
    /// Show which process holds a port, or what a process is: what proves that it belongs to a service, and what stayd does with it.
    #[command(after_help = "Examples:\n  stayd explain :8080\n  stayd explain 4711 --json")]
    Explain {
        /// `:8080` for the processes that listen on a TCP port, `4711` for a process.
        #[arg(value_name = ":PORT|PID")]
        what: String,
    },
    /// Run one probe and show how long it took; exit with 0 (alive or degraded), 1 (dead) or 4 (no verdict).
    #[command(
        after_help = "Examples:\n  stayd probe 'postgres://app:${DB_PASSWORD}@127.0.0.1:5432/shop'\n  stayd probe http://127.0.0.1:8080/orders --timeout 1s"
    )]
    Probe {
        /// The probe URL. A password may only be given as ${NAME} or ${file:PATH}.
        url: String,
        /// The query to send, for protocols that have queries.
        #[arg(long, value_name = "SQL")]
        query: Option<String>,
        /// How long the answer may take.
        #[arg(long, value_name = "TIME", default_value = "3s")]
        timeout: String,
    },
    /// Manage the materialized runtimes: the copies that services run from.
    Runtime {
        /// What to do with them.
        #[command(subcommand)]
        verb: RuntimeVerb,
    },
    /// Replace the running stayd with a new version: same process, same children, same sockets.
    ///
    /// stayd first tests the file that it was started from. If the new version cannot take over, the old one keeps running.
    /// Only the owner and root may do this.
    Upgrade,
    /// Print the plist or unit that runs stayd with the configuration.
    #[command(
        after_help = "Examples:\n  stayd render systemd -c /etc/stayd/stayd.toml\n  stayd render launchd --user -c ~/stayd.toml"
    )]
    Render {
        /// A property list for launchd, or a unit for systemd.
        #[arg(
            value_enum,
            hide_possible_values = true,
            value_name = "launchd|systemd"
        )]
        target: RenderTarget,
        /// Render a LaunchAgent or user unit for the calling user instead of one for the machine.
        #[arg(long)]
        user: bool,
        /// launchd's name for the job [default: stayd.INSTANCE].
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
    },
    /// Have launchd or systemd run stayd with the configuration, from now on and after each boot.
    ///
    /// Writes the plist or unit, enables and starts it, and returns when its stayd answers. Where all of that is so already,
    /// it does nothing; a changed configuration is applied by a restart. For a COMMAND it writes a configuration first, with
    /// the PATH of this terminal.
    #[command(
        after_help = "Examples:\n  stayd install --dry-run -c /etc/stayd/stayd.toml\n  sudo stayd install -c /etc/stayd/stayd.toml\n  stayd install --user -c ~/stayd.toml\n  \
      stayd install --user --port 8080 --probe http://127.0.0.1:8080/orders -- ./server --listen 127.0.0.1:8080"
    )]
    #[command(
        override_usage = "stayd install [OPTIONS] [-c FILE]\n       stayd install [OPTIONS] -- COMMAND [ARG]..."
    )]
    Install {
        /// Which job.
        #[command(flatten)]
        job: JobArgs,
        /// Have systemd keep this user's services running after the last logout (loginctl enable-linger). Only with --user.
        #[arg(long, conflicts_with = "system")]
        linger: bool,
        /// The service that the command line describes instead of a file.
        #[command(flatten)]
        service: Box<ServiceOptions>,
    },
    /// Undo `install`: stop stayd and its services, and remove the plist or unit. The state folder stays.
    #[command(
        after_help = "Examples:\n  sudo stayd uninstall --name shop\n  stayd uninstall --user -c ~/stayd.toml --purge"
    )]
    Uninstall {
        /// Which job.
        #[command(flatten)]
        job: JobArgs,
        /// Remove the state folder too: journal, captured output, runtimes.
        #[arg(long)]
        purge: bool,
    },
    /// Check launchd plists, systemd units and app bundles, of stayd or of any other program; exit with 1 if one has an error.
    ///
    /// A unit is checked together with its drop-ins. Nothing is run or changed.
    #[command(
        after_help = "Examples:\n  stayd verify ~/Library/LaunchAgents/*.plist\n  stayd verify /etc/systemd/system/web.service --json"
    )]
    Verify {
        /// A plist, a unit, a drop-in or an .app. May be given more than once.
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Check a configuration, or print the schema of configurations.
    Config {
        /// What to do.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Run the helper process for operations that may hang. stayd starts it itself.
    #[command(name = "__helper", hide = true)]
    Helper,
    /// Test whether this version can take over from a running one. stayd starts it itself.
    #[command(name = "__upgrade-trial", hide = true)]
    UpgradeSelfCheck {
        /// The format of the running version's handover manifest.
        format: u32,
        /// The schema version of its journal.
        schema: u32,
        /// Its command line, without the program.
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Run the service of `demo`. stayd starts it itself.
    #[command(name = "__demo-service", hide = true)]
    DemoService {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<OsString>,
    },
}

/// Which job `install` and `uninstall` mean.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct JobArgs {
    /// A LaunchAgent or user unit for the calling user [default unless root calls it].
    #[arg(long)]
    pub user: bool,
    /// A LaunchDaemon or system unit for the machine [default for root].
    #[arg(long, conflicts_with = "user")]
    pub system: bool,
    /// launchd's name for the job [default: stayd.INSTANCE].
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Show the files and commands, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `start`, `stop` and `restart`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ServicesArgs {
    /// The services; `stayd status` lists them.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// All services of the instance.
    #[arg(long, conflicts_with = "services")]
    pub all: bool,
    /// Do not wait for the outcome.
    #[arg(long)]
    pub no_wait: bool,
}

/// The supervisor that a file is rendered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RenderTarget {
    /// A property list.
    Launchd,
    /// A unit.
    Systemd,
}

/// Verbs of `config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigVerb {
    /// Report everything that is wrong with the configuration; exit with 0 (good, perhaps with warnings) or 78 (wrong).
    Check,
    /// Print the JSON Schema of stayd.toml, for editors.
    Schema,
}

/// Verbs of `runtime`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum RuntimeVerb {
    /// List the runtimes: their services, their size, and the processes that use them.
    #[command(after_help = "Examples:\n  stayd runtime ls\n  stayd runtime ls --json")]
    Ls,
    /// Read every byte of the runtimes; exit with 1 if any of them differs from what was copied.
    #[command(after_help = "Examples:\n  stayd runtime verify\n  stayd runtime verify web")]
    Verify {
        /// Check only the runtimes of this service.
        service: Option<String>,
    },
    /// Remove the runtimes that are not needed, and say why the others stay.
    Gc,
    /// Copy a service's source with the rights of the caller, for a source that stayd may not read.
    #[command(after_help = "Example:\n  stayd runtime import web\n  stayd restart web")]
    Import {
        /// The service.
        service: String,
    },
    /// Go back to the last good runtime before the current one, and restart the service.
    #[command(after_help = "Example:\n  stayd runtime rollback web")]
    Rollback {
        /// The service.
        service: String,
    },
}
