//! Connects to a service's endpoint without a proxy, and classifies failures: caused by the service or by this host.

use super::{Answer, Helper, Phase, dead, no_verdict};
use crate::config::Endpoint;
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Errors that are caused by stayd or this host, not by the service, and what the user can do about each.
const LOCAL_ERRORS: [(Errno, &str); 12] = [
    (
        Errno::EMFILE,
        "stayd has no file descriptor left; raise its open-files limit",
    ),
    (
        Errno::ENFILE,
        "the machine has no file descriptor left; raise fs.file-max",
    ),
    (Errno::ENOMEM, "there is no memory left for it; free some"),
    (
        Errno::ENOBUFS,
        "the kernel has no buffer left for it; free some memory",
    ),
    (
        Errno::EAGAIN,
        "the kernel has no room for it now; stayd asks again at the next attempt",
    ),
    (
        Errno::EADDRNOTAVAIL,
        "no free local port is left; probe over a Unix socket or widen net.ipv4.ip_local_port_range",
    ),
    (
        Errno::EPERM,
        "a firewall or sandbox forbids it; allow stayd to connect there",
    ),
    (
        Errno::EACCES,
        "stayd has no right to it; change the rights or the user that stayd runs as",
    ),
    (Errno::ENETDOWN, "the network is down here"),
    (Errno::ENETUNREACH, "there is no route to it from here"),
    (Errno::EHOSTUNREACH, "the host cannot be reached from here"),
    (
        Errno::EAFNOSUPPORT,
        "this machine does not support that address family; use the other one",
    ),
];

/// A bidirectional byte stream.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

/// A TCP or Unix connection.
pub(super) type Stream = Box<dyn ByteStream>;

/// Connects to one endpoint; each attempt may make a new connection.
pub(super) struct Connector {
    at: Endpoint,
    /// Resolves host names other than localhost. Resolving can hang, so it is done in a helper process.
    resolver: Helper,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connector")
            .field("resolver", &self.resolver)
            .finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) const fn new(at: Endpoint, resolver: Helper) -> Self {
        Self { at, resolver }
    }

    /// Connects. An error is the answer of the attempt: dead or no verdict. Has no deadline of its own.
    pub(super) async fn connect(&mut self, phase: &Phase) -> Result<Stream, Answer> {
        match &self.at {
            Endpoint::Unix(path) => connect_unix(path).await,
            Endpoint::Tcp(host, port) => {
                let addresses = match loopback_or_literal(host, *port) {
                    Some(addresses) => addresses,
                    None => {
                        phase.prepare("address for the host's name");
                        resolve(&mut self.resolver, host, *port).await?
                    }
                };
                phase.wait_for_service("connection");
                connect_tcp(&addresses).await
            }
        }
    }
}

/// The addresses of an IP literal or of `localhost`, which is never resolved; `None` for any other name.
fn loopback_or_literal(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(ip, port)]);
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost")).then(|| {
        vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]
    })
}

async fn resolve(helper: &mut Helper, host: &str, port: u16) -> Result<Vec<SocketAddr>, Answer> {
    super::resolve::resolve(helper, host, port)
        .await
        .map_err(|cause| {
            no_verdict(format!(
                "cannot resolve {host}: {cause}; write a literal address in the probe's URL"
            ))
        })
}

/// Tries the addresses one by one until one accepts. Otherwise returns the first failure that is caused by the service, or
/// else the first failure.
async fn connect_tcp(addresses: &[SocketAddr]) -> Result<Stream, Answer> {
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A small request must not wait for more bytes. If this option cannot be set, the answer is only slower.
                let _ = stream.set_nodelay(true);
                return Ok(Box::new(stream));
            }
            Err(error) => {
                let answer = classify(&error, &address.to_string());
                let is_first = matches!(
                    (&failure, &answer),
                    (None, _) | (Some(Answer::NoVerdict { .. }), Answer::Dead { .. })
                );
                if is_first {
                    failure = Some(answer);
                }
            }
        }
    }
    let failure = failure.unwrap_or_else(|| no_verdict("the host's name has no address"));
    Err(match addresses {
        [only] => check_other_family(*only, failure).await,
        _ => failure,
    })
}

/// If a loopback address refuses and that of the other address family accepts, the URL is wrong, and the answer names the
/// other address.
async fn check_other_family(refused: SocketAddr, failure: Answer) -> Answer {
    let other: SocketAddr = match refused.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => (Ipv6Addr::LOCALHOST, refused.port()).into(),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => (Ipv4Addr::LOCALHOST, refused.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => return failure,
    };
    match (failure, TcpStream::connect(other).await) {
        (Answer::Dead { how }, Ok(_)) => dead(format!(
            "{how}, but {other} accepts: it listens on the other address family; write localhost in the probe's URL"
        )),
        (failure, _) => failure,
    }
}

async fn connect_unix(path: &Path) -> Result<Stream, Answer> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Box::new(stream)),
        // Here EAGAIN means that the listener's backlog is full (connect(2)): the service does not accept.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(dead(format!(
            "{} accepts no connection: its backlog is full",
            path.display()
        ))),
        Err(error) => Err(classify(&error, &path.display().to_string())),
    }
}

/// The answer for a connection error: no verdict if it is local, else dead. `address` names the endpoint.
fn classify(error: &io::Error, address: &str) -> Answer {
    if let Some(remedy) = local_error_remedy(error) {
        return no_verdict(format!("cannot connect to {address}: {remedy} ({error})"));
    }
    dead(if error.kind() == io::ErrorKind::ConnectionRefused {
        format!("{address} refuses the connection")
    } else if error.kind() == io::ErrorKind::NotFound {
        format!("{address} does not exist")
    } else {
        format!("{address}: {error}")
    })
}

/// What the user can do about `error`, if it is a local error, which does not depend on the service.
pub(super) fn local_error_remedy(error: &io::Error) -> Option<&'static str> {
    let errno = Errno::from_raw(error.raw_os_error()?);
    LOCAL_ERRORS
        .iter()
        .find_map(|(local, remedy)| (*local == errno).then_some(*remedy))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Errno, classify, loopback_or_literal};
    use std::io;

    #[test]
    fn localhost_means_both_loopback_addresses_and_is_never_resolved() {
        for host in ["localhost", "LOCALHOST.", "db.localhost"] {
            let found = loopback_or_literal(host, 80).expect("a loopback name");
            let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(shown, ["127.0.0.1:80", "[::1]:80"]);
        }
        let literal = loopback_or_literal("[::1]", 80).expect("a literal");
        assert_eq!(literal[0].to_string(), "[::1]:80");
        assert!(loopback_or_literal("db.example", 80).is_none());
    }

    #[test]
    fn local_errors_are_no_verdict_and_others_are_dead() {
        for errno in [
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::ENOMEM,
            Errno::ENOBUFS,
            Errno::EAGAIN,
            Errno::EADDRNOTAVAIL,
            Errno::EPERM,
            Errno::EACCES,
        ] {
            let answer = classify(&io::Error::from(errno), "127.0.0.1:1");
            assert!(
                matches!(answer, Answer::NoVerdict { .. }),
                "{errno}: {answer:?}"
            );
        }
        for errno in [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::ETIMEDOUT] {
            let answer = classify(&io::Error::from(errno), "127.0.0.1:1");
            assert!(matches!(answer, Answer::Dead { .. }), "{errno}: {answer:?}");
        }
    }
}
