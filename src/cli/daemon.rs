//! Runs the daemon: loads the configuration, starts the loop and maps its end to an exit status.

use super::args::{CommonOptions, LogFormat, ServiceOptions};
use super::config::missing;
use super::console::{Console, print_failure, stderr_draws};
use super::exit::{Exit, Failure, Outcome};
use super::load_config::{from_command, from_file};
use super::paths::{InstanceFolders, current_dir, instance_folders};
use super::signals::{listen, until_signal};
use super::status::{StatusOptions, status};
use crate::act::notify::parent::{ParentSupervisor, StartContext};
use crate::api::client::Client;
use crate::config::{Config, Loaded};
use crate::run::logging::{self, Format};
use crate::run::upgrade::InheritedState;
use crate::run::{ExitReason, Invocation, Options};
use crate::sys::program::installed_at;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How often a broken configuration is loaded again while stayd waits for a good one.
const CONFIG_RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Runs the daemon until it ends. With `follow`, shows the status of the stayd that already runs this instance.
pub(super) fn run(
    console: Console,
    common: &CommonOptions,
    service: &ServiceOptions,
    follow: bool,
) -> Outcome {
    let start_context = StartContext::gather(env::vars_os());
    logging::start(
        log_format(common.log_format, &start_context),
        verbosity(common),
        stderr_draws(),
    );
    let loaded = if service.launch.command.is_empty() {
        wait_for_config(common, start_context.supervisor())?
    } else {
        let loaded = from_command(common, service)?;
        Some(check_startable(loaded, start_context.supervisor())?)
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
    let folders = instance_folders(common, &config.name, config.control_group.is_some())?;
    let socket = folders.socket.clone();
    match run_loop(config, &folders) {
        Ok(Exit::Held) if follow => super::block_on(follow_first(console, common.json, &socket)),
        outcome => outcome,
    }
}

/// Shows the status of the stayd that already runs, until a signal ends this process. This process began as a daemon and
/// has replaced the default actions of these signals, so it must listen for them here.
async fn follow_first(console: Console, json: bool, socket: &Path) -> Outcome {
    let options = StatusOptions {
        service: None,
        json,
        watch: true,
        all: false,
    };
    let first = [Client::new(socket)];
    until_signal(status(console, &first, &options)).await
}

/// Fails if the command of a command line cannot be started: the user who typed it gets the error at once. An OS supervisor
/// would only start stayd again, so under one the service becomes `blocked` and stayd itself tries again.
fn check_startable(loaded: Loaded, supervisor: ParentSupervisor) -> Result<Loaded, Failure> {
    if supervisor.starts_again() {
        return Ok(loaded);
    }
    match missing(&loaded)?.into_iter().next() {
        Some(finding) => Err(Failure::new(Exit::Config, finding.message)),
        None => Ok(loaded),
    }
}

/// Runs the daemon's loop with this configuration on this thread, until it ends.
pub(super) fn run_loop(config: Config, folders: &InstanceFolders) -> Outcome {
    let options = Options {
        state_dir: folders.state.clone(),
        runtime_dir: folders.runtime.clone(),
        control_socket: folders.socket.clone(),
        invocation: invocation()?,
    };
    let inherited = InheritedState::receive().map_err(|why| {
        let message =
            format!("{why}; the services keep running, and the next stayd to start adopts them");
        Failure::new(Exit::Bug, message)
    })?;
    // The loop has logged the reason already.
    Ok(match crate::run::run(config, &options, inherited) {
        ExitReason::Stopped => Exit::Done,
        ExitReason::Bug => Exit::Bug,
        ExitReason::SystemError => Exit::System,
        ExitReason::AlreadyRunning => Exit::Held,
        ExitReason::PermissionDenied => Exit::Permission,
    })
}

/// The command line, folder and program file of this process, recorded at the start because an upgrade needs them later.
fn invocation() -> Result<Invocation, Failure> {
    let cwd = current_dir()?;
    let words: Vec<OsString> = env::args_os().collect();
    let search_path = env::var_os("PATH");
    let program = installed_at(words.first().cloned(), search_path.as_ref(), &cwd)
        .map_err(|error| Failure::system("find its own program", &error))?;
    Ok(Invocation {
        program,
        words,
        cwd,
    })
}

/// Loads the configuration. A broken one ends stayd, except under launchd and container runtimes: they restart a process
/// whatever its exit status, so stayd waits there until the file is good. Returns none if a signal ends the wait.
fn wait_for_config(
    common: &CommonOptions,
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
    print_failure(&broken);
    super::block_on(async {
        let (mut term, mut int) = (listen(SIGTERM)?, listen(SIGINT)?);
        // After an upgrade, signals are still blocked, and some may be pending.
        crate::sys::signal::unblock_all();
        loop {
            tokio::select! {
                _signal = term.read_u8() => return Ok(None),
                _signal = int.read_u8() => return Ok(None),
                () = tokio::time::sleep(CONFIG_RELOAD_EVERY) => {}
            }
            match from_file(common) {
                Ok(loaded) => return Ok(Some(loaded)),
                Err(failure) if failure == broken => {}
                Err(failure) => {
                    print_failure(&failure);
                    broken = failure;
                }
            }
        }
    })
}

fn log_format(requested: LogFormat, start_context: &StartContext) -> Format {
    match requested {
        LogFormat::Auto if start_context.journal_reads_stderr() => Format::Journal,
        LogFormat::Auto | LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
        LogFormat::Journal => Format::Journal,
    }
}

fn verbosity(common: &CommonOptions) -> i8 {
    if common.quiet {
        -1
    } else {
        i8::try_from(common.verbose).unwrap_or(i8::MAX)
    }
}
