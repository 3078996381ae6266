//! The `http://`, `tcp://` and `unix:` probes ask real sockets; failures of stayd's own side give no verdict.

use crate::support::probing::{
    LONG, SHORT, assert_dead, assert_degraded, assert_no_verdict, context, http, probe, prober,
    with_spawner,
};
use crate::support::{TempDir, alone, free_port, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use stayd::act::probe::Prober;
use stayd::act::spawn::spawner::Spawner;
use stayd::config::{Endpoint, Expect, Probe, Target};
use stayd::decide::event::Answer;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::task::Poll;
use std::thread;

fn v4(port: u16) -> Endpoint {
    Endpoint::Tcp("127.0.0.1".into(), port)
}

/// Starts a listener and returns its port. It gives every request the same answer and then closes the connection; with
/// None it accepts connections and never answers.
fn server(answer: Option<&'static [u8]>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming().flatten() {
            match answer {
                Some(answer) => reply(stream, answer),
                None => silent.push(stream),
            }
        }
    });
    port
}

fn reply(mut stream: TcpStream, answer: &[u8]) {
    read_request(&mut stream);
    // The prober may have closed the connection already.
    let _ = stream.write_all(answer);
}

/// Reads to the end of the request's head, because the probe counts an answer before the request as not HTTP.
fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        request.extend_from_slice(&byte);
    }
}

async fn ask(probe: &Probe) -> Answer {
    prober(probe).ask(LONG).await
}

#[tokio::test(flavor = "current_thread")]
async fn http_statuses_are_alive_or_degraded() {
    let ok = server(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    assert_eq!(ask(&http(v4(ok), "/")).await, Answer::Alive);
    let busy = server(Some(
        b"HTTP/1.1 503 Service Unavailable\r\n\r\nloading\nmore",
    ));
    let answer = ask(&http(v4(busy), "/")).await;
    assert_eq!(
        answer,
        Answer::Degraded {
            said: "HTTP 503 Service Unavailable: loading".into(),
            starting: true
        }
    );
    let failing = server(Some(
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
    ));
    assert_degraded(&ask(&http(v4(failing), "/")).await, &["HTTP 500"]);
    let expected = Probe {
        expect: Expect(vec![(200, 299), (500, 500)]),
        ..http(v4(failing), "/")
    };
    assert_eq!(ask(&expected).await, Answer::Alive);
}

#[tokio::test(flavor = "current_thread")]
async fn an_endless_http_response_is_read_up_to_a_bound_and_alive() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            reply_without_end(stream);
        }
    });
    assert_eq!(ask(&http(v4(port), "/")).await, Answer::Alive);
}

fn reply_without_end(mut stream: TcpStream) {
    read_request(&mut stream);
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut written = stream.write_all(head);
    while written.is_ok() {
        written = stream.write_all(b"4\r\nmore\r\n");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_that_is_silent_closes_early_speaks_no_http_or_refuses_is_dead() {
    let silent = server(None);
    let answer = prober(&http(v4(silent), "/")).ask(SHORT).await;
    assert_dead(&answer, &["no HTTP response within 300 ms"]);
    let half = server(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"));
    assert_dead(
        &ask(&http(v4(half), "/")).await,
        &["before the response ended"],
    );
    let garbage = server(Some(b"+PONG\r\n+PONG\r\n+PONG\r\n"));
    assert_dead(&ask(&http(v4(garbage), "/")).await, &["not HTTP"]);
    assert_dead(
        &ask(&http(v4(free_port()), "/")).await,
        &["connection refused by 127.0.0.1:"],
    );
}

/// SSH, SMTP and MySQL greet like this: the server's bytes arrive before the request is sent.
#[tokio::test(flavor = "current_thread")]
async fn a_server_that_speaks_before_it_is_asked_is_dead() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut prober = prober(&http(v4(port), "/"));
    let mut attempt = std::pin::pin!(prober.ask(LONG));
    // The first poll connects. The greeting arrives before the second poll.
    let pending = std::future::poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx).is_pending()));
    assert!(
        pending.await,
        "the connection is not complete after one poll"
    );
    let (mut stream, _) = listener.accept().expect("the prober connects");
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .expect("the greeting is sent");
    assert_dead(
        &attempt.await,
        &["closed the connection", "before it was asked"],
    );
}

#[tokio::test(flavor = "current_thread")]
async fn http_credentials_are_sent_and_not_shown() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let seen = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = vec![0; 4096];
        let count = stream.read(&mut request).expect("a request");
        stream
            .write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\nno user with open sesame")
            .expect("the answer is sent");
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    let target = Target::Http {
        at: v4(port),
        host: "db.example".into(),
        path: "/health?deep=1".into(),
        credentials: Some("Aladdin:open sesame".into()),
    };
    let answer = ask(&probe(target)).await;
    assert_degraded(&answer, &["HTTP 401", "no user with ***"]);
    let request = seen
        .join()
        .expect("the server saw a request")
        .to_ascii_lowercase();
    assert!(
        request.starts_with("get /health?deep=1 http/1.1\r\n"),
        "{request}"
    );
    for header in [
        "host: db.example",
        "authorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq==",
    ] {
        assert!(request.contains(header), "{request}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn tcp_and_unix_probes_are_alive_when_the_connection_is_accepted() {
    let silent = server(None);
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
    let accepted = nix::sys::socket::accept(listener.as_raw_fd()).expect("a connection");
    nix::unistd::close(accepted).expect("closed");
    assert_eq!(prober.ask(LONG).await, Answer::Alive);
}

#[test]
fn a_prober_without_free_descriptors_gives_no_verdict() {
    alone(|| {
        let port = server(None);
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

/// Runs itself again with proxy variables that name a port without a listener.
#[test]
fn the_http_probe_ignores_the_proxies_of_the_environment() {
    const INSIDE: &str = "STAYD_TEST_PROXIED";
    if std::env::var_os(INSIDE).is_none() {
        let nowhere = format!("http://127.0.0.1:{}", free_port());
        let mut command = Command::new(std::env::current_exe().expect("the test program"));
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, &nowhere);
        }
        let output = command
            .env(INSIDE, "1")
            .args([
                "probe_net::the_http_probe_ignores_the_proxies_of_the_environment",
                "--exact",
            ])
            .output()
            .expect("the test runs again");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let port = server(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    with_spawner(async |spawner| {
        let mut prober = Prober::new(&http(v4(port), "/"), context(&spawner));
        assert_eq!(prober.ask(LONG).await, Answer::Alive);
    });
}

#[tokio::test(flavor = "current_thread")]
async fn localhost_means_both_address_families_and_a_refusal_names_a_listener_in_the_other_one() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("an IPv6 loopback");
    let port = listener.local_addr().expect("bound").port();
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
        let ok = server(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
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
