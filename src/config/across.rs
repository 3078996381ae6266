//! What can only be seen with all services side by side, and what is allowed but worth a word.

use super::section::{Findings, Section};
use super::service::port;
use super::{Config, Endpoint, Place, Probe, Service, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A stop that may take longer than this outlasts what OS supervisors allow by default.
const LONG_GRACE: Duration = Duration::from_secs(80);

/// Names, ports and order, over all services.
pub(super) fn check(sections: &[Section], findings: &mut Findings) {
    check_names(sections, findings);
    check_ports(sections, findings);
    check_after(sections, findings);
}

fn check_names(sections: &[Section], findings: &mut Findings) {
    let mut seen: BTreeMap<&str, &Section> = BTreeMap::new();
    for section in sections {
        match seen.get(section.name.as_str()) {
            Some(first) => {
                let message = format!(
                    "cannot define the service `{}` again: it is at {}; rename or remove one",
                    section.name, first.place,
                );
                findings.error(&section.place, message);
            }
            None => {
                seen.insert(&section.name, section);
            }
        }
    }
}

fn check_ports(sections: &[Section], findings: &mut Findings) {
    let mut seen: BTreeMap<u16, &Section> = BTreeMap::new();
    for section in sections {
        let Some(number) = port(section) else {
            continue;
        };
        match seen.get(&number) {
            Some(first) => {
                let message = format!(
                    "cannot use port {number} for `{}`: `{}` has it, at {}; give one of them another",
                    section.name,
                    first.name,
                    first.place("service.*.port"),
                );
                findings.error(section.place("service.*.port"), message);
            }
            None => {
                seen.insert(number, section);
            }
        }
    }
}

fn check_after(sections: &[Section], findings: &mut Findings) {
    let names: BTreeSet<&str> = sections
        .iter()
        .map(|section| section.name.as_str())
        .collect();
    for section in sections {
        for other in section.texts("service.*.after").unwrap_or_default() {
            if !names.contains(other.as_str()) {
                let other = super::value::brief(&other);
                let message = format!(
                    "cannot wait for `{other}`: there is no such service; known: {}",
                    names.iter().copied().collect::<Vec<_>>().join(", "),
                );
                findings.error(section.place("service.*.after"), message);
            }
        }
    }
    if let Some(section) = first_in_a_circle(sections) {
        let message = format!(
            "cannot order `{}`: it waits for itself by way of those it waits for; break the circle",
            section.name,
        );
        findings.error(section.place("service.*.after"), message);
    }
}

/// A service that lies in a circle of `after`, the first of the file.
fn first_in_a_circle(sections: &[Section]) -> Option<&Section> {
    let after: BTreeMap<&str, Vec<String>> = sections
        .iter()
        .map(|section| {
            (
                section.name.as_str(),
                section.texts("service.*.after").unwrap_or_default(),
            )
        })
        .collect();
    sections.iter().find(|section| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = vec![&section.name];
        while let Some(name) = open.pop() {
            for next in after.get(name).into_iter().flatten() {
                if *next == section.name {
                    return true;
                }
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        false
    })
}

/// What is allowed, but perhaps not meant.
pub(super) fn warn(config: &Config, sections: &[Section], findings: &mut Findings) {
    for (service, section) in config.services.iter().zip(sections) {
        warn_service(service, section, findings);
    }
}

fn warn_service(service: &Service, section: &Section, findings: &mut Findings) {
    let name = &service.name;
    let add = match section.place {
        Place::Option(_) => "add --probe URL".to_owned(),
        Place::File(_) | Place::Line { .. } | Place::Point { .. } | Place::Surroundings => {
            format!("add [service.{name}.watchdog] with a `probe`")
        }
    };
    let mut warn = |key: &str, message: String| findings.warning(section.place(key), message);
    match &service.probe {
        None if service.ready.is_none() => warn(
            "",
            format!(
                "`{name}` has no probe: stayd sees when it ends, not when it stops answering; {add}"
            ),
        ),
        None => warn(
            "service.*.ready",
            format!(
                "`{name}` has a probe for readiness alone: nothing notices when it stops answering; {add}"
            ),
        ),
        Some(probe) => {
            if let Some(message) = about_probe(service, probe) {
                warn("service.*.watchdog.probe", message);
            }
        }
    }
    if let Some(watchdog) = service
        .policy
        .watchdog
        .filter(|watchdog| watchdog.timeout > watchdog.interval)
    {
        let timeout = humantime::format_duration(watchdog.timeout);
        warn(
            "service.*.watchdog.timeout",
            format!(
                "the timeout is longer than the interval, so a round comes every {timeout}; raise `interval` or lower `timeout`"
            ),
        );
    }
    if service.policy.stop_grace > LONG_GRACE {
        warn(
            "service.*.stop.grace",
            "such a long `grace` outlasts what systemd (90s) and launchd (20s) allow by default; render the unit or plist anew, it carries the budget".into(),
        );
    }
}

/// A probe that asks too little, or somebody else.
fn about_probe(service: &Service, probe: &Probe) -> Option<String> {
    let (host, port) = match &probe.target {
        Target::Sqlite { .. } => {
            return Some("a SQLite file says nothing about the process that serves it; probe the service itself, or expect no kill when it hangs".into());
        }
        Target::Postgres {
            at: Endpoint::Tcp(host, port),
            ..
        }
        | Target::Http {
            at: Endpoint::Tcp(host, port),
            ..
        }
        | Target::Connect(Endpoint::Tcp(host, port)) => (host, *port),
        Target::Postgres { .. }
        | Target::Http { .. }
        | Target::Connect(_)
        | Target::Exec(_)
        | Target::Notify => return None,
    };
    let literal = host.parse::<IpAddr>().is_ok() || host == "localhost";
    if !literal {
        return Some("the probe's host is a name that must be resolved in each round; write an address, 127.0.0.1 if it is this machine".into());
    }
    let own = service.port.filter(|own| *own != port)?;
    Some(format!(
        "the probe asks port {port}, but `port` says that {own} is the service's; one of them may be wrong"
    ))
}
