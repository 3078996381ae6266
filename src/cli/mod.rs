//! The command line: parses the arguments, runs the verb, prints its result and returns the exit status.

pub mod args;
mod config;
mod connect;
mod console;
mod daemon;
mod demo;
mod exec;
mod exit;
mod explain;
mod format;
mod install;
mod journal;
mod load_config;
mod lock_holder;
mod logs;
mod paths;
mod probe;
mod records;
mod render;
mod requests;
mod runtime;
mod signals;
mod status;
mod upgrade;
mod verify;

use crate::api::client::Client;
use crate::api::wire::HoldRequest;
use crate::run::logging;
use args::{Arguments, CommonOptions, ConfigVerb, ServicesArgs, Verb};
use console::{Console, print_failure, print_help_or_usage};
use exit::{Exit, Failure, Outcome};
use logs::LogsOptions;
use records::Records;
use render::RenderOptions;
use status::StatusOptions;
use std::process::ExitCode;

pub use exit::exit_statuses;

/// Runs the program: parses the command line of this process, runs the verb and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match args::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return help_or_usage(&error),
    };
    if arguments.verb == Some(Verb::Helper) {
        return crate::act::helper_main();
    }
    let outcome = execute(arguments);
    logging::flush();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            print_failure(&failure);
            failure.exit.into()
        }
    }
}

/// Prints help or a usage error.
fn help_or_usage(error: &clap::Error) -> ExitCode {
    print_help_or_usage(error);
    let exit = if error.exit_code() == 0 {
        Exit::Done
    } else {
        Exit::Usage
    };
    exit.into()
}

fn execute(arguments: Arguments) -> Outcome {
    let Arguments {
        common,
        service,
        follow,
        verb,
        ..
    } = arguments;
    let console = Console::stdout();
    let json = common.json;
    let Some(verb) = verb else {
        return daemon::run(console, &common, &service, follow);
    };
    match verb {
        Verb::Exec(options) => exec::run(&common, &options.into()),
        Verb::Demo => demo::run(console),
        Verb::Status {
            service,
            watch,
            all,
        } => {
            let options = StatusOptions {
                service,
                json,
                watch,
                all,
            };
            block_on(async {
                let clients = connect::clients(&common, all).await?;
                status::status(console, &clients, &options).await
            })
        }
        Verb::Start(services) => request_each(console, &common, "start", &services),
        Verb::Stop(services) => request_each(console, &common, "stop", &services),
        Verb::Restart(services) => request_each(console, &common, "restart", &services),
        Verb::Hold {
            service,
            length,
            reason,
        } => {
            requests::check_length(&length)?;
            let request = HoldRequest {
                duration: length,
                reason,
            };
            with_daemon(&common, async |client| {
                requests::hold(console, client, &service, &request, json).await
            })
        }
        Verb::Release { service } => with_daemon(&common, async |client| {
            requests::release(console, client, &service, json).await
        }),
        Verb::Reload { service } => with_daemon(&common, async |client| {
            requests::reload(console, client, &service, json).await
        }),
        Verb::Why { service, since } => with_records(&common, async |records| {
            journal::why(console, records, &service, since.as_deref(), json).await
        }),
        Verb::Incidents { id } => with_records(&common, async |records| {
            journal::incidents(console, records, id, json).await
        }),
        Verb::Events { follow } => with_records(&common, async |records| {
            journal::events(console, records, follow, json).await
        }),
        Verb::Logs {
            service,
            follow,
            lines,
            raw,
        } => {
            let options = LogsOptions {
                service,
                lines,
                follow,
                json,
                raw,
            };
            with_records(&common, async |records| {
                logs::logs(console, records, &options).await
            })
        }
        Verb::Explain { what } => explain::explain(console, &common, &what),
        Verb::Probe {
            url,
            query,
            timeout,
        } => probe::probe(console, &url, query.as_deref(), &timeout, json),
        Verb::Runtime { verb } => runtime::runtime(console, &common, &verb),
        Verb::Render {
            target,
            user,
            label,
        } => {
            let options = RenderOptions {
                target,
                user,
                label,
            };
            render::render(console, &common, &options)
        }
        Verb::Install {
            job,
            linger,
            service,
        } => install::install(console, &common, &job, &service, linger),
        Verb::Uninstall { job, purge } => install::uninstall(console, &common, &job, purge),
        Verb::Verify { paths } => verify::verify(console, &paths, json),
        Verb::Config {
            verb: ConfigVerb::Check,
        } => config::check(console, &common),
        Verb::Config {
            verb: ConfigVerb::Schema,
        } => config::schema(console),
        Verb::Upgrade => with_daemon(&common, async |client| {
            upgrade::upgrade(console, client, json).await
        }),
        Verb::UpgradeSelfCheck {
            format,
            schema,
            words,
        } => upgrade::self_check(console, format, schema, words),
        // main() has handled it already.
        Verb::Helper => Ok(Exit::Done),
        Verb::DemoService { rest } => demo::serve(rest),
    }
}

fn request_each(
    console: Console,
    common: &CommonOptions,
    verb: &'static str,
    services: &ServicesArgs,
) -> Outcome {
    with_daemon(common, async |client| {
        requests::request_each(console, client, verb, services, common.json).await
    })
}

/// Runs a verb that needs a running stayd, with a client of it.
fn with_daemon(common: &CommonOptions, verb: impl AsyncFnOnce(&Client) -> Outcome) -> Outcome {
    block_on(async {
        let client = connect::client(common).await?;
        verb(&client).await
    })
}

/// Runs a verb that reads records, from a running stayd or from the state folder of one that does not run.
fn with_records(common: &CommonOptions, verb: impl AsyncFnOnce(&Records) -> Outcome) -> Outcome {
    block_on(async {
        let records = Records::find(common).await?;
        verb(&records).await
    })
}

/// Runs `work` to its end in a tokio runtime on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::system("start", &error))?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
