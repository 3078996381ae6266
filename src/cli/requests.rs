//! `start`, `stop`, `restart`, `reload`, `hold`, `release`: sends a request to the daemon and reports its outcome.

use super::args::ServicesArgs;
use super::console::{Console, print_failure, print_stderr};
use super::exit::{Exit, Failure, Outcome};
use super::format::local;
use crate::api::client::{ANSWER_WITHIN, Client, OUTCOME_WITHIN};
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{CommandReply, HoldRequest, Service, Status};
use serde::Serialize;

/// Requests `verb` for each service in turn and waits for each outcome, unless the arguments say not to wait. Continues after
/// a failed request; the exit status is that of the first failed one. As JSON, each service is one line.
pub(super) async fn request_each(
    console: Console,
    client: &Client,
    verb: &'static str,
    arguments: &ServicesArgs,
    json: bool,
) -> Outcome {
    let names = if arguments.all {
        let status: Status = client.get("/v1/status").await?;
        let services = status.services.into_iter();
        services.map(|service| service.name).collect()
    } else {
        arguments.services.clone()
    };
    if arguments.all && verb != "restart" && !arguments.no_wait {
        // The outcome for one service may depend on another one of them. The requests below report the errors.
        for name in &names {
            let _reported_below = send(client, verb, name).await;
        }
    }
    let mut exit = Exit::Done;
    for name in &names {
        let requested = if arguments.no_wait {
            send(client, verb, name).await
        } else {
            send_and_wait(client, verb, name).await
        };
        let reported =
            requested.and_then(|(requested, text)| report(console, &requested, &text, json));
        if let Err(failure) = reported {
            if failure.exit != Exit::No && failure.exit != Exit::Usage {
                return Err(failure);
            }
            print_failure(&failure);
            exit = if exit == Exit::Done {
                failure.exit
            } else {
                exit
            };
        }
    }
    Ok(exit)
}

/// Sends the request and waits for its outcome. Returns the answer and the text to print.
async fn send_and_wait(
    client: &Client,
    verb: &'static str,
    name: &str,
) -> Result<(CommandReply, String), Failure> {
    let target = service_path(&encode(name), &format!("{verb}?wait=1"));
    let requested: CommandReply = client.post(&target, &(), OUTCOME_WITHIN).await?;
    if requested.done {
        let text = as_text(&requested.service);
        return Ok((requested, text));
    }
    warn(&requested);
    let Service { state, reason, .. } = requested.service;
    Err(Failure::new(
        Exit::No,
        format!(
            "cannot wait any longer for {verb} {name}: it is {state} ({reason}); `stayd status {name}` shows what it does next"
        ),
    ))
}

/// Sends the request without waiting for its outcome.
async fn send(
    client: &Client,
    verb: &'static str,
    name: &str,
) -> Result<(CommandReply, String), Failure> {
    let requested = post(client, name, verb, &()).await?;
    Ok((requested, format!("{name}: {verb} requested")))
}

/// The JSON output of a request.
#[derive(Serialize)]
struct RequestOutput<'a> {
    #[serde(flatten)]
    service: &'a Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
}

/// Prints the outcome: `text`, or as JSON the current state of the service.
fn report(
    console: Console,
    requested: &CommandReply,
    text: &str,
    json: bool,
) -> Result<(), Failure> {
    warn(requested);
    let output = RequestOutput {
        service: &requested.service,
        warning: requested.warning.as_deref(),
    };
    if json {
        console.json_line(&output)
    } else {
        console.line(text)
    }
}

fn warn(requested: &CommandReply) {
    if let Some(warning) = &requested.warning {
        print_stderr(&format!("stayd: {warning}"));
    }
}

fn as_text(service: &Service) -> String {
    let Service {
        name, state, life, ..
    } = service;
    match service.pid {
        Some(pid) if state == "attached" => {
            format!("{name}: attached to pid {pid}, a foreign process that stayd only watches")
        }
        Some(pid) => format!("{name}: {state} as pid {pid}, life {life}"),
        // The reason of a stop names the processes that it left running, if any.
        None => match service.reason.strip_prefix("stopped on request: ") {
            Some(more) => format!("{name}: {state}: {more}"),
            // A one-shot that was started and has ended.
            None if service.wanted == "up" => format!("{name}: {state}: {}", service.reason),
            None => format!("{name}: {state}"),
        },
    }
}

/// Requests that the reload signal is sent.
pub(super) async fn reload(console: Console, client: &Client, name: &str, json: bool) -> Outcome {
    let requested = post(client, name, "reload", &()).await?;
    let text = format!("{name}: reload signal sent");
    report(console, &requested, &text, json)?;
    Ok(Exit::Done)
}

/// Fails unless `length` is a duration.
pub(super) fn check_length(length: &str) -> Result<(), Failure> {
    if humantime::parse_duration(length).is_ok() {
        return Ok(());
    }
    let cause = match length.parse::<u64>() {
        Ok(_) => format!("it has no unit; write --for {length}m or --for {length}h"),
        Err(_) => "it is not a duration; write --for 30m or --for 2h".to_owned(),
    };
    let message = format!("cannot hold for {length}: {cause}");
    Err(Failure::new(Exit::Usage, message))
}

/// Requests that kills are suppressed for a while.
pub(super) async fn hold(
    console: Console,
    client: &Client,
    name: &str,
    request: &HoldRequest,
    json: bool,
) -> Outcome {
    let requested = post(client, name, "hold", request).await?;
    let hold = requested.service.hold.as_ref();
    let until = hold.map_or(request.duration.clone(), |hold| {
        format!("until {}", local(&hold.until))
    });
    let text = format!("{name}: held {until}: no kills ({})", request.reason);
    report(console, &requested, &text, json)?;
    Ok(Exit::Done)
}

/// Requests the end of a hold.
pub(super) async fn release(console: Console, client: &Client, name: &str, json: bool) -> Outcome {
    let requested = post(client, name, "release", &()).await?;
    let text = format!("{name}: released; its watchdog may kill it again");
    report(console, &requested, &text, json)?;
    Ok(Exit::Done)
}

async fn post<B: Serialize>(
    client: &Client,
    name: &str,
    verb: &str,
    body: &B,
) -> Result<CommandReply, Failure> {
    let target = service_path(&encode(name), verb);
    Ok(client.post(&target, body, ANSWER_WITHIN).await?)
}
