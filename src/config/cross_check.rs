//! Checks that need all services at once (names, ports, order), and warnings about allowed but doubtful settings.

use super::finding::Findings;
use super::listen;
use super::section::Section;
use super::service::port;
use super::shell_syntax;
use super::{Config, Endpoint, Location, Probe, Service, Target};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A stop grace above this is longer than OS supervisors wait by default.
const LONG_GRACE: Duration = Duration::from_secs(80);

/// The most service names that an error lists.
const NAMES_SHOWN_MAX: usize = 10;

/// Checks names, ports and order of all services.
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
                    "cannot define the service `{}` twice: the first definition is at {}; rename or remove one",
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
                    "cannot use port {number} for `{}`: `{}` uses it, at {}; give one of them another port",
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
    let indexes: BTreeMap<&str, usize> = sections
        .iter()
        .enumerate()
        .map(|(at, section)| (section.name.as_str(), at))
        .collect();
    let mut after = Vec::new();
    for section in sections {
        let names = section.texts("service.*.after").unwrap_or_default();
        let mut known = Vec::new();
        for name in &names {
            match indexes.get(name.as_str()) {
                Some(at) => known.push(*at),
                None => {
                    let message = format!(
                        "cannot start after `{}`: there is no such service; known services: {}",
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
            "cannot order `{}`: through `after` it waits for itself; remove one of the dependencies in this cycle",
            section.name,
        );
        findings.error(section.location("service.*.after"), message);
    }
}

/// The first names and the number of the others: a list of thousands would not help the user.
fn some_names(sections: &[Section]) -> String {
    let names: Vec<_> = sections
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|section| section.name.as_str())
        .collect();
    match sections.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The index of a service that depends on itself, if there is one; `after[n]` are the dependencies of service n. The time is
/// linear in the number of services and dependencies.
fn find_cycle(after: &[Vec<usize>]) -> Option<usize> {
    let mut waiting: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut dependents = vec![Vec::new(); after.len()];
    for (at, others) in after.iter().enumerate() {
        for other in others {
            dependents[*other].push(at);
        }
    }
    // Kahn's algorithm: remove services without dependencies until none is left. The rest is part of a cycle or depends on
    // one.
    let mut free: Vec<usize> = (0..after.len()).filter(|at| waiting[*at] == 0).collect();
    while let Some(gone) = free.pop() {
        for at in &dependents[gone] {
            waiting[*at] -= 1;
            if waiting[*at] == 0 {
                free.push(*at);
            }
        }
    }
    let mut at = waiting.iter().position(|count| *count > 0)?;
    // Follow dependencies from any service of the rest: this ends in the cycle after at most as many steps as services.
    for _ in 0..after.len() {
        at = *after[at].iter().find(|other| waiting[**other] > 0)?;
    }
    Some(at)
}

/// Warns about settings that are allowed but probably not intended.
pub(super) fn warn(config: &Config, sections: &[Section], findings: &mut Findings) {
    for (service, section) in config.services.iter().zip(sections) {
        warn_service(service, section, findings);
        shell_syntax::warn(service, section, findings);
    }
}

fn warn_service(service: &Service, section: &Section, findings: &mut Findings) {
    let name = &service.name;
    let add = match section.location {
        Location::Option(_) => "add --probe URL".to_owned(),
        Location::File(_)
        | Location::Line { .. }
        | Location::Point { .. }
        | Location::Environment => {
            format!("add [service.{name}.watchdog] with a `probe`")
        }
    };
    let mut warn = |key: &str, message: String| findings.warning(section.location(key), message);
    match &service.probe {
        None if service.ready.is_none() => warn(
            "",
            format!(
                "`{name}` has no probe: stayd notices when it ends, but not when it stops answering; {add}"
            ),
        ),
        None => warn(
            "service.*.ready",
            format!(
                "`{name}` has only a readiness probe: stayd does not notice when it stops answering; {add}"
            ),
        ),
        Some(probe) => {
            let about_socket = listen::about_probe(service, probe);
            if let Some(message) = about_socket.or_else(|| about_probe(service, probe)) {
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
                "the timeout is longer than the interval, so an attempt starts only every {timeout}; raise `interval` or lower `timeout`"
            ),
        );
    }
    if service.policy.stop_grace > LONG_GRACE {
        warn(
            "service.*.stop.grace",
            "this `grace` is longer than systemd (90s) and launchd (20s) wait by default; render the unit or plist again, it contains the required time".into(),
        );
    }
}

/// A warning about a probe that does not test the service, or tests another one.
fn about_probe(service: &Service, probe: &Probe) -> Option<String> {
    let (host, port) = match &probe.target {
        Target::Sqlite { .. } => {
            return Some("a probe of a SQLite file does not test the process that serves the file, so a hung process is not killed; probe the service itself".into());
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
        return Some("the probe's host is a name that must be resolved at each attempt; write an address, such as 127.0.0.1 for this machine".into());
    }
    let own = service.port.filter(|own| *own != port)?;
    Some(format!(
        "the probe connects to port {port}, but `port` is {own}; correct the one that is wrong"
    ))
}

#[cfg(test)]
mod tests {
    use super::find_cycle;

    #[test]
    fn a_cycle_is_found_and_a_service_that_only_depends_on_one_is_not_named() {
        assert_eq!(find_cycle(&[]), None);
        assert_eq!(find_cycle(&[vec![1], vec![2], vec![]]), None);
        assert_eq!(find_cycle(&[vec![0]]), Some(0));
        let depends_on_a_cycle = [vec![1], vec![2, 3], vec![], vec![4], vec![3]];
        assert!(find_cycle(&depends_on_a_cycle).is_some_and(|at| at == 3 || at == 4));
    }

    #[test]
    fn a_long_chain_of_dependencies_takes_linear_time() {
        // Following the chain again from each service would take 2^39 steps.
        let last = 1 << 20;
        let chain: Vec<_> = (0..=last)
            .map(|at| if at < last { vec![at + 1] } else { vec![] })
            .collect();
        assert_eq!(find_cycle(&chain), None);
    }
}
