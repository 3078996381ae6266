//! `start`, `stop`, `restart`, `reload`, `hold`, `release`: a wish, and what became of it.

use super::args::Request;
use super::exit::{Exit, Failure, Outcome};
use super::screen::{Screen, tell};
use crate::api::client::{ANSWER_WITHIN, Client, OUTCOME_WITHIN};
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{CommandReply, HoldRequest, Service};
use serde::Serialize;

/// Asks `verb` of each service in turn, and waits for each outcome unless told not to. Goes on after one that did
/// not get there; the status is that of the first of those. As JSON, each service is a line.
pub(super) async fn wish_each(
    screen: Screen,
    client: &Client,
    verb: &'static str,
    wishes: &Request,
    json: bool,
) -> Outcome {
    let mut exit = Exit::Done;
    for name in &wishes.services {
        let wished = if wishes.no_wait {
            ask_only(client, verb, name).await
        } else {
            wish(client, verb, name).await
        };
        let told = wished.and_then(|(wished, text)| tell_of(screen, &wished, &text, json));
        if let Err(failure) = told {
            if failure.exit != Exit::No && failure.exit != Exit::Usage {
                return Err(failure);
            }
            tell(&format!("stayd: {}", failure.message));
            exit = if exit == Exit::Done {
                failure.exit
            } else {
                exit
            };
        }
    }
    Ok(exit)
}

/// Asks and waits: the service as it is then, and that in words.
async fn wish(
    client: &Client,
    verb: &'static str,
    name: &str,
) -> Result<(CommandReply, String), Failure> {
    let target = service_path(&encode(name), &format!("{verb}?wait=1"));
    let wished: CommandReply = client.post(&target, &(), OUTCOME_WITHIN).await?;
    if wished.done {
        let text = as_text(&wished.service);
        return Ok((wished, text));
    }
    warn(&wished);
    let Service { state, reason, .. } = wished.service;
    Err(Failure::new(
        Exit::No,
        format!(
            "cannot wait any longer for {verb} {name}: it is {state} ({reason}); `stayd status {name}` tells more"
        ),
    ))
}

async fn ask_only(
    client: &Client,
    verb: &'static str,
    name: &str,
) -> Result<(CommandReply, String), Failure> {
    let wished = ask(client, name, verb, &()).await?;
    Ok((wished, format!("{name}: {verb} asked for")))
}

/// What a wish writes as JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    service: &'a Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
}

/// Says what became of a wish; as JSON, the service as it is now.
fn tell_of(screen: Screen, wished: &CommandReply, text: &str, json: bool) -> Result<(), Failure> {
    warn(wished);
    let line = Line {
        service: &wished.service,
        warning: wished.warning.as_deref(),
    };
    if json {
        screen.json(&line, true)
    } else {
        screen.line(text)
    }
}

fn warn(wished: &CommandReply) {
    if let Some(warning) = &wished.warning {
        tell(&format!("stayd: {warning}"));
    }
}

fn as_text(service: &Service) -> String {
    let Service {
        name, state, life, ..
    } = service;
    match service.pid {
        Some(pid) if state == "attached" => {
            format!("{name}: attached to pid {pid}, which is not ours and is only watched")
        }
        Some(pid) => format!("{name}: {state} as pid {pid}, life {life}"),
        // what a stop has left running is said
        None => match service.reason.strip_prefix("stopped on request: ") {
            Some(more) => format!("{name}: {state}: {more}"),
            None => format!("{name}: {state}"),
        },
    }
}

/// Sends the reload signal.
pub(super) async fn reload(screen: Screen, client: &Client, name: &str, json: bool) -> Outcome {
    let wished = ask(client, name, "reload", &()).await?;
    let text = format!("{name}: reload signal sent");
    tell_of(screen, &wished, &text, json)?;
    Ok(Exit::Done)
}

/// No kills for a while.
pub(super) async fn hold(
    screen: Screen,
    client: &Client,
    name: &str,
    request: &HoldRequest,
    json: bool,
) -> Outcome {
    let wished = ask(client, name, "hold", request).await?;
    let hold = wished.service.hold.as_ref();
    let until = hold.map_or(request.duration.clone(), |hold| {
        format!("until {}", hold.until)
    });
    let text = format!("{name}: held {until}: no kills ({})", request.reason);
    tell_of(screen, &wished, &text, json)?;
    Ok(Exit::Done)
}

/// Kills again.
pub(super) async fn release(screen: Screen, client: &Client, name: &str, json: bool) -> Outcome {
    let wished = ask(client, name, "release", &()).await?;
    let text = format!("{name}: released; its watchdog may kill again");
    tell_of(screen, &wished, &text, json)?;
    Ok(Exit::Done)
}

async fn ask<B: Serialize>(
    client: &Client,
    name: &str,
    verb: &str,
    body: &B,
) -> Result<CommandReply, Failure> {
    let target = service_path(&encode(name), verb);
    Ok(client.post(&target, body, ANSWER_WITHIN).await?)
}
