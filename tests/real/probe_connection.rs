//! How a probe connects: it waits for a place in a full backlog, and tells a service that does not accept from lost packets.

use crate::support::probing::{LONG, SHORT, assert_dead, probe, prober};
use crate::support::{SetOnDrop, TempDir};
#[cfg(target_os = "linux")]
use crate::support::{
    alone_in_network,
    daemon::Stayd,
    probing::assert_no_verdict,
    service::pid,
    tool,
    watchdog::{EXEC_CANARY, assert_outlives_exec_canary, watched_service},
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, UnixAddr, accept, bind, listen, shutdown,
    socket,
};
use stayd::config::{Endpoint, Target};
use stayd::decide::event::Answer;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The time that a slow server needs for each client.
const PER_CLIENT: Duration = Duration::from_millis(30);
/// More clients than a server with a backlog of one serves and queues.
const CLIENTS: usize = 6;

fn unix_listener(path: &Path, backlog: i32) -> OwnedFd {
    let kind = SockType::Stream;
    let listener = socket(AddressFamily::Unix, kind, SockFlag::empty(), None).expect("a socket");
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("close-on-exec is set");
    bind(listener.as_raw_fd(), &UnixAddr::new(path).expect("a path")).expect("bound");
    listen(&listener, Backlog::new(backlog).expect("a backlog")).expect("it listens");
    listener
}

fn tcp_listener(backlog: i32) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listen(&listener, Backlog::new(backlog).expect("a backlog")).expect("it listens");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn tcp(address: SocketAddr) -> Target {
    Target::Connect(Endpoint::Tcp(address.ip().to_string(), address.port()))
}

fn unix(path: &Path) -> Target {
    Target::Connect(Endpoint::Unix(path.to_owned()))
}

/// Asks `count` times, one attempt after the other.
fn ask(target: Target, timeout: Duration, count: usize) -> Vec<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut prober = prober(&probe(target));
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(prober.ask(timeout).await);
        }
        answers
    })
}

/// Shuts a listener down when it is dropped, so that accept(2) returns.
struct ShutDown(i32);

impl Drop for ShutDown {
    fn drop(&mut self) {
        let _ = shutdown(self.0, Shutdown::Both);
    }
}

/// Runs `test` while a slow server serves one client after another, and [`CLIENTS`] clients connect again and again.
fn beside_slow_clients<T>(
    listener: OwnedFd,
    connect: impl Fn() + Sync,
    test: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    let end = ShutDown(listener.as_raw_fd());
    thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(accepted) = accept(listener.as_raw_fd()) {
                thread::sleep(PER_CLIENT);
                nix::unistd::close(accepted).expect("closed");
            }
            // Only now do the clients return that wait for a place in the backlog.
            drop(listener);
        });
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    connect();
                }
            });
        }
        let _in_this_order = (SetOnDrop(&over), end);
        test()
    })
}

/// The kernel refuses a nonblocking connection at once with EAGAIN; a client that blocks waits for its turn.
#[test]
fn a_probe_of_a_busy_unix_socket_waits_for_its_turn_like_every_client() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let listener = unix_listener(&path, 1);
    let connect = || drop(UnixStream::connect(&path));
    let answers = beside_slow_clients(listener, connect, || ask(unix(&path), LONG, 20));
    assert_eq!(answers, vec![Answer::Alive; 20]);
}

/// The kernel drops the first packet of a connection while the queue is full, and the client's kernel sends the next one only
/// after a second.
#[test]
fn a_probe_of_a_busy_tcp_port_gets_a_connection_within_a_short_timeout() {
    let (listener, address) = tcp_listener(1);
    let connect = || drop(TcpStream::connect(address));
    let timeout = Duration::from_millis(500);
    let answers = beside_slow_clients(listener.into(), connect, || ask(tcp(address), timeout, 20));
    assert_eq!(answers, vec![Answer::Alive; 20]);
}

