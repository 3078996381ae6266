//! `stayd status`: what runs, for how long, and why it is as it is.

use super::exit::{Exit, Failure, Outcome};
use super::screen::{Paint, Screen};
use super::words::{ago, columns, length};
use crate::api::client::Client;
use crate::api::wire::{Probe, Runtime, Service, Status};
use crate::sys;
use std::time::{Duration, SystemTime};

/// Between two looks with `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its upper left corner (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Only this service.
    pub(super) service: Option<String>,
    /// As JSON.
    pub(super) json: bool,
    /// Again and again.
    pub(super) watch: bool,
}

/// Shows it; 0 when everything that is wanted up is healthy, else 1.
pub(super) async fn status(screen: Screen, client: &Client, look: &Look) -> Outcome {
    let mut shown = None;
    loop {
        let status = fetch(client, look.service.as_deref()).await?;
        if !look.watch {
            show(screen, &status, look.json)?;
            return Ok(verdict(&status));
        }
        if screen.is_terminal() && !look.json {
            screen.print(CLEAR)?;
            show(screen, &status, false)?;
        } else if shown.as_ref() != Some(&steady(&status)) {
            show_change(screen, &status, look.json)?;
            shown = Some(steady(&status));
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// The status, of one service only if one is named.
async fn fetch(client: &Client, service: Option<&str>) -> Result<Status, Failure> {
    let mut status: Status = client.get("/v1/status").await?;
    if let Some(name) = service {
        let services = status.services.iter();
        let known: Vec<_> = services.map(|service| service.name.clone()).collect();
        status.services.retain(|service| service.name == name);
        if status.services.is_empty() {
            return Err(no_such_service(name, &known));
        }
    }
    Ok(status)
}

/// A name that nobody has.
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

fn verdict(status: &Status) -> Exit {
    let mut wanted = status
        .services
        .iter()
        .filter(|service| service.wanted == "up");
    if wanted.all(|service| service.healthy) {
        Exit::Done
    } else {
        Exit::No
    }
}

/// The status without what changes in each round of a healthy service.
fn steady(status: &Status) -> Status {
    let mut status = status.clone();
    for service in &mut status.services {
        service.memory_bytes = None;
        service.open_files = None;
        for probe in &mut service.probes {
            probe.latency_ms = None;
            probe.last_ok_at = None;
        }
    }
    status
}

fn show(screen: Screen, status: &Status, json: bool) -> Result<(), Failure> {
    if json {
        return screen.json(status, false);
    }
    screen.print(&as_text(screen, status, sys::clock::sample().wall))
}

fn show_change(screen: Screen, status: &Status, json: bool) -> Result<(), Failure> {
    if json {
        screen.json(status, true)
    } else {
        show(screen, status, false)
    }
}

fn as_text(screen: Screen, status: &Status, now: SystemTime) -> String {
    let daemon = &status.daemon;
    let head = format!(
        "{}  stayd {} (pid {}, started by {}) for {}\n",
        screen.paint(Paint::Strong, &daemon.name),
        daemon.version,
        daemon.pid,
        supervisor(&daemon.supervisor),
        ago(&daemon.started_at, now)
    );
    let warnings = daemon.warnings.iter();
    let warnings: String = warnings
        .map(|warning| {
            format!(
                "{}\n",
                screen.paint(Paint::Odd, &format!("warning: {warning}"))
            )
        })
        .collect();
    let title = ["SERVICE", "STATE", "FOR", "PID", "LIFE", "PORT", "PROBE"].map(str::to_owned);
    let rows: Vec<_> = status
        .services
        .iter()
        .map(|service| row(service, now))
        .collect();
    let all: Vec<_> = std::iter::once(title).chain(rows).collect();
    let mut text = head + &warnings;
    for (index, mut cells) in columns(&all).into_iter().enumerate() {
        let service = index.checked_sub(1).map(|index| &status.services[index]);
        match service {
            Some(service) => cells[1] = screen.paint(paint_of(service), &cells[1]),
            None => cells = cells.map(|cell| screen.paint(Paint::Faint, &cell)),
        }
        text.push_str(&format!("{}\n", cells.join("  ").trim_end()));
        for line in service
            .into_iter()
            .flat_map(|service| remarks(service, now))
        {
            text.push_str(&format!("    {line}\n"));
        }
    }
    for left in daemon.forgotten.iter().chain(&daemon.orphans) {
        let line = format!("left alone: {}", left.message);
        text.push_str(&format!("{}\n", screen.paint(Paint::Odd, &line)));
    }
    text
}

fn supervisor(name: &str) -> &str {
    match name {
        "other" | "" => "another program",
        "terminal" => "a terminal",
        "container" => "a container",
        name => name,
    }
}

fn row(service: &Service, now: SystemTime) -> [String; 7] {
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let probe = service
        .probes
        .iter()
        .find(|probe| probe.check != "readiness");
    [
        service.name.clone(),
        service.state.clone(),
        ago(&service.since, now),
        number(service.pid.map(Into::into)),
        service.life.to_string(),
        number(service.port.map(Into::into)),
        probe.map_or("none".to_owned(), probe_in_words),
    ]
}

fn probe_in_words(probe: &Probe) -> String {
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

/// What stands below a service's line.
fn remarks(service: &Service, now: SystemTime) -> Vec<String> {
    let reason = (!service.reason.is_empty()).then(|| service.reason.clone());
    let hold = service.hold.as_ref().map(|hold| {
        let left = humantime::parse_rfc3339_weak(&hold.until).ok();
        let left = left
            .and_then(|until| until.duration_since(now).ok())
            .unwrap_or_default();
        format!("held for {} more: {}", length(left), hold.reason)
    });
    let stale = service
        .runtime
        .as_ref()
        .and_then(|runtime| stale(service, runtime));
    reason.into_iter().chain(stale).chain(hold).collect()
}

/// What runs is not what a restart would run.
fn stale(service: &Service, runtime: &Runtime) -> Option<String> {
    let name = &service.name;
    let (what, but) = match runtime.fingerprint {
        Some(_) => (
            "its source holds something else by now".to_owned(),
            ", unless that is refused",
        ),
        None => (
            format!("{} was replaced since it was started", runtime.path),
            "",
        ),
    };
    runtime
        .stale
        .then(|| format!("stale: {what}; `stayd restart {name}` runs that{but}"))
}

fn paint_of(service: &Service) -> Paint {
    match service.state.as_str() {
        "running" | "attached" if service.healthy => Paint::Good,
        "stopped" | "destroyed" => Paint::Faint,
        "wedged" | "parked" | "blocked" | "unkillable" => Paint::Bad,
        _ => Paint::Odd,
    }
}

#[cfg(test)]
mod tests {
    use super::{as_text, steady, verdict};
    use crate::api::wire::{Daemon, Hold, Probe, Service, Status};
    use crate::cli::exit::Exit;
    use crate::cli::screen::Screen;
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
            reason: "killed: no answer to SELECT 1 in 3 probes (3.4 s), using no CPU".into(),
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
    fn the_table_reads_like_this() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(123);
        let text = as_text(Screen::plain(), &sample(), now);
        assert_eq!(
            text,
            "studio  stayd 0.1.0 (pid 4711, started by systemd) for 2m 3s\n\
             SERVICE  STATE    FOR    PID   LIFE  PORT  PROBE\n\
             db       running  2m 3s  4720  3     8521  alive 0.8 ms\n    \
             killed: no answer to SELECT 1 in 3 probes (3.4 s), using no CPU\n    \
             held for 27m 57s more: backup\n"
        );
    }

    #[test]
    fn only_what_is_wanted_up_makes_it_unhealthy() {
        let mut status = sample();
        assert_eq!(verdict(&status), Exit::Done);
        status.services[0].healthy = false;
        assert_eq!(verdict(&status), Exit::No);
        status.services[0].wanted = "down".into();
        assert_eq!(verdict(&status), Exit::Done);
    }

    #[test]
    fn another_round_of_a_healthy_probe_is_no_change() {
        let (before, mut after) = (sample(), sample());
        after.services[0].probes[0].latency_ms = Some(0.9);
        assert_eq!(steady(&before), steady(&after));
        after.services[0].state = "suspect".into();
        assert_ne!(steady(&before), steady(&after));
    }
}
