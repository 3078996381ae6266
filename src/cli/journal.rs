//! `stayd events`, `stayd why`, `stayd incidents`: shows records of the journal.

use super::console::{Console, Style, Text};
use super::exit::{Exit, Failure, Outcome};
use super::format::local;
use super::records::Records;
use crate::api::client::{Client, ClientError};
use crate::api::wire::Event;
use serde_json::Value;

/// Shows the journal; with `follow`, also each new record until stayd ends.
pub(super) async fn events(
    console: Console,
    records: &Records,
    follow: bool,
    json: bool,
) -> Outcome {
    let list = records.events().await?;
    if json && !follow {
        console.json(&list)?;
        return Ok(Exit::Done);
    }
    for event in &list.events {
        print_event(console, event, json)?;
    }
    match records {
        Records::Running(client) if follow => {
            let last_id = list.events.last().map_or(0, |event| event.id);
            follow_from(console, client, last_id, json).await?;
        }
        Records::Stored(_) if follow => {
            return Err(Failure::new(
                Exit::NotRunning,
                "cannot follow the journal: no stayd is running here, and only a running one writes records",
            ));
        }
        Records::Running(_) | Records::Stored(_) => {}
    }
    Ok(Exit::Done)
}

/// Shows each record after `last_id` until stayd ends. An upgrade also ends the stream; the new version continues it on a new
/// connection.
async fn follow_from(
    console: Console,
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
            print_event(console, &event, json)?;
        }
        let target = format!("/v1/events?since={last_id}");
        stream = match client.follow(&target).await {
            Ok(stream) => stream,
            Err(ClientError::NotRunning(_) | ClientError::Broken(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
    }
}

/// Shows the last decisions about a service, each with the facts behind it.
pub(super) async fn why(
    console: Console,
    records: &Records,
    service: &str,
    since: Option<&str>,
    json: bool,
) -> Outcome {
    let list = records.why(service, since).await?;
    if json {
        console.json(&list)?;
        return Ok(Exit::Done);
    }
    if list.events.is_empty() {
        console.line(&format!(
            "{service}: no decisions yet: no kill, no suppressed kill and no exit"
        ))?;
    }
    for event in &list.events {
        let mut text = console.text();
        add_event(&mut text, event);
        if !event.facts.is_empty() {
            text.styled(Style::Dim, &format!("    {}", facts_as_text(event)))
                .end_line();
        }
        console.print(&text)?;
    }
    Ok(Exit::Done)
}

/// Lists the incidents, or shows one with its evidence.
pub(super) async fn incidents(
    console: Console,
    records: &Records,
    id: Option<u64>,
    json: bool,
) -> Outcome {
    let Some(id) = id else {
        return list_incidents(console, records, json).await;
    };
    let incident = records.incident(id).await?;
    if json {
        console.json(&incident)?;
        return Ok(Exit::Done);
    }
    let mut text = console.text();
    add_event(&mut text, &incident.event);
    if !incident.event.facts.is_empty() {
        text.plain(&format!("    {}", facts_as_text(&incident.event)))
            .end_line();
    }
    // Text from outside in the evidence was escaped when the evidence was collected, so each line is one of the report.
    let evidence = incident.evidence.as_deref();
    text.lines(evidence.unwrap_or("no evidence was collected").trim_end());
    console.print(&text)?;
    Ok(Exit::Done)
}

async fn list_incidents(console: Console, records: &Records, json: bool) -> Outcome {
    let list = records.incidents().await?;
    if json {
        console.json(&list)?;
        return Ok(Exit::Done);
    }
    if list.incidents.is_empty() {
        console.line("there are no incidents")?;
    }
    for incident in &list.incidents {
        let mut text = console.text();
        text.plain(&format!("{:>6}  ", incident.event.id));
        add_event(&mut text, &incident.event);
        console.print(&text)?;
    }
    Ok(Exit::Done)
}

fn print_event(console: Console, event: &Event, json: bool) -> Result<(), Failure> {
    if json {
        return console.json_line(event);
    }
    let mut text = console.text();
    add_event(&mut text, event);
    console.print(&text)
}

/// Adds the line of an event.
fn add_event(text: &mut Text, event: &Event) {
    let subject = event.service.as_deref().unwrap_or("stayd");
    let life = event
        .life
        .map(|life| format!("#{life}"))
        .unwrap_or_default();
    text.plain(&format!("{}  {subject}{life}  ", local(&event.at)))
        .styled(style_of(&event.kind), &format!("{:<11}", event.kind))
        .plain(&format!(" {}", event.message))
        .end_line();
}

fn style_of(kind: &str) -> Style {
    match kind {
        "ready" => Style::Good,
        "killed" | "crashed" | "wedged" | "gave-up" | "blocked" | "unkillable" | "degraded"
        | "blind" => Style::Bad,
        "spared" | "attached" | "detached" | "exited" | "backoff" | "common-cause"
        | "daemonized" => Style::Warning,
        _ => Style::Dim,
    }
}

fn facts_as_text(event: &Event) -> String {
    let fact = |(name, value): (&String, &Value)| format!("{name}={value}");
    event.facts.iter().map(fact).collect::<Vec<_>>().join(" ")
}
