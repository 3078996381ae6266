//! Connects to a service's endpoint without a proxy, and classifies failures: caused by the service or by this host.

use super::{Answer, Helper, JudgeError, ListenerJudge, Phase, dead, dial, no_verdict};
use crate::config::{Endpoint, literal_addresses};
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

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
    judge: Option<Rc<dyn ListenerJudge>>,
    /// The address of the last connection. If a name has several, this one is the service's.
    last: Option<SocketAddr>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connector")
            .field("resolver", &self.resolver)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// Connects to `at`, unless `judge` refuses the listener there.
    pub(super) const fn new(
        at: Endpoint,
        resolver: Helper,
        judge: Option<Rc<dyn ListenerJudge>>,
    ) -> Self {
        Self {
            at,
            resolver,
            judge,
            last: None,
        }
    }

    /// Connects. An error is the answer of the attempt: dead or no verdict. Has no deadline of its own, and uses the time until
    /// the attempt's.
    pub(super) async fn connect(&mut self, phase: &Phase) -> Result<Stream, Answer> {
        match &self.at {
            Endpoint::Unix(path) => match dial::unix(path, phase).await? {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(classify(&error, &path.display().to_string())),
            },
            Endpoint::Tcp(host, port) => {
                let addresses = match literal_addresses(host) {
                    Some(ips) => ips.into_iter().map(|ip| (ip, *port).into()).collect(),
                    None => {
                        phase.prepare("address for the host's name");
                        resolve(&mut self.resolver, host, *port).await?
                    }
                };
                self.connect_tcp(addresses, phase).await
            }
        }
    }

    /// Tries the addresses one by one until one accepts, that of the last connection first. If none does, the failure that
    /// says most about the service is the answer.
    async fn connect_tcp(
        &mut self,
        mut addresses: Vec<SocketAddr>,
        phase: &Phase,
    ) -> Result<Stream, Answer> {
        addresses.sort_by_key(|address| Some(*address) != self.last);
        let mut failures = Vec::new();
        for address in &addresses {
            match self.connect_to(*address, phase).await {
                Ok(stream) => {
                    self.last = Some(*address);
                    // A small request must not wait for more bytes. If this option cannot be set, the answer is only slower.
                    let _ = stream.set_nodelay(true);
                    return Ok(Box::new(stream));
                }
                Err(failure) => failures.push(failure),
            }
        }
        let worst = failures.into_iter().min_by_key(|failure| failure.rank);
        Err(match (worst, &addresses[..]) {
            (None, _) => no_verdict("the host's name has no address"),
            (Some(failure), [only]) => self.check_other_family(*only, failure.answer, phase).await,
            (Some(failure), _) => failure.answer,
        })
    }

    /// Connects to one address, unless a foreign process listens there.
    async fn connect_to(&self, address: SocketAddr, phase: &Phase) -> Result<TcpStream, Failure> {
        let ip = address.ip().to_canonical();
        let is_loopback = ip.is_loopback() || ip.is_unspecified();
        if is_loopback {
            self.judge(address, phase).await?;
        }
        phase.wait_for_service("connection");
        let connected = dial::tcp(address, phase).await;
        let stream = connected.map_err(|error| {
            let answer = classify(&error, &address.to_string());
            self.failure(address, answer)
        })?;
        // Only the connection shows whether another address is one of this machine.
        if !is_loopback
            && stream
                .local_addr()
                .is_ok_and(|local| local.ip() == address.ip())
        {
            self.judge(address, phase).await?;
        }
        Ok(stream)
    }

    async fn judge(&self, address: SocketAddr, phase: &Phase) -> Result<(), Failure> {
        let Some(judge) = &self.judge else {
            return Ok(());
        };
        phase.prepare("search for the process that listens");
        judge.judge(address).await.map_err(|error| match error {
            JudgeError::Foreign(why) => Failure {
                rank: Rank::Foreign,
                answer: no_verdict(why),
            },
            JudgeError::NotSeen(why) => Failure {
                rank: Rank::Local,
                answer: no_verdict(why),
            },
        })
    }

    fn failure(&self, address: SocketAddr, answer: Answer) -> Failure {
        let rank = match answer {
            Answer::Dead { .. } if self.last == Some(address) => Rank::OfTheService,
            Answer::Dead { .. } => Rank::Dead,
            _ => Rank::Local,
        };
        Failure { rank, answer }
    }

    /// If a loopback address refuses and that of the other address family accepts, the URL is wrong, and the answer names the
    /// other address.
    async fn check_other_family(
        &self,
        refused: SocketAddr,
        failure: Answer,
        phase: &Phase,
    ) -> Answer {
        let other: SocketAddr = match refused.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => (Ipv6Addr::LOCALHOST, refused.port()).into(),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => (Ipv4Addr::LOCALHOST, refused.port()).into(),
            IpAddr::V4(_) | IpAddr::V6(_) => return failure,
        };
        let Answer::Dead { how } = &failure else {
            return failure;
        };
        phase.set_answer_at_deadline(failure.clone());
        if self.connect_to(other, phase).await.is_err() {
            return failure;
        }
        dead(format!(
            "{how}, but {other} accepts: it listens on the other address family; write localhost in the probe's URL"
        ))
    }
}

/// Why there is no connection to an address.
struct Failure {
    rank: Rank,
    answer: Answer,
}

/// What a failure says about the service if its host name has several addresses, beginning with the one that says most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The service has listened at this address before, and does not any more.
    OfTheService,
    /// A foreign process listens there; perhaps the service is to listen there.
    Foreign,
    /// Dead.
    Dead,
    /// Caused by stayd or this host.
    Local,
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

/// The answer for a connection error: no verdict if it is local, else dead. `address` names the endpoint.
fn classify(error: &io::Error, address: &str) -> Answer {
    if let Some(remedy) = local_error_remedy(error) {
        return no_verdict(format!("cannot connect to {address}: {remedy} ({error})"));
    }
    dead(match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("connection refused by {address}"),
        io::ErrorKind::ConnectionReset => format!("connection reset by {address}"),
        io::ErrorKind::TimedOut => format!("the connection to {address} timed out"),
        io::ErrorKind::NotFound => format!("{address} does not exist"),
        _ => format!("cannot connect to {address}: {error}"),
    })
}

/// What the user can do about `error`, if it is a local error, which does not depend on the service.
pub(crate) fn local_error_remedy(error: &io::Error) -> Option<&'static str> {
    let errno = Errno::from_raw(error.raw_os_error()?);
    LOCAL_ERRORS
        .iter()
        .find_map(|(local, remedy)| (*local == errno).then_some(*remedy))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Errno, classify};
    use std::io;

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
