//! The command line: verbs become exit statuses, answers become text or JSON.

pub mod args;
mod configuration;
mod daemon;
mod demo;
mod exec;
mod exit;
mod explain;
mod find;
mod instance;
mod journal;
mod logs;
pub mod manual;
mod probe;
mod runtime;
mod screen;
mod status;
mod upgrade;
mod wishes;
mod words;

use crate::api::client::Client;
use crate::api::wire::HoldRequest;
use crate::run::logging;
use args::{Arguments, Common, ConfigVerb, Request, Verb};
use exit::{Exit, Failure, Outcome};
use screen::{Screen, tell};
use status::Look;
use std::process::ExitCode;

/// Runs the program: reads the command line, does what it says, and ends with the status that says how it went.
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
            if !failure.message.is_empty() {
                tell(&format!("stayd: {}", failure.message));
            }
            failure.exit.into()
        }
    }
}

/// Prints help or a usage error, as clap words it.
fn help_or_usage(error: &clap::Error) -> ExitCode {
    // Whoever reads our output may have gone.
    let _nobody_reads = error.print();
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
    let screen = Screen::stdout();
    let json = common.json;
    let Some(verb) = verb else {
        return daemon::run(screen, &common, &service, follow);
    };
    match verb {
        Verb::Exec(options) => daemon::exec(&common, &options.into()),
        Verb::Demo => daemon::demo(screen),
        Verb::Status { service, watch } => {
            let look = Look {
                service,
                json,
                watch,
            };
            ask(&common, async |client| {
                status::status(screen, client, &look).await
            })
        }
        Verb::Start(wish) => wish_each(screen, &common, "start", &wish),
        Verb::Stop(wish) => wish_each(screen, &common, "stop", &wish),
        Verb::Restart(wish) => wish_each(screen, &common, "restart", &wish),
        Verb::Hold {
            service,
            length,
            reason,
        } => {
            let request = HoldRequest {
                duration: length,
                reason,
            };
            ask(&common, async |client| {
                wishes::hold(screen, client, &service, &request, json).await
            })
        }
        Verb::Release { service } => ask(&common, async |client| {
            wishes::release(screen, client, &service, json).await
        }),
        Verb::Reload { service } => ask(&common, async |client| {
            wishes::reload(screen, client, &service, json).await
        }),
        Verb::Why { service, since } => ask(&common, async |client| {
            journal::why(screen, client, &service, since.as_deref(), json).await
        }),
        Verb::Incidents { id } => ask(&common, async |client| {
            journal::incidents(screen, client, id, json).await
        }),
        Verb::Events { follow } => ask(&common, async |client| {
            journal::events(screen, client, follow, json).await
        }),
        Verb::Logs {
            service,
            follow,
            lines,
        } => {
            let look = logs::Look {
                service,
                lines,
                follow,
                json,
            };
            ask(&common, async |client| {
                logs::logs(screen, client, &look).await
            })
        }
        Verb::Explain { what } => explain::explain(screen, &common, &what),
        Verb::Probe {
            url,
            query,
            timeout,
        } => probe::probe(screen, &url, query.as_deref(), &timeout, json),
        Verb::Runtime { verb } => runtime::runtime(screen, &common, &verb),
        Verb::Render {
            target,
            user,
            label,
        } => configuration::render(screen, &common, target, user, label.as_deref()),
        Verb::Config {
            verb: ConfigVerb::Check,
        } => configuration::check(screen, &common),
        Verb::Config {
            verb: ConfigVerb::Schema,
        } => configuration::schema(screen),
        Verb::Upgrade => ask(&common, async |client| {
            upgrade::upgrade(screen, client, json).await
        }),
        Verb::UpgradeTrial {
            format,
            schema,
            words,
        } => {
            upgrade::understands(format, schema)?;
            upgrade::testify(screen, words)
        }
        // Taken care of before anything else is done.
        Verb::Helper => Ok(Exit::Done),
        Verb::DemoService { rest } => demo::serve(rest),
    }
}

fn wish_each(screen: Screen, common: &Common, verb: &'static str, wish: &Request) -> Outcome {
    ask(common, async |client| {
        wishes::wish_each(screen, client, verb, wish, common.json).await
    })
}

/// Does what needs a running stayd.
fn ask(common: &Common, verb: impl AsyncFnOnce(&Client) -> Outcome) -> Outcome {
    block_on(async {
        let client = find::client(common).await?;
        verb(&client).await
    })
}

/// Runs a verb that waits for answers, on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::system("start", &error))?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
