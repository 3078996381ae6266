//! Connecting: literal addresses for loopback, no proxy, and whose fault a failure is.

use super::{Answer, Helper, Stage, dead, no_verdict};
use crate::config::Endpoint;
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Failures that are ours or the machine's, not the service's, and what to do about each.
const OUR_OWN_TROUBLE: [(Errno, &str); 12] = [
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
        "the kernel has no room for it now; it is asked again next round",
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
        "this machine does not speak that address family; use the other one",
    ),
];

/// Bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// A connection of either kind.
pub(super) type Stream = Box<dyn Wire>;

/// Connects to one endpoint, again and again.
pub(super) struct Dialer {
    at: Endpoint,
    /// Resolves names that are not loopback; resolving can hang, and must not do so in this process.
    resolver: Helper,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Dialer")
            .field("resolver", &self.resolver)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    pub(super) const fn new(at: Endpoint, resolver: Helper) -> Self {
        Self { at, resolver }
    }

    /// Connects, or says whose fault it is that it could not. Has no deadline of its own.
    pub(super) async fn dial(&mut self, stage: &Stage) -> Result<Stream, Answer> {
        match &self.at {
            Endpoint::Unix(path) => dial_unix(path).await,
            Endpoint::Tcp(host, port) => {
                let addresses = match loopback_or_literal(host, *port) {
                    Some(addresses) => addresses,
                    None => {
                        stage.prepares("address for the host's name");
                        resolve(&mut self.resolver, host, *port).await?
                    }
                };
                stage.waits_for("connection");
                dial_tcp(&addresses).await
            }
        }
    }
}

/// The addresses of a literal or of `localhost`, which is never looked up; none for any other name.
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

/// Tries each address in turn; the first that accepts wins, else the first that was refused speaks.
async fn dial_tcp(addresses: &[SocketAddr]) -> Result<Stream, Answer> {
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A small question must not wait for more bytes to join it; failing to say so only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(Box::new(stream));
            }
            Err(error) => {
                let answer = blame(&error, &address.to_string());
                let speaks = matches!(
                    (&failure, &answer),
                    (None, _) | (Some(Answer::NoVerdict { .. }), Answer::Dead { .. })
                );
                if speaks {
                    failure = Some(answer);
                }
            }
        }
    }
    let failure = failure.unwrap_or_else(|| no_verdict("the host's name has no address"));
    Err(match addresses {
        [only] => name_other_family(*only, failure).await,
        _ => failure,
    })
}

/// When a loopback address refuses while the other family's accepts, the URL is wrong, not the service.
async fn name_other_family(refused: SocketAddr, failure: Answer) -> Answer {
    let sibling: SocketAddr = match refused.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => (Ipv6Addr::LOCALHOST, refused.port()).into(),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => (Ipv4Addr::LOCALHOST, refused.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => return failure,
    };
    match (failure, TcpStream::connect(sibling).await) {
        (Answer::Dead { how }, Ok(_)) => dead(format!(
            "{how}, but {sibling} accepts: it listens on the other address family; write localhost in the probe's URL"
        )),
        (failure, _) => failure,
    }
}

async fn dial_unix(path: &Path) -> Result<Stream, Answer> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Box::new(stream)),
        // Here EAGAIN is the listener's full backlog (connect(2)): nobody accepts.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(dead(format!(
            "{} accepts no connection: its backlog is full",
            path.display()
        ))),
        Err(error) => Err(blame(&error, &path.display().to_string())),
    }
}

/// Tells our own troubles from the service's: no verdict, or dead.
pub(super) fn blame(error: &io::Error, whom: &str) -> Answer {
    if let Some(remedy) = our_own_trouble(error) {
        return no_verdict(format!("cannot connect to {whom}: {remedy} ({error})"));
    }
    dead(if error.kind() == io::ErrorKind::ConnectionRefused {
        format!("{whom} refuses the connection")
    } else if error.kind() == io::ErrorKind::NotFound {
        format!("{whom} does not exist")
    } else {
        format!("{whom}: {error}")
    })
}

/// The remedy for an error that says nothing about the service, if it is one.
pub(super) fn our_own_trouble(error: &io::Error) -> Option<&'static str> {
    let errno = Errno::from_raw(error.raw_os_error()?);
    OUR_OWN_TROUBLE
        .iter()
        .find_map(|(ours, remedy)| (*ours == errno).then_some(*remedy))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Errno, blame, loopback_or_literal};
    use std::io;

    #[test]
    fn item_25_localhost_is_both_literals_and_never_looked_up() {
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
    fn items_22_23_27_our_own_troubles_are_no_verdict() {
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
            let answer = blame(&io::Error::from(errno), "127.0.0.1:1");
            assert!(
                matches!(answer, Answer::NoVerdict { .. }),
                "{errno}: {answer:?}"
            );
        }
        for errno in [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::ETIMEDOUT] {
            let answer = blame(&io::Error::from(errno), "127.0.0.1:1");
            assert!(matches!(answer, Answer::Dead { .. }), "{errno}: {answer:?}");
        }
    }
}
