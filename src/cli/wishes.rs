//! `start`, `stop`, `restart`, `reload`, `hold`, `release`: a wish, and what became of it.

use super::exit::{Exit, Failure, Outcome};
use super::screen::{Screen, tell};
use crate::api::client::{ANSWER_WITHIN, Client, OUTCOME_WITHIN};
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{HoldRequest, Service, Wished};
use serde::Serialize;

/// Asks `verb` of each service in turn, and waits for each outcome unless `wait` is false. Goes on after one that did
/// not get there; the status is that of the first of those.
pub(super) async fn wish_each(
    screen: Screen,
    client: &Client,
    verb: &'static str,
    services: &[String],
    wait: bool,
) -> Outcome {
    let mut exit = Exit::Done;
    for name in services {
        if let Err(failure) = wish(screen, client, verb, name, wait).await {
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

async fn wish(
    screen: Screen,
    client: &Client,
    verb: &'static str,
    name: &str,
    wait: bool,
) -> Result<(), Failure> {
    if !wait {
        ask(client, name, verb, &()).await?;
        return screen.line(&format!("{name}: {verb} asked for"));
    }
    let target = service_path(&encode(name), &format!("{verb}?wait=1"));
    let wished: Wished = client.post(&target, &(), OUTCOME_WITHIN).await?;
    if wished.done {
        return screen.line(&as_text(&wished.service));
    }
    let Service { state, reason, .. } = wished.service;
    Err(Failure::new(
        Exit::No,
        format!(
            "cannot wait any longer for {verb} {name}: it is {state} ({reason}); `stayd status {name}` tells more"
        ),
    ))
}

fn as_text(service: &Service) -> String {
    let Service {
        name, state, life, ..
    } = service;
    match service.pid {
        Some(pid) => format!("{name}: {state} as pid {pid}, life {life}"),
        None => format!("{name}: {state}"),
    }
}

/// Sends the reload signal.
pub(super) async fn reload(screen: Screen, client: &Client, name: &str) -> Outcome {
    ask(client, name, "reload", &()).await?;
    screen.line(&format!("{name}: reload signal sent"))?;
    Ok(Exit::Done)
}

/// No kills for a while.
pub(super) async fn hold(
    screen: Screen,
    client: &Client,
    name: &str,
    request: &HoldRequest,
) -> Outcome {
    let wished = ask(client, name, "hold", request).await?;
    let until = wished
        .service
        .hold
        .map_or(request.span.clone(), |hold| format!("until {}", hold.until));
    screen.line(&format!(
        "{name}: held {until}: no kills ({})",
        request.reason
    ))?;
    Ok(Exit::Done)
}

/// Kills again.
pub(super) async fn release(screen: Screen, client: &Client, name: &str) -> Outcome {
    ask(client, name, "release", &()).await?;
    screen.line(&format!("{name}: released; its watchdog may kill again"))?;
    Ok(Exit::Done)
}

async fn ask<B: Serialize>(
    client: &Client,
    name: &str,
    verb: &str,
    body: &B,
) -> Result<Wished, Failure> {
    let target = service_path(&encode(name), verb);
    Ok(client.post(&target, body, ANSWER_WITHIN).await?)
}