#[test]
fn a_backlog_that_stays_full_until_the_deadline_is_dead() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let _listener = unix_listener(&path, 0);
    let answers = ask(unix(&path), SHORT, 2);
    assert_eq!(answers[0], Answer::Alive);
    assert_dead(
        &answers[1],
        &[&format!("{}: its backlog is full", path.display())],
    );
    if cfg!(target_os = "linux") {
        let (_listener, address) = tcp_listener(0);
        let answers = ask(tcp(address), SHORT, 2);
        assert_eq!(answers[0], Answer::Alive);
        assert_dead(&answers[1], &[&format!("{address}: its backlog is full")]);
    }
}

#[cfg(target_os = "linux")]
fn ip(words: &str) {
    let status = tool("ip").args(words.split(' ')).status().expect("ip");
    assert!(status.success(), "ip {words}");
}

#[cfg(target_os = "linux")]
#[test]
fn packets_lost_within_this_machine_are_no_verdict_and_those_to_another_machine_are_dead() {
    alone_in_network(|| {
        let (listener, address) = tcp_listener(5);
        assert_eq!(ask(tcp(address), SHORT, 1), [Answer::Alive]);
        // The route leads to no machine, so that the packets are lost.
        ip("route add 198.51.100.1 dev lo");
        let elsewhere = SocketAddr::from(([198, 51, 100, 1], address.port()));
        assert_dead(&ask(tcp(elsewhere), SHORT, 1)[0], &["connection"]);
        ip("link set lo down");
        let answer = &ask(tcp(address), SHORT, 1)[0];
        let named = format!("cannot connect to {address}, although its backlog has room");
        assert_no_verdict(answer, &[&named, "firewall"]);
        drop(listener);
        assert_dead(&ask(tcp(address), SHORT, 1)[0], &["connection"]);
    });
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn a_service_is_not_killed_while_the_loopback_interface_is_down() {
    alone_in_network(|| {
        let daemon = Stayd::start(&(watched_service("s", 8080, "", "") + EXEC_CANARY));
        let before = pid(&daemon.wait_state("s", "running"));
        ip("link set lo down");
        let shown = daemon.wait_service("s", "not judged", |service| {
            service["probes"][0]["class"] == "no-verdict"
        });
        let reason = shown["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("the packets are lost on the way"),
            "{reason}"
        );
        assert_outlives_exec_canary(&daemon, before);
        ip("link set lo up");
        daemon.wait_service("s", "alive", |service| {
            service["probes"][0]["class"] == "alive"
        });
        assert_eq!(pid(&daemon.service("s")), before);
    });
}

/// The only ports for outgoing connections are the probed one and its neighbour, as by chance on a machine with few free
/// ports.
#[cfg(target_os = "linux")]
#[test]
fn a_connection_to_itself_is_a_refusal_and_leaves_the_port_free() {
    alone_in_network(|| {
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        std::fs::write(range, "40000 40001").expect("set");
        for address in ["127.0.0.1:40000", "[::1]:40000", "127.0.0.1:40001"] {
            let address: SocketAddr = address.parse().expect("an address");
            for answer in ask(tcp(address), LONG, 8) {
                let refused = format!("connection refused by {address}");
                // Nor may the other address family be recommended because of a connection to itself.
                assert_eq!(answer, Answer::Dead { how: refused });
            }
            let by_name = Target::Connect(Endpoint::Tcp("localhost".into(), address.port()));
            for answer in ask(by_name, LONG, 8) {
                assert_dead(&answer, &["connection refused by 127.0.0.1"]);
            }
            // without SO_REUSEADDR, as many a service binds
            let socket = if address.is_ipv4() {
                tokio::net::TcpSocket::new_v4()
            } else {
                tokio::net::TcpSocket::new_v6()
            };
            let bound = socket.expect("a socket").bind(address);
            bound.expect("the port is free for the service");
        }
    });
}
