//! What can only be seen with all services side by side, and what is allowed but worth a word.

use super::listen;
use super::section::{Findings, Section};
use super::service::port;
use super::{Config, Endpoint, Location, Probe, Service, Target};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A stop that may take longer than this outlasts what OS supervisors allow by default.
const LONG_GRACE: Duration = Duration::from_secs(80);

/// Names that are told to somebody who meant another.
const SHOWN_NAMES: usize = 10;

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
                    section.name, first.location,
                );
                findings.error(&section.location, message);
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
                    first.location("service.*.port"),
                );
                findings.error(section.location("service.*.port"), message);
            }
            None => {
                seen.insert(number, section);
            }
        }
    }
}

fn check_after(sections: &[Section], findings: &mut Findings) {
    let paths: BTreeMap<&str, usize> = sections
        .iter()
        .enumerate()
        .map(|(at, section)| (section.name.as_str(), at))
        .collect();
    let mut after = Vec::new();
    for section in sections {
        let names = section.texts("service.*.after").unwrap_or_default();
        let mut known = Vec::new();
        for name in &names {
            match paths.get(name.as_str()) {
                Some(at) => known.push(*at),
                None => {
                    let message = format!(
                        "cannot wait for `{}`: there is no such service; known: {}",
                        super::value::shorten(name),
                        some_names(sections),
                    );
                    findings.error(section.location("service.*.after"), message);
                }
            }
        }
        after.push(known);
    }
    if let Some(section) = find_cycle(&after).and_then(|at| sections.get(at)) {
        let message = format!(
            "cannot order `{}`: it waits for itself by way of those it waits for; break the circle",
            section.name,
        );
        findings.error(section.location("service.*.after"), message);
    }
}

/// The first names; a reader of thousands would not find the one that was meant.
fn some_names(sections: &[Section]) -> String {
    let names: Vec<_> = sections
        .iter()
        .take(SHOWN_NAMES)
        .map(|section| section.name.as_str())
        .collect();
    match sections.len().saturating_sub(SHOWN_NAMES) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// One that waits for itself, where `after[n]` are those that the nth waits for; each is looked at once.
fn find_cycle(after: &[Vec<usize>]) -> Option<usize> {
    let mut waiting: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut waited_by = vec![Vec::new(); after.len()];
    for (at, others) in after.iter().enumerate() {
        for other in others {
            waited_by[*other].push(at);
        }
    }
    // Whoever waits for nobody can go, and with it what the others wait for; who then still waits is in a circle or
    // behind one.
    let mut free: Vec<usize> = (0..after.len()).filter(|at| waiting[*at] == 0).collect();
    while let Some(gone) = free.pop() {
        for at in &waited_by[gone] {
            waiting[*at] -= 1;
            if waiting[*at] == 0 {
                free.push(*at);
            }
        }
    }
    let mut at = waiting.iter().position(|count| *count > 0)?;
    // From behind the circle this leads into it, in at most as many steps as there are services.
    for _ in 0..after.len() {
        at = *after[at].iter().find(|other| waiting[**other] > 0)?;
    }
    Some(at)
}

/// What is allowed, but perhaps not meant.
pub(super) fn warn(config: &Config, sections: &[Section], findings: &mut Findings) {
    for (service, section) in config.services.iter().zip(sections) {
        warn_service(service, section, findings);
    }
}

fn warn_service(service: &Service, section: &Section, findings: &mut Findings) {
    let name = &service.name;
    let add = match section.location {
        Location::Option(_) => "add --probe URL".to_owned(),
        Location::File(_)
        | Location::Line { .. }
        | Location::Point { .. }
        | Location::Surroundings => {
            format!("add [service.{name}.watchdog] with a `probe`")
        }
    };
    let mut warn = |key: &str, message: String| findings.warning(section.location(key), message);
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
            let held = listen::about_probe(service, probe);
            if let Some(message) = held.or_else(|| about_probe(service, probe)) {
                warn("service.*.watchdog.probe", message);
            }
        }
    }
    if let Some(message) = service
        .ready
        .as_ref()
        .and_then(|ready| listen::about_probe(service, ready))
    {
        warn("service.*.ready.probe", message);
    }
    if let Some(watchdog) = service
        .policy
        .watchdog
        .filter(|watchdog| watchdog.timeout > watchdog.interval)
        .filter(|_| section.has("service.*.watchdog.timeout"))
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

#[cfg(test)]
mod tests {
    use super::find_cycle;

    #[test]
    fn a_circle_is_found_and_what_is_only_behind_one_is_not_blamed() {
        assert_eq!(find_cycle(&[]), None);
        assert_eq!(find_cycle(&[vec![1], vec![2], vec![]]), None);
        assert_eq!(find_cycle(&[vec![0]]), Some(0));
        let behind = [vec![1], vec![2, 3], vec![], vec![4], vec![3]];
        assert!(find_cycle(&behind).is_some_and(|at| at == 3 || at == 4));
    }

    #[test]
    fn a_chain_is_looked_at_once() {
        // Followed anew from each service this would be 2^39 steps.
        let last = 1 << 20;
        let chain: Vec<_> = (0..=last)
            .map(|at| if at < last { vec![at + 1] } else { vec![] })
            .collect();
        assert_eq!(find_cycle(&chain), None);
    }
}
