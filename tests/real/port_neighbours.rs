//! A foreign process listens on the port of a service too: at another address, or at the same one with SO_REUSEPORT. stayd
//! judges the socket that its probe reaches.

use super::support::daemon::{SOON, Stayd, binary, is_alive};
use super::support::service::pid;
use super::support::watchdog::{EXEC_CANARY, assert_outlives_exec_canary, watched_service};
use super::support::{alone_in_network, require_root, wait_until};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::process::Command;

/// An HTTP server. With the file `DIR/wedged` it does not answer; with `DIR/closed` it closes its listening socket and lives on.
const SERVER: &str = r"
import os,socket,threading,time
def serve(address):
  listener=socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
  listener.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)
  if IS_SHARED: listener.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1)
  listener.bind((address,NUMBER))
  listener.listen(64)
  def close():
    while not os.path.exists('DIR/closed'): time.sleep(0.02)
    listener.shutdown(socket.SHUT_RDWR)
  threading.Thread(target=close).start()
  silent=[]
  while True:
    try: client=listener.accept()[0]
    except OSError: break
    if os.path.exists('DIR/wedged'):
      silent.append(client)
      continue
    try:
      client.recv(4096)
      client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    except OSError: pass
    client.close()
  listener.close()
  time.sleep(1000)
";

/// The service `s`: [`SERVER`] with `begin` as its last lines, and a fast watchdog with `probe`. `more` is more lines of its
/// table.
fn service(port: u16, begin: &str, probe: &str, more: &str) -> String {
    let server = SERVER.replace("NUMBER", &port.to_string());
    let shared = if begin.contains("shared") {
        "True"
    } else {
        "False"
    };
    let program = server.replace("IS_SHARED", shared) + begin;
    let argv = serde_json::to_string(&["python3", "-c", &program]).expect("JSON is TOML here");
    format!(
        r#"
[service.s]
command = {argv}
stop = {{ grace = "200ms" }}
backoff = {{ min = "10ms" }}
{more}
[service.s.watchdog]
probe = "{probe}"
interval = "200ms"
timeout = "200ms"
failures = 3
busy_grace = "0s"
"#
    )
}

/// A port that is free at every address.
fn free_port() -> u16 {
    let socket = TcpListener::bind("[::]:0").expect("a port");
    socket.local_addr().expect("bound").port()
}

/// A silent foreign process: this test, which never accepts.
fn foreign_listener(address: &str, port: u16) -> TcpListener {
    let address: IpAddr = address.parse().expect("an address");
    TcpListener::bind((address, port)).expect("the port")
}

/// The same with SO_REUSEPORT.
fn sharing_listener(address: &str, port: u16) -> TcpListener {
    let address = SocketAddr::new(address.parse().expect("an address"), port);
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("shared");
    socket.bind(address).expect("the port is shared");
    // SAFETY: the descriptor is open, and nothing else owns it any more.
    #[expect(unsafe_code, reason = "TcpSocket has no other way out")]
    let socket = unsafe { OwnedFd::from_raw_fd(socket.into_raw_fd()) };
    let backlog = nix::sys::socket::Backlog::new(1000).expect("a backlog");
    nix::sys::socket::listen(&socket, backlog).expect("it listens");
    socket.into()
}

#[track_caller]
fn wait_probe_class(daemon: &Stayd, class: &str) -> Value {
    daemon.wait_service("s", class, |service| service["probes"][0]["class"] == class)
}

/// Waits until the reason of the attempts without a verdict has all of `words`. On a busy machine the search for the process
/// takes longer than the first attempts.
#[track_caller]
fn assert_named(daemon: &Stayd, words: &[&str]) {
    let has_all = |text: &str| words.iter().all(|words| text.contains(words));
    daemon.wait_service("s", "the named process", |service| {
        service["probes"][0]["class"] == "no-verdict"
            && service["reason"].as_str().is_some_and(has_all)
    });
    let why = daemon.client(&["why", "s"]).out;
    assert!(has_all(&why), "not all of {words:?} in {why}");
}

#[track_caller]
fn assert_wedge_is_killed(daemon: &Stayd, subject: i32) {
    std::fs::write(daemon.dir().join("wedged"), "").expect("a file");
    wait_until("the wedged service is killed", SOON, || !is_alive(subject));
}

