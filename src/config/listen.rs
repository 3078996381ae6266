//! The key `sockets`: parses and checks the addresses that stayd binds for a service.

use super::finding::Findings;
use super::section::Section;
use super::value::ValueError;
use super::{Config, Endpoint, Probe, Service, Target};
use crate::sys::listen::Address;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net;
use std::path::{Path, PathBuf};

/// The path of the key.
pub(super) const KEY: &str = "service.*.sockets";
/// The most sockets of a service: the rendered systemd unit lets systemd store this many descriptors.
const SOCKETS_MAX: usize = 64;

/// Parses `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` (never resolved) or a path, which may be relative to `folder`.
fn parse(text: &str, folder: &Path) -> Result<Address, ValueError> {
    if text.starts_with(['/', '.']) {
        let path: PathBuf = folder.join(text).components().collect();
        return match net::SocketAddr::from_pathname(&path) {
            Ok(_) => Ok(Address::Unix(path)),
            Err(_) => Err(ValueError::new(
                format!("{} is too long for the path of a socket", path.display()),
                "choose a path of at most 100 bytes",
            )),
        };
    }
    let local = |port: &str| {
        let port = port.parse().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    };
    let address = match text.strip_prefix("localhost:") {
        Some(port) => local(port),
        None => text.parse().ok(),
    };
    address
        .filter(|address| address.port() != 0)
        .map(Address::Tcp)
        .ok_or_else(|| {
            ValueError::new(
                format!("`{text}` is not an address to listen on"),
                "write it as \"127.0.0.1:8080\", \"[::1]:8080\" or \"/run/app.sock\"",
            )
        })
}

/// The sockets of a service in their order; errors are added to the findings.
pub(super) fn all(section: &Section, folder: &Path, findings: &mut Findings) -> Vec<Address> {
    let texts = section.texts(KEY).unwrap_or_default();
    let mut report = |error: &ValueError| {
        findings.error(
            section.location(KEY),
            format!("cannot use `sockets`: {error}"),
        );
    };
    if texts.len() > SOCKETS_MAX {
        let cause = format!("more than {SOCKETS_MAX} sockets");
        report(&ValueError::new(
            cause,
            "let the service bind the rest itself",
        ));
        return Vec::new();
    }
    let parsed = texts.iter().map(|text| parse(text, folder));
    parsed
        .filter_map(|parsed| parsed.map_err(|error| report(&error)).ok())
        .collect()
}

/// Checks that no address is bound twice and that no service uses the port of a socket of another service.
pub(super) fn check(config: &Config, sections: &[Section], findings: &mut Findings) {
    let mut seen: Vec<(&Address, &Section)> = Vec::new();
    let services = || config.services.iter().zip(sections);
    for (service, section) in services() {
        for address in &service.sockets {
            let taken = seen.iter().find(|(other, _)| overlap(other, address));
            if let Some((other, first)) = taken {
                findings.error(
                    section.location(KEY),
                    conflict(address, &section.name, other, first),
                );
            }
            seen.push((address, section));
        }
    }
    for (service, section) in services() {
        let Some(number) = service.port else {
            continue;
        };
        let taken = seen
            .iter()
            .find(|(address, owner)| port(address) == Some(number) && owner.name != section.name);
        if let Some((address, owner)) = taken {
            let message = format!(
                "cannot use port {number} for `{}`: `{}` has the socket {address}, at {}; give one of them another port",
                section.name,
                owner.name,
                owner.location(KEY),
            );
            findings.error(section.location("service.*.port"), message);
        }
    }
}

/// The error for two addresses that cannot both be bound.
fn conflict(address: &Address, name: &str, other: &Address, first: &Section) -> String {
    if address == other {
        format!(
            "cannot bind {address} for `{name}`: `{}` binds it, at {}; give one of them another address",
            first.name,
            first.location(KEY),
        )
    } else {
        format!(
            "cannot bind {address} for `{name}` and {other} for `{}`, at {}: one of them covers all addresses of the port; \
             give one of them another port",
            first.name,
            first.location(KEY),
        )
    }
}

fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let all = |address: &SocketAddr| address.ip().is_unspecified();
            one.port() == other.port() && (one.ip() == other.ip() || all(one) || all(other))
        }
        (one, other) => one == other,
    }
}

const fn port(address: &Address) -> Option<u16> {
    match address {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    }
}

/// A warning about a probe that only connects to a socket of stayd: the kernel accepts the connection into the backlog
/// whether or not the service is alive.
pub(super) fn about_probe(service: &Service, probe: &Probe) -> Option<String> {
    let Target::Connect(at) = &probe.target else {
        return None;
    };
    let is_probed = |address: &&Address| match (address, at) {
        (Address::Tcp(address), Endpoint::Tcp(_, port)) => address.port() == *port,
        (Address::Unix(path), Endpoint::Unix(probed)) => path == probed,
        (Address::Tcp(_) | Address::Unix(_), _) => false,
    };
    let address = service.sockets.iter().find(is_probed)?;
    Some(format!(
        "stayd holds {address} itself, so a connection succeeds whether or not the service answers; use a probe that needs an \
         answer (http:, postgres:, exec:), or `notify`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_local_port_or_a_path() {
        let parsed = |text: &str| parse(text, Path::new("/srv/app")).map(|found| found.to_string());
        assert_eq!(parsed("localhost:80").as_deref(), Ok("127.0.0.1:80"));
        assert_eq!(parsed("[::1]:80").as_deref(), Ok("[::1]:80"));
        assert_eq!(parsed("./s.sock").as_deref(), Ok("/srv/app/s.sock"));
        assert_eq!(parsed("/run/s.sock").as_deref(), Ok("/run/s.sock"));
        for wrong in ["80", "example.org:80", "127.0.0.1:0", ":80", "s.sock"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        let long = parsed(&format!("/run/{}", "x".repeat(110))).expect_err("too long");
        assert!(long.to_string().contains("too long"), "{long}");
    }

    #[test]
    fn addresses_overlap_if_one_covers_all_addresses_of_the_port() {
        let address = |text| parse(text, Path::new("/")).expect("an address");
        let overlap = |one, other| overlap(&address(one), &address(other));
        assert!(overlap("127.0.0.1:80", "0.0.0.0:80"));
        assert!(overlap("[::]:80", "127.0.0.1:80"));
        assert!(overlap("/run/s", "/run/./s"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlap("127.0.0.1:80", "0.0.0.0:81"));
        assert!(!overlap("/run/s", "0.0.0.0:80"));
    }
}
