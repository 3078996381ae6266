//! At which addresses a service listens on its port, and which foreign listeners are in its way.

use super::{Endpoint, Listen, Service};
use crate::decide::policy::OnStranger;
use crate::sys::socket::Listener;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Where a service listens on its `port`, as far as its configuration tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortAddresses {
    /// At these addresses: those of its sockets, or those in the URLs of its probes.
    Known(Vec<IpAddr>),
    /// At one of the loopback addresses, or both: a probe names `localhost`.
    Localhost,
    /// The configuration does not tell.
    Unknown,
}

impl PortAddresses {
    /// Where `service` listens on its port.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        let sockets = service.sockets.iter().filter_map(|socket| match socket {
            Listen::Tcp(address) if Some(address.port()) == service.port => Some(address.ip()),
            Listen::Tcp(_) | Listen::Unix(_) => None,
        });
        let sockets: Vec<IpAddr> = sockets.collect();
        if !sockets.is_empty() {
            return Self::Known(sockets);
        }
        let probes = [&service.probe, &service.ready].into_iter().flatten();
        let hosts = probes.filter_map(|probe| match probe.target.endpoint()? {
            Endpoint::Tcp(host, port) if Some(*port) == service.port => literal_addresses(host),
            Endpoint::Tcp(..) | Endpoint::Unix(_) => None,
        });
        let hosts: Vec<Vec<IpAddr>> = hosts.collect();
        let known = hosts.iter().filter_map(|ips| match ips[..] {
            [only] => Some(only),
            _ => None,
        });
        let known: Vec<IpAddr> = known.collect();
        match (known.is_empty(), hosts.is_empty()) {
            (false, _) => Self::Known(known),
            (true, false) => Self::Localhost,
            (true, true) => Self::Unknown,
        }
    }

    /// Those of the foreign `listeners` on the port that are in the way of the service. The service starts beside all others.
    ///
    /// bind(2) decides what the service can listen on. Where stayd does not know the address, it assumes the usual one,
    /// 127.0.0.1. If it is wrong, the service itself fails to bind, and exits. A service that may attach to a foreign process
    /// (`stranger = "attach"`) takes every one that may be meant: a second server on the same data is worse than none.
    #[must_use]
    pub fn in_the_way(&self, listeners: &[Listener], stranger: OnStranger) -> Vec<Listener> {
        let at = |ip: IpAddr| listeners.iter().filter(move |one| one.conflicts_with(ip));
        let at_any = |ips: &[IpAddr]| {
            let conflicts = |one: &&Listener| ips.iter().any(|ip| one.conflicts_with(*ip));
            listeners.iter().filter(conflicts).copied().collect()
        };
        match (self, stranger) {
            (Self::Known(ips), _) => at_any(ips),
            (Self::Localhost, OnStranger::Report) => {
                let is_free = LOOPBACK.iter().any(|ip| at(*ip).next().is_none());
                if is_free {
                    Vec::new()
                } else {
                    at_any(&LOOPBACK)
                }
            }
            (Self::Localhost, OnStranger::Attach) => at_any(&LOOPBACK),
            (Self::Unknown, OnStranger::Report) => {
                let is_in_the_way = |one: &&Listener| {
                    one.addr.ip().is_unspecified() || one.conflicts_with(LOOPBACK[0])
                };
                listeners.iter().filter(is_in_the_way).copied().collect()
            }
            (Self::Unknown, OnStranger::Attach) => listeners.to_vec(),
        }
    }
}

/// The addresses of an IP literal or of `localhost`, which is never resolved; `None` for any other name.
#[must_use]
pub fn literal_addresses(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(vec![ip]);
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost")).then(|| LOOPBACK.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str) -> Listener {
        let addr = std::net::SocketAddr::new(address.parse().expect("an address"), 80);
        Listener {
            addr,
            inode: 1,
            uid: 0,
            is_dual_stack: addr.ip() == Ipv6Addr::UNSPECIFIED,
            is_full: false,
        }
    }

    /// Whether the listeners are in the way: if a foreign process is reported, and if the service may attach to it.
    fn in_the_way(addresses: &PortAddresses, listeners: &[&str]) -> [bool; 2] {
        let listeners: Vec<_> = listeners.iter().map(|one| listener(one)).collect();
        [OnStranger::Report, OnStranger::Attach]
            .map(|stranger| !addresses.in_the_way(&listeners, stranger).is_empty())
    }

    #[test]
    fn only_a_listener_that_takes_the_services_address_is_in_its_way() {
        let known = PortAddresses::Known(vec![LOOPBACK[0]]);
        for address in ["127.0.0.1", "0.0.0.0", "::"] {
            assert_eq!(in_the_way(&known, &[address]), [true, true], "{address}");
        }
        for address in ["127.0.0.2", "10.0.0.1", "::1"] {
            assert_eq!(in_the_way(&known, &[address]), [false, false], "{address}");
        }
        assert_eq!(
            in_the_way(&known, &["127.0.0.2", "127.0.0.1"]),
            [true, true]
        );
    }

    #[test]
    fn a_service_of_localhost_starts_while_one_of_its_addresses_is_free() {
        let localhost = PortAddresses::Localhost;
        assert_eq!(in_the_way(&localhost, &["127.0.0.1"]), [false, true]);
        assert_eq!(in_the_way(&localhost, &["::1"]), [false, true]);
        assert_eq!(in_the_way(&localhost, &["127.0.0.1", "::1"]), [true, true]);
        assert_eq!(in_the_way(&localhost, &["::"]), [true, true]);
        assert_eq!(in_the_way(&localhost, &["10.0.0.1"]), [false, false]);
    }

    #[test]
    fn a_service_whose_address_is_not_known_starts_beside_a_listener_elsewhere() {
        for address in ["127.0.0.1", "0.0.0.0", "::"] {
            assert_eq!(
                in_the_way(&PortAddresses::Unknown, &[address]),
                [true, true]
            );
        }
        for address in ["127.0.0.2", "10.0.0.1", "::1"] {
            assert_eq!(
                in_the_way(&PortAddresses::Unknown, &[address]),
                [false, true]
            );
        }
    }

    #[test]
    fn localhost_means_both_loopback_addresses() {
        for host in ["localhost", "LOCALHOST.", "db.localhost"] {
            assert_eq!(literal_addresses(host), Some(LOOPBACK.to_vec()));
        }
        assert_eq!(literal_addresses("[::1]"), Some(vec![LOOPBACK[1]]));
        assert_eq!(literal_addresses("db.example"), None);
    }
}
