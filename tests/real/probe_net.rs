//! The `tcp://` and `unix:` probes ask real sockets; failures of stayd's own side give no verdict.

use crate::support::byte_server::{answering, silent};
use crate::support::probing::{
    LONG, SHORT, assert_dead, assert_no_verdict, context, http, probe, prober, with_spawner,
};
use crate::support::{TempDir, alone, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use stayd::act::probe::Prober;
use stayd::act::spawn::spawner::Spawner;
use stayd::config::{Endpoint, Probe, Target};
use stayd::decide::event::Answer;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Command;

fn v4(port: u16) -> Endpoint {
    Endpoint::Tcp("127.0.0.1".into(), port)
}

async fn ask(probe: &Probe) -> Answer {
    prober(probe).ask(LONG).await
}

#[tokio::test(flavor = "current_thread")]
async fn tcp_and_unix_probes_are_alive_when_the_connection_is_accepted() {
    let silent = silent();
    assert_eq!(
        ask(&probe(Target::Connect(v4(silent)))).await,
        Answer::Alive
    );
    let dir = TempDir::new();
    let path = dir.join("s");
    let at = || probe(Target::Connect(Endpoint::Unix(path.clone())));
    assert_dead(&ask(&at()).await, &["does not exist"]);
    let listener = UnixListener::bind(&path).expect("a socket");
    assert_eq!(ask(&at()).await, Answer::Alive);
    // Closing it would not be enough: a child that another test is just starting may hold a copy.
    let both = nix::sys::socket::Shutdown::Both;
    nix::sys::socket::shutdown(listener.as_raw_fd(), both).expect("shut down");
    assert_dead(&ask(&at()).await, &["connection refused by "]);
}

/// On a Unix socket connect(2) reports a full backlog as EAGAIN; on TCP the same error is a failure of stayd's own side.
#[tokio::test(flavor = "current_thread")]
async fn a_full_backlog_is_dead_and_the_next_attempt_is_alive() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
    };

    let dir = TempDir::new();
    let path = dir.join("s");
    let listener = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )
    .expect("a socket");
    let own = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(&listener, own).expect("close-on-exec is set");
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).expect("a path")).expect("bound");
    listen(&listener, Backlog::new(0).expect("a backlog")).expect("the socket listens");
    let mut prober = prober(&probe(Target::Connect(Endpoint::Unix(path))));
    assert_eq!(prober.ask(LONG).await, Answer::Alive);
    assert_dead(&prober.ask(SHORT).await, &["backlog is full"]);
    // The server accepts without end: also the connection of the attempt before, if that got a place in the backlog.
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true).expect("a flag");
    let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
    let accepts = async { while listener.accept().await.is_ok() {} };
    tokio::select! {
        answer = prober.ask(LONG) => assert_eq!(answer, Answer::Alive),
        () = accepts => panic!("the listener has failed"),
    }
}

#[test]
fn a_prober_without_free_descriptors_gives_no_verdict() {
    alone(|| {
        let port = silent();
        with_spawner(async |spawner| {
            let mut connect = Prober::new(&probe(Target::Connect(v4(port))), context(&spawner));
            assert_eq!(connect.ask(LONG).await, Answer::Alive);
            let mut command =
                Prober::new(&probe(Target::Exec(vec!["true".into()])), context(&spawner));
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
            setrlimit(Resource::RLIMIT_NOFILE, 3, hard).expect("lowered");
            let refused = connect.ask(LONG).await;
            let unstarted = command.ask(LONG).await;
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
            assert_no_verdict(&refused, &["no file descriptor left", "open-files limit"]);
            assert_no_verdict(&unstarted, &["cannot make a pipe"]);
            assert_eq!(connect.ask(LONG).await, Answer::Alive);
        });
    });
}

/// Runs itself again in a network namespace with two local ports, and uses both.
#[test]
fn a_prober_without_free_local_ports_gives_no_verdict() {
    const INSIDE: &str = "STAYD_TEST_IN_NETWORK";
    if std::env::var_os(INSIDE).is_none() {
        let exe = std::env::current_exe().expect("the test program");
        let script = "ip link set lo up && echo '40000 40001' > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
        let output = Command::new("unshare")
            .args(["--map-root-user", "--net", "sh", "-c", script, "sh"])
            .arg(exe)
            .args([
                "probe_net::a_prober_without_free_local_ports_gives_no_verdict",
                "--exact",
                "--nocapture",
            ])
            .env(INSIDE, "1")
            .output()
            .expect("unshare");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 50_000)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let taken: Vec<_> = std::iter::from_fn(|| TcpStream::connect(address).ok()).collect();
    assert!(!taken.is_empty());
    with_spawner(async |spawner| {
        let mut connect = Prober::new(&probe(Target::Connect(v4(50_000))), context(&spawner));
        let answer = connect.ask(LONG).await;
        assert_no_verdict(
            &answer,
            &["no free local port is left", "ip_local_port_range"],
        );
    });
}

/// Keeps other programs from the port of 127.0.0.1, where connections are refused meanwhile.
fn bind_without_listening(port: u16) -> OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::empty(),
        None,
    );
    let socket = socket.expect("a socket");
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).expect("a free port");
    socket
}

#[tokio::test(flavor = "current_thread")]
async fn localhost_means_both_address_families_and_a_refusal_names_a_listener_in_the_other_one() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("an IPv6 loopback");
    let port = listener.local_addr().expect("bound").port();
    let _refusing = bind_without_listening(port);
    let by_name = probe(Target::Connect(Endpoint::Tcp("localhost".into(), port)));
    assert_eq!(ask(&by_name).await, Answer::Alive);
    let by_number = probe(Target::Connect(v4(port)));
    let bound = SocketAddr::from((Ipv6Addr::LOCALHOST, port)).to_string();
    assert_dead(
        &ask(&by_number).await,
        &[
            "connection refused",
            &bound,
            "other address family",
            "localhost",
        ],
    );
    drop(listener);
    assert_dead(&ask(&by_name).await, &["connection refused by 127.0.0.1"]);
}

#[test]
fn a_name_that_cannot_be_resolved_gives_no_verdict() {
    alone(|| {
        with_spawner(async |spawner| {
            let target = Target::Connect(Endpoint::Tcp("no-such-host.invalid".into(), 1));
            let mut unknown = Prober::new(&probe(target), context(&spawner));
            let answer = unknown.ask(LONG).await;
            assert_no_verdict(&answer, &["no-such-host.invalid"]);
        });
    });
}

#[test]
fn two_hundred_attempts_leave_no_descriptor_open() {
    alone(|| {
        let ok = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        // It never accepts, so the server's ends of the connections are no descriptors of this process.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let silent = listener.local_addr().expect("bound").port();
        with_spawner(async |spawner: Spawner| {
            let mut probers = [
                Prober::new(&http(v4(ok), "/"), context(&spawner)),
                Prober::new(&probe(Target::Connect(v4(ok))), context(&spawner)),
                Prober::new(&probe(Target::Exec(vec!["true".into()])), context(&spawner)),
            ];
            let mut hanging = Prober::new(&http(v4(silent), "/"), context(&spawner));
            let mut before = None;
            for attempt in 0..200 {
                for prober in &mut probers {
                    assert_eq!(prober.ask(LONG).await, Answer::Alive);
                }
                let brief = std::time::Duration::from_millis(1);
                assert_dead(&hanging.ask(brief).await, &[]);
                if attempt == 5 {
                    before = Some(open_files());
                }
            }
            let before = before.expect("counted");
            wait_until("no more descriptors than before", LONG, || {
                open_files() <= before
            });
        });
    });
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
