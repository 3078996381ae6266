//! `stayd status`: shows what runs, for how long, and the reason for its state.

use super::console::{Console, Style, Text};
use super::exit::{Exit, Failure, Outcome};
use super::format::{age, bytes, columns, cpu_time, duration};
use super::signals::until_signal;
use crate::api::client::Client;
use crate::api::wire::{Probe, Runtime, SCHEMA, Service, Status};
use crate::sys;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// How often `--watch` fetches the status.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The column of the table that shows the state, in the style of the state.
const STATE_COLUMN: usize = 1;

/// What to show.
#[derive(Clone, Debug, Default)]
pub(super) struct StatusOptions {
    /// Show only this service.
    pub(super) service: Option<String>,
    /// Print JSON.
    pub(super) json: bool,
    /// Show the status again whenever it changes, without end.
    pub(super) watch: bool,
    /// Every instance was asked for: JSON is a list even if there is one.
    pub(super) all: bool,
}

/// The output of `status --json`.
#[derive(Serialize)]
#[serde(untagged)]
enum StatusOutput<'a> {
    /// Of the one instance that was meant.
    One(&'a Status),
    /// Of several instances.
    Several {
        schema: u32,
        instances: &'a [Status],
    },
}

/// Shows the status of these instances. The exit status is 0 if every service that is wanted up is healthy, else 1.
pub(super) async fn status(
    console: Console,
    clients: &[Client],
    options: &StatusOptions,
) -> Outcome {
    if options.watch && console.is_terminal() && !options.json {
        return until_signal(watch_screen(console, clients, options)).await;
    }
    let mut shown = None;
    loop {
        let found = fetch(clients, options.service.as_deref()).await?;
        if !options.watch {
            show(console, &found, options)?;
            return Ok(verdict(&found));
        }
        let stripped: Vec<_> = found.iter().map(without_measurements).collect();
        if shown.as_ref() != Some(&stripped) {
            show(console, &found, options)?;
            shown = Some(stripped);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Shows the status on the alternate screen of the terminal, without end.
async fn watch_screen(console: Console, clients: &[Client], options: &StatusOptions) -> Outcome {
    let service = options.service.as_deref();
    // An error is better shown on the screen that stays.
    let mut found = fetch(clients, service).await?;
    let screen = console.alternate_screen()?;
    loop {
        screen.show(&as_text(console, &found))?;
        tokio::time::sleep(WATCH_EVERY).await;
        found = fetch(clients, service).await?;
    }
}

/// Fetches the status of each instance; if `service` is given, with that service only, of the instances that have it.
async fn fetch(clients: &[Client], service: Option<&str>) -> Result<Vec<Status>, Failure> {
    let mut found: Vec<Status> = Vec::new();
    for client in clients {
        found.push(client.get("/v1/status").await?);
    }
    let Some(name) = service else {
        return Ok(found);
    };
    let services = found.iter().flat_map(|status| &status.services);
    let known: Vec<_> = services.map(|service| service.name.clone()).collect();
    for status in &mut found {
        status.services.retain(|service| service.name == name);
    }
    found.retain(|status| !status.services.is_empty());
    if found.is_empty() {
        return Err(no_such_service(name, &known));
    }
    Ok(found)
}

/// The usage error that there is no service `name`.
pub(super) fn no_such_service(name: &str, known: &[String]) -> Failure {
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Failure::new(
        Exit::Usage,
        format!("cannot find a service called {name}: there is {known}"),
    )
}

fn verdict(found: &[Status]) -> Exit {
    let services = found.iter().flat_map(|status| &status.services);
    let mut wanted = services.filter(|service| service.wanted == "up");
    if wanted.all(|service| service.healthy) {
        Exit::Done
    } else {
        Exit::No
    }
}

/// The status without the measurements that change with every probe attempt of a healthy service.
fn without_measurements(status: &Status) -> Status {
    let mut status = status.clone();
    for service in &mut status.services {
        service.memory_bytes = None;
        service.cpu_seconds = None;
        service.open_files = None;
        for probe in &mut service.probes {
            probe.latency_ms = None;
            probe.last_ok_at = None;
        }
    }
    status
}

/// Prints the status of these instances.
fn show(console: Console, found: &[Status], options: &StatusOptions) -> Result<(), Failure> {
    if options.json {
        let output = match found {
            [one] if !options.all => StatusOutput::One(one),
            instances => StatusOutput::Several {
                schema: SCHEMA,
                instances,
            },
        };
        return if options.watch {
            console.json_line(&output)
        } else {
            console.json(&output)
        };
    }
    console.print(&as_text(console, found))
}

fn as_text(console: Console, found: &[Status]) -> Text {
    let now = sys::clock::sample().wall;
    let mut text = console.text();
    for (index, status) in found.iter().enumerate() {
        if index > 0 {
            text.end_line();
        }
        add_status(&mut text, status, now);
    }
    text
}

fn add_status(text: &mut Text, status: &Status, now: SystemTime) {
    let daemon = &status.daemon;
    let head = format!(
        "  stayd {} (pid {}, started by {}) for {}",
        daemon.version,
        daemon.pid,
        supervisor(&daemon.supervisor),
        age(&daemon.started_at, now)
    );
    text.styled(Style::Bold, &daemon.name)
        .plain(&head)
        .end_line();
    for warning in &daemon.warnings {
        text.styled(Style::Warning, &format!("warning: {warning}"))
            .end_line();
    }
    let title = [
        "SERVICE", "STATE", "FOR", "PID", "LIFE", "RESTARTS", "CPU TIME", "MEMORY", "PORT", "PROBE",
    ];
    let title = title.map(str::to_owned);
    let rows: Vec<_> = status
        .services
        .iter()
        .map(|service| row(service, now))
        .collect();
    let all: Vec<_> = std::iter::once(title).chain(rows).collect();
    for (index, cells) in columns(&all).iter().enumerate() {
        let service = index.checked_sub(1).map(|index| &status.services[index]);
        text.row(cells, |column| match service {
            Some(service) => (column == STATE_COLUMN).then(|| style_of(service)),
            None => Some(Style::Dim),
        });
        for line in service
            .into_iter()
            .flat_map(|service| remarks(service, now))
        {
            text.plain("    ").plain(&line).end_line();
        }
    }
    for left in daemon.forgotten.iter().chain(&daemon.orphans) {
        let line = format!("left alone: {}", left.message);
        text.styled(Style::Warning, &line).end_line();
    }
}

fn supervisor(name: &str) -> &str {
    match name {
        "other" | "" => "another program",
        "terminal" => "a terminal",
        "container" => "a container",
        name => name,
    }
}

fn row(service: &Service, now: SystemTime) -> [String; 10] {
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let probe = service
        .probes
        .iter()
        .find(|probe| probe.check != "readiness");
    [
        service.name.clone(),
        service.state.clone(),
        age(&service.since, now),
        number(service.pid.map(Into::into)),
        service.life.to_string(),
        service.restarts.to_string(),
        service.cpu_seconds.map_or("-".to_owned(), cpu_time),
        service.memory_bytes.map_or("-".to_owned(), bytes),
        number(service.port.map(Into::into)),
        probe.map_or("none".to_owned(), probe_as_text),
    ]
}

fn probe_as_text(probe: &Probe) -> String {
    let class = probe.class.as_deref().unwrap_or("not asked yet");
    let latency = probe
        .latency_ms
        .filter(|_| probe.ok)
        .map(|ms| format!(" {ms} ms"));
    let failures = (probe.failures > 0).then(|| format!(" {} in a row", probe.failures));
    format!(
        "{class}{}{}",
        latency.unwrap_or_default(),
        failures.unwrap_or_default()
    )
}

/// The lines below a service's row: the reason of its state, stale code, a hold.
fn remarks(service: &Service, now: SystemTime) -> Vec<String> {
    let prefix = if service.reason_is_past {
        "last failure: "
    } else {
        ""
    };
    let reason = (!service.reason.is_empty()).then(|| format!("{prefix}{}", service.reason));
    let hold = service.hold.as_ref().map(|hold| {
        let left = humantime::parse_rfc3339_weak(&hold.until).ok();
        let left = left
            .and_then(|until| until.duration_since(now).ok())
            .unwrap_or_default();
        format!("held for {} more: {}", duration(left), hold.reason)
    });
    let stale = service
        .runtime
        .as_ref()
        .and_then(|runtime| stale(service, runtime));
    reason.into_iter().chain(stale).chain(hold).collect()
}

/// Says that a restart would run another version of the program or runtime.
fn stale(service: &Service, runtime: &Runtime) -> Option<String> {
    let name = &service.name;
    let (what, but) = match runtime.fingerprint {
        Some(_) => (
            "the content of its source has changed".to_owned(),
            " unless it is refused",
        ),
        None => (
            format!("{} was replaced after the service started", runtime.path),
            "",
        ),
    };
    runtime
        .stale
        .then(|| format!("stale: {what}; `stayd restart {name}` runs the new content{but}"))
}

fn style_of(service: &Service) -> Style {
    match service.state.as_str() {
        "running" | "attached" if service.healthy => Style::Good,
        "stopped" | "destroyed" => Style::Dim,
        "wedged" | "parked" | "blocked" | "unkillable" => Style::Bad,
        _ => Style::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::{add_status, verdict, without_measurements};
    use crate::api::wire::{Daemon, Hold, Probe, Service, Status};
    use crate::cli::console::Console;
    use crate::cli::exit::Exit;
    use std::time::{Duration, SystemTime};

    fn sample() -> Status {
        let db = Service {
            name: "db".into(),
            state: "running".into(),
            wanted: "up".into(),
            healthy: true,
            pid: Some(4720),
            life: 3,
            since: "1970-01-01T00:00:00Z".into(),
            restarts: 2,
            reason: "killed: no answer to SELECT 1 in 3 probes (3.4 s), using no CPU".into(),
            reason_is_past: true,
            cpu_seconds: Some(0.34),
            memory_bytes: Some(73_400_320),
            probes: vec![Probe {
                check: "liveness".into(),
                ok: true,
                class: Some("alive".into()),
                latency_ms: Some(0.8),
                ..Probe::default()
            }],
            port: Some(8521),
            hold: Some(Hold {
                until: "1970-01-01T00:30:00Z".into(),
                reason: "backup".into(),
            }),
            ..Service::default()
        };
        Status {
            daemon: Daemon {
                name: "studio".into(),
                pid: 4711,
                version: "0.1.0".into(),
                started_at: "1970-01-01T00:00:00Z".into(),
                supervisor: "systemd".into(),
                ..Daemon::default()
            },
            services: vec![db],
            ..Status::default()
        }
    }

    #[test]
    fn the_table_shows_state_probe_reason_and_hold() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(123);
        let mut text = Console::plain().text();
        add_status(&mut text, &sample(), now);
        assert_eq!(
            text.as_str(),
            "studio  stayd 0.1.0 (pid 4711, started by systemd) for 2m 3s\n\
             SERVICE  STATE    FOR    PID   LIFE  RESTARTS  CPU TIME  MEMORY  PORT  PROBE\n\
             db       running  2m 3s  4720  3     2         0.3s      70 MiB  8521  alive 0.8 ms\n    \
             last failure: killed: no answer to SELECT 1 in 3 probes (3.4 s), using no CPU\n    \
             held for 27m 57s more: backup\n"
        );
    }

    #[test]
    fn only_services_that_are_wanted_up_make_the_status_unhealthy() {
        let mut status = sample();
        assert_eq!(verdict(&[status.clone()]), Exit::Done);
        status.services[0].healthy = false;
        assert_eq!(verdict(&[sample(), status.clone()]), Exit::No);
        status.services[0].wanted = "down".into();
        assert_eq!(verdict(&[status]), Exit::Done);
    }

    #[test]
    fn another_attempt_of_a_healthy_probe_is_no_change() {
        let (before, mut after) = (sample(), sample());
        after.services[0].probes[0].latency_ms = Some(0.9);
        assert_eq!(without_measurements(&before), without_measurements(&after));
        after.services[0].state = "suspect".into();
        assert_ne!(without_measurements(&before), without_measurements(&after));
    }
}
