//! Where a service listens.

use super::{Endpoint, Listen, Service, literal_addresses};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Where a service listens, as far as its configuration shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListeningAddresses {
    /// Its `port` and the ports of its `sockets`, at any address.
    pub ports: BTreeSet<u16>,
    /// The paths of its `sockets`, and the endpoints of its probes. A probe may ask another machine, so that a TCP address is
    /// the service's only if it belongs to this one.
    pub addresses: BTreeSet<Listen>,
}

impl ListeningAddresses {
    /// Where `service` listens. Host names are not resolved.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        let mut found = Self::default();
        found.ports.extend(service.port);
        for socket in &service.sockets {
            match socket {
                Listen::Tcp(address) => found.ports.insert(address.port()),
                Listen::Unix(_) => found.addresses.insert(socket.clone()),
            };
        }
        let probes = [&service.probe, &service.ready].into_iter().flatten();
        for endpoint in probes.filter_map(|probe| probe.target.endpoint()) {
            match endpoint {
                Endpoint::Unix(path) => {
                    found.addresses.insert(Listen::Unix(path.clone()));
                }
                Endpoint::Tcp(host, port) => {
                    let ips = literal_addresses(host).unwrap_or_default().into_iter();
                    let addresses = ips.map(|ip| Listen::Tcp(SocketAddr::new(ip, *port)));
                    found.addresses.extend(addresses);
                }
            }
        }
        found
    }
}
