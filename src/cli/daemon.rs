//! The daemon: from a configuration to its loop, and the demo, which is one more daemon.

use super::args::{Common, LogFormat, ServiceOptions};
use super::configuration::{from_command, from_file, missing};
use super::exit::{Exit, Failure, Outcome};
use super::instance::{Folders, folders, here};
use super::screen::{Screen, tell};
use super::status::{Look, status};
use super::{demo, exec};
use crate::act::notify::parent::{ParentSupervisor, StartContext};
use crate::act::runtime::offer::of_the_source;
use crate::api::client::Client;
use crate::config::runtime::expand_runtime;
use crate::config::{Config, Loaded};
use crate::run::logging::{self, Format};
use crate::run::upgrade::Inheritance;
use crate::run::{Ending, Invocation, Options};
use crate::sys::program::installed_at;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Between two looks at a configuration that is waited for.
const CONFIG_EVERY: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to end. With `follow`, shows the status of the one that runs already.
pub(super) fn run(
    screen: Screen,
    common: &Common,
    service: &ServiceOptions,
    follow: bool,
) -> Outcome {
    let start_context = StartContext::gather(env::vars_os());
    logging::start(
        log_format(common.log_format, &start_context),
        verbosity(common),
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none(),
    );
    let loaded = if service.command.is_empty() {
        wait_for_config(common, start_context.supervisor())?
    } else {
        Some(startable(
            from_command(service)?,
            start_context.supervisor(),
        )?)
    };
    let Some(Loaded {
        config, warnings, ..
    }) = loaded
    else {
        return Ok(Exit::Done);
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let folders = folders(common, &config.name, config.control_group.is_some())?;
    let socket = folders.socket.clone();
    match live(config, &folders) {
        Ok(Exit::Held) if follow => super::block_on(show_first(screen, common.json, &socket)),
        outcome => outcome,
    }
}

/// The status of the stayd that runs already, again and again until we are told to end. The daemon that we were about to be
/// has put its handlers in place of what ends a client, so the signals are heard here.
async fn show_first(screen: Screen, json: bool, socket: &Path) -> Outcome {
    let cannot = |error: io::Error| Failure::system("hear signals", &error);
    let (mut term, mut int, mut hangup) = (
        signal(SIGTERM).map_err(cannot)?,
        signal(SIGINT).map_err(cannot)?,
        signal(SIGHUP).map_err(cannot)?,
    );
    let look = Look {
        service: None,
        json,
        watch: true,
    };
    let first = Client::new(socket);
    tokio::select! {
        _told = term.read_u8() => Ok(Exit::Done),
        _told = int.read_u8() => Ok(Exit::Done),
        _told = hangup.read_u8() => Ok(Exit::Done),
        ended = status(screen, &first, &look) => ended,
    }
}

/// A command that cannot be started is told at once to whoever typed it; an OS supervisor would only try again, and there
/// the service is `blocked` and tried again by ourselves.
fn startable(loaded: Loaded, supervisor: ParentSupervisor) -> Result<Loaded, Failure> {
    if supervisor.starts_again() {
        return Ok(loaded);
    }
    match missing(&loaded)?.into_iter().next() {
        Some(finding) => Err(Failure::new(Exit::Config, finding.message)),
        None => Ok(loaded),
    }
}

fn live(config: Config, folders: &Folders) -> Outcome {
    let options = Options {
        state_dir: folders.state.clone(),
        runtime_dir: folders.runtime.clone(),
        control_socket: folders.socket.clone(),
        invocation: invocation()?,
    };
    let inherited = Inheritance::find().map_err(|why| {
        let message = format!("{why}; the services go on, and the next start adopts them");
        Failure::new(Exit::Bug, message)
    })?;
    // What was wrong has been said in the log.
    Ok(match crate::run::run(config, &options, inherited) {
        Ending::Done => Exit::Done,
        Ending::Bug => Exit::Bug,
        Ending::Refused => Exit::System,
        Ending::Held => Exit::Held,
        Ending::Forbidden => Exit::Permission,
    })
}

/// How we were called, while that can still be told.
fn invocation() -> Result<Invocation, Failure> {
    let cwd = here()?;
    let words: Vec<OsString> = env::args_os().collect();
    let search = env::var_os("PATH");
    let program = installed_at(words.first().cloned(), search.as_ref(), &cwd)
        .map_err(|error| Failure::system("find our own program", &error))?;
    Ok(Invocation {
        program,
        words,
        cwd,
    })
}

/// The configuration. A broken one ends stayd, except where whoever started it would start it again for ever: launchd
/// and a container runtime know no status that means "do not"; there it is waited for. None: told to end meanwhile.
fn wait_for_config(
    common: &Common,
    supervisor: ParentSupervisor,
) -> Result<Option<Loaded>, Failure> {
    let mut broken = match from_file(common) {
        Ok(loaded) => return Ok(Some(loaded)),
        Err(failure)
            if !matches!(
                supervisor,
                ParentSupervisor::Launchd | ParentSupervisor::Container
            ) =>
        {
            return Err(failure);
        }
        Err(failure) => failure,
    };
    tell(&format!("stayd: {}", broken.message));
    let mut found = None;
    super::block_on(async {
        let cannot = |error: io::Error| Failure::system("hear signals", &error);
        let (mut term, mut int) = (
            signal(SIGTERM).map_err(cannot)?,
            signal(SIGINT).map_err(cannot)?,
        );
        // The version before may have left them waiting.
        crate::sys::signal::unblock_all();
        loop {
            tokio::select! {
                _told = term.read_u8() => return Ok(Exit::Done),
                _told = int.read_u8() => return Ok(Exit::Done),
                () = tokio::time::sleep(CONFIG_EVERY) => {}
            }
            match from_file(common) {
                Ok(loaded) => {
                    found = Some(loaded);
                    return Ok(Exit::Done);
                }
                Err(failure) if failure.message == broken.message => {}
                Err(failure) => {
                    tell(&format!("stayd: {}", failure.message));
                    broken = failure;
                }
            }
        }
    })?;
    Ok(found)
}

/// A stream that gives a byte for each arrival of the signal `number`.
pub(super) fn signal(number: i32) -> io::Result<UnixStream> {
    let (ours, handlers) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(number, handlers)?;
    UnixStream::from_std(ours)
}

fn log_format(asked: LogFormat, start_context: &StartContext) -> Format {
    match asked {
        LogFormat::Auto if start_context.journal_reads_stderr() => Format::Journal,
        LogFormat::Auto | LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
        LogFormat::Journal => Format::Journal,
    }
}

fn verbosity(common: &Common) -> i8 {
    if common.quiet {
        -1
    } else {
        i8::try_from(common.verbose).unwrap_or(i8::MAX)
    }
}

/// `stayd exec`: comes back only when the command cannot be executed.
pub(super) fn exec(common: &Common, options: &ServiceOptions) -> Outcome {
    let Loaded { config, .. } = from_command(options)?;
    let Some(service) = config.services.into_iter().next() else {
        return Err(Failure::new(
            Exit::Usage,
            "cannot execute nothing: name a command after `--`",
        ));
    };
    let root = exec::copied::root(common, &config.name, &service)?;
    let root = root.as_deref();
    let own = root.map(|root| ("STAYD_PACKAGE_ROOT".into(), root.to_string_lossy().into()));
    let declared = service.env.iter();
    let declared = declared.map(|(name, value)| (name.clone(), expand_runtime(value, root)));
    let source = service.runtime.as_ref().map(|one| one.source.clone());
    let order = exec::Order {
        command: service.command_in(root),
        cwd: service.cwd_in(root),
        env: declared.chain(own).collect(),
        port: service.port,
        sockets: service.sockets,
        name: service.name,
    };
    let mut failure = exec::exec(&order, env::vars_os());
    if let (Some(copy), Some(source)) = (root, source) {
        failure.message = of_the_source(&failure.message, copy, &source);
    }
    Err(failure)
}

/// `stayd demo`. No log is started: the viewer tells what happens.
pub(super) fn demo(screen: Screen) -> Outcome {
    demo::show(screen, |config: &Path, state: &Path| {
        let common = Common {
            config: Some(config.to_owned()),
            ..Common::default()
        };
        let Loaded { config, .. } = from_file(&common)?;
        let folders = Folders {
            socket: state.join("control.sock"),
            runtime: state.to_owned(),
            state: state.to_owned(),
        };
        let exit = live(config, &folders)?;
        if exit == Exit::Done {
            return Ok(exit);
        }
        let message =
            "cannot run the demo's daemon: the system refused; `stayd --foreground` says what";
        Err(Failure::new(exit, message))
    })
}
