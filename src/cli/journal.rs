//! `stayd events`, `stayd why`, `stayd incidents`: what happened.

use super::exit::{Exit, Failure, Outcome};
use super::screen::{Paint, Screen};
use super::words::to_the_second;
use crate::api::client::{Client, ClientError};
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{Event, Events, Incident, Incidents};
use serde_json::Value;

/// Shows the journal; with `follow` each new record as well, until stayd ends.
pub(super) async fn events(screen: Screen, client: &Client, follow: bool, json: bool) -> Outcome {
    let list: Events = client.get("/v1/events").await?;
    if json && !follow {
        screen.json(&list, false)?;
        return Ok(Exit::Done);
    }
    for event in &list.events {
        show(screen, event, json)?;
    }
    if follow {
        let last_id = list.events.last().map_or(0, |event| event.id);
        follow_from(screen, client, last_id, json).await?;
    }
    Ok(Exit::Done)
}

/// Until stayd ends. A new version that takes over ends the stream as well, and goes on with it.
async fn follow_from(
    screen: Screen,
    client: &Client,
    mut last_id: u64,
    json: bool,
) -> Result<(), Failure> {
    let mut stream = client
        .follow(&format!("/v1/events?since={last_id}"))
        .await?;
    loop {
        while let Some(event) = stream.next().await? {
            last_id = event.id;
            show(screen, &event, json)?;
        }
        let target = format!("/v1/events?since={last_id}");
        stream = match client.follow(&target).await {
            Ok(stream) => stream,
            Err(ClientError::NotRunning(_) | ClientError::Broken(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
    }
}

/// Shows the last decisions about a service with the facts each was made from.
pub(super) async fn why(
    screen: Screen,
    client: &Client,
    service: &str,
    since: Option<&str>,
    json: bool,
) -> Outcome {
    let mut target = service_path(&encode(service), "why");
    if let Some(since) = since {
        target.push_str(&format!("?since={}", encode(since)));
    }
    let list: Events = client.get(&target).await?;
    if json {
        screen.json(&list, false)?;
        return Ok(Exit::Done);
    }
    if list.events.is_empty() {
        screen.line(&format!(
            "{service}: no kill, no refusal to kill, no end: nothing had to be decided"
        ))?;
    }
    for event in &list.events {
        show(screen, event, false)?;
        if !event.facts.is_empty() {
            screen.line(&screen.paint(Paint::Faint, &format!("    {}", facts_in_words(event))))?;
        }
    }
    Ok(Exit::Done)
}

/// Lists the incidents, or shows one with its evidence.
pub(super) async fn incidents(
    screen: Screen,
    client: &Client,
    id: Option<u64>,
    json: bool,
) -> Outcome {
    let Some(id) = id else {
        return list_incidents(screen, client, json).await;
    };
    let incident: Incident = client.get(&format!("/v1/incidents/{id}")).await?;
    if json {
        screen.json(&incident, false)?;
        return Ok(Exit::Done);
    }
    show(screen, &incident.event, false)?;
    if !incident.event.facts.is_empty() {
        screen.line(&format!("    {}", facts_in_words(&incident.event)))?;
    }
    screen.line(
        incident
            .evidence
            .as_deref()
            .unwrap_or("no evidence was taken")
            .trim_end(),
    )?;
    Ok(Exit::Done)
}

async fn list_incidents(screen: Screen, client: &Client, json: bool) -> Outcome {
    let list: Incidents = client.get("/v1/incidents").await?;
    if json {
        screen.json(&list, false)?;
        return Ok(Exit::Done);
    }
    if list.incidents.is_empty() {
        screen.line("no incident is kept")?;
    }
    for incident in &list.incidents {
        let id = incident.event.id;
        screen.print(&format!("{id:>6}  "))?;
        show(screen, &incident.event, false)?;
    }
    Ok(Exit::Done)
}

fn show(screen: Screen, event: &Event, json: bool) -> Result<(), Failure> {
    if json {
        return screen.json(event, true);
    }
    let whom = event.service.as_deref().unwrap_or("stayd");
    let life = event
        .life
        .map(|life| format!("#{life}"))
        .unwrap_or_default();
    let kind = screen.paint(paint_of(&event.kind), &format!("{:<11}", event.kind));
    screen.line(&format!(
        "{}  {whom}{life}  {kind} {}",
        to_the_second(&event.at),
        event.message
    ))
}

fn paint_of(kind: &str) -> Paint {
    match kind {
        "ready" => Paint::Good,
        "killed" | "crashed" | "wedged" | "gave-up" | "blocked" | "unkillable" | "degraded" => {
            Paint::Bad
        }
        "spared" | "attached" | "detached" | "exited" | "backoff" | "common-cause"
        | "daemonized" => Paint::Odd,
        _ => Paint::Faint,
    }
}

fn facts_in_words(event: &Event) -> String {
    let fact = |(name, value): (&String, &Value)| format!("{name}={value}");
    event.facts.iter().map(fact).collect::<Vec<_>>().join(" ")
}