#[test]
fn a_foreign_process_on_the_other_family_of_localhost_is_not_asked_instead_of_the_service() {
    let port = free_port();
    let foreign = foreign_listener("127.0.0.1", port);
    let probe = format!("http://localhost:{port}/");
    let config = service(port, "serve('::1')", &probe, "");
    let daemon = Stayd::start(&(config + EXEC_CANARY));
    let subject = pid(&daemon.wait_state("s", "running"));
    assert_outlives_exec_canary(&daemon, subject);
    assert_wedge_is_killed(&daemon, subject);
    foreign.set_nonblocking(true).expect("set");
    let asked = foreign
        .accept()
        .expect_err("the foreign process is not asked");
    assert_eq!(asked.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_foreign_process_that_comes_later_to_the_other_family_of_localhost_causes_no_kill() {
    let port = free_port();
    let probe = format!("http://localhost:{port}/");
    let config = service(port, "serve('::1')", &probe, &format!("port = {port}"));
    let daemon = Stayd::start(&(config + EXEC_CANARY));
    let subject = pid(&daemon.wait_state("s", "running"));
    let _foreign = foreign_listener("127.0.0.1", port);
    assert_outlives_exec_canary(&daemon, subject);
    wait_probe_class(&daemon, "alive");
    assert_wedge_is_killed(&daemon, subject);
    std::fs::remove_file(daemon.dir().join("wedged")).expect("removed");
    daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
}

#[test]
fn a_service_that_closes_its_listener_is_killed_although_a_foreign_one_is_left_on_localhost() {
    let port = free_port();
    let _foreign = foreign_listener("127.0.0.1", port);
    let probe = format!("http://localhost:{port}/");
    let daemon = Stayd::start(&service(port, "serve('::1')", &probe, ""));
    let subject = pid(&daemon.wait_state("s", "running"));
    std::fs::write(daemon.dir().join("closed"), "").expect("a file");
    wait_until("it is killed", SOON, || !is_alive(subject));
    let refused = format!("dead: connection refused by [::1]:{port}");
    let log = daemon.output();
    assert!(log.contains(&refused), "{log}");
}

#[test]
fn a_foreign_process_that_shares_the_port_makes_the_attempts_no_verdict_until_it_leaves() {
    let port = free_port();
    let probe = format!("http://127.0.0.1:{port}/");
    let config = service(port, "serve('127.0.0.1') # shared", &probe, "");
    let daemon = Stayd::start(&(config + EXEC_CANARY));
    let subject = pid(&daemon.wait_state("s", "running"));
    let foreign = sharing_listener("127.0.0.1", port);
    let us = format!(
        "port {port} is also answered by pid {} (",
        std::process::id()
    );
    let at = format!(" on 127.0.0.1:{port}, which is not of this service's tree");
    assert_named(&daemon, &[&us, &at, "SO_REUSEPORT"]);
    assert_outlives_exec_canary(&daemon, subject);
    drop(foreign);
    wait_probe_class(&daemon, "alive");
    assert_wedge_is_killed(&daemon, subject);
}

#[test]
fn processes_of_a_service_that_share_its_port_are_all_its_own() {
    let port = free_port();
    let probe = format!("http://127.0.0.1:{port}/");
    let begin = "os.fork();os.fork()\nserve('127.0.0.1') # shared";
    let daemon = Stayd::start(&(service(port, begin, &probe, "") + EXEC_CANARY));
    let subject = pid(&daemon.wait_state("s", "running"));
    assert_outlives_exec_canary(&daemon, subject);
    let events = daemon.events();
    let not_judged = |event: &&Value| event["message"].to_string().contains("not of this");
    assert!(
        !events.iter().any(|event| not_judged(&event)),
        "{events:#?}"
    );
    assert_wedge_is_killed(&daemon, subject);
}

/// The first attempt finds only the foreign listener.
#[test]
fn a_service_that_listens_later_is_judged_by_its_own_socket() {
    let port = free_port();
    let _foreign = foreign_listener("127.0.0.1", port);
    let probe = format!("http://[::1]:{port}/");
    let begin = "time.sleep(1)\nserve('::1')";
    let daemon = Stayd::start(&service(port, begin, &probe, ""));
    let subject = pid(&daemon.wait_state("s", "running"));
    assert_wedge_is_killed(&daemon, subject);
}

#[test]
#[ignore = "needs root"]
fn a_foreign_process_at_another_address_of_this_machine_is_named_too() {
    alone_in_network(|| {
        let added = super::support::tool("ip")
            .args(["addr", "add", "10.1.2.3/32", "dev", "lo"])
            .status();
        assert!(added.expect("ip").success());
        let _foreign = foreign_listener("10.1.2.3", 8080);
        let config = service(8080, "time.sleep(1000)", "http://10.1.2.3:8080/", "");
        let daemon = Stayd::start(&config);
        let us = format!("port 8080 is answered by pid {} (", std::process::id());
        assert_named(&daemon, &[&us, " on 10.1.2.3:8080, which is not of"]);
    });
}

/// bind(2) succeeds beside them.
#[test]
fn foreign_listeners_at_other_addresses_do_not_keep_a_service_from_its_port() {
    let port = free_port();
    let _foreign = [
        foreign_listener("127.0.0.2", port),
        foreign_listener("::1", port),
    ];
    let daemon = Stayd::start(&watched_service("s", port, "", ""));
    daemon.wait_state("s", "running");
    let log = daemon.output();
    for address in ["127.0.0.2", "[::1]"] {
        let named = format!("another process listens on {address}:{port}");
        assert!(log.contains(&named), "{log}");
    }
}

#[test]
fn a_command_is_executed_beside_foreign_listeners_at_other_addresses() {
    let port = free_port();
    let _foreign = [
        foreign_listener("127.0.0.2", port),
        foreign_listener("::1", port),
    ];
    let run = |port: u16| {
        let words = ["exec", "--port", &port.to_string(), "--", "true"];
        let output = Command::new(binary()).args(words).output();
        output.expect("stayd exec").status.code()
    };
    assert_eq!(run(port), Some(0));
    let _conflicting = foreign_listener("127.0.0.1", port);
    assert_eq!(run(port), Some(1));
}

#[test]
fn a_wildcard_listener_keeps_a_service_from_its_port() {
    for address in ["0.0.0.0", "::"] {
        let port = free_port();
        let foreign = foreign_listener(address, port);
        let daemon = Stayd::start(&watched_service("s", port, "", ""));
        let blocked = daemon.wait_state("s", "blocked");
        let reason = blocked["reason"].as_str().expect("a reason");
        assert!(reason.contains("is held by pid"), "{reason}");
        assert_eq!(daemon.count("started"), 0);
        drop(foreign);
        daemon.wait_state("s", "running");
    }
}

#[test]
fn a_process_that_leaves_the_services_address_has_left_although_it_keeps_another_one() {
    let port = free_port();
    let left = foreign_listener("127.0.0.1", port);
    let _kept = foreign_listener("::1", port);
    let config = watched_service("s", port, "stranger = \"attach\"", "");
    let daemon = Stayd::start(&config);
    daemon.wait_service("s", "attached", |service| {
        service["ownership"] == "attached"
    });
    drop(left);
    daemon.wait_service("s", "our own", |service| {
        service["state"] == "running" && service["ownership"] == "spawned"
    });
}

/// The password in the probe's URL must not reach a process of another user.
#[test]
#[ignore = "needs root"]
fn a_listener_of_another_user_that_stayd_may_not_inspect_is_named_and_sent_nothing() {
    require_root();
    let port = free_port();
    let foreign = foreign_listener("127.0.0.1", port);
    let probe = format!("http://user:secret@127.0.0.1:{port}/");
    let daemon = Stayd::start_as_another_user(&service(port, "time.sleep(1000)", &probe, ""));
    let who =
        format!("port {port} is answered by a process of user root (uid 0) on 127.0.0.1:{port}");
    assert_named(&daemon, &[&who, "hidden from stayd", "port_owner"]);
    foreign.set_nonblocking(true).expect("set");
    let asked = foreign
        .accept()
        .expect_err("the foreign process is not asked");
    assert_eq!(asked.kind(), ErrorKind::WouldBlock);
}
