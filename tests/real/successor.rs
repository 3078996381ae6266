//! Which process stayd supervises after the main process of a service has exited: a descendant that listens where the service
//! is asked succeeds it at any age, and one that was merely left behind does not.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, python_service};
use super::support::{free_port, wait_until};
use serde_json::Value;
use std::fs;
use std::time::Instant;

/// A server that accepts connections. When the file `go` is there, it forks a child that does ACTION, writes its pid and does
/// THEN. The server then exits with status 0.
///
/// LISTEN defines `listen()`, which makes a listening socket. `first` is the first one, `l` the last one.
const SERVER: &str = r#"
LISTEN
def serve(l):
  l.settimeout(0.02)
  while True:
    try:
      c=l.accept()[0]
      c.send(b'x')
      c.close()
    except OSError: pass
    if os.path.exists('DIR/go'): return
first=l=listen()
BEFORE
serve(l)
ready,done=os.pipe()
if os.fork()==0:
  os.close(ready)
  os.remove('DIR/go')
  ACTION
  open('DIR/child','w').write(str(os.getpid()))
  os.close(done)
  THEN
os.close(done)
os.read(ready,1)
os._exit(0)
"#;

/// A new socket at a path that an earlier one may have.
const AT_PATH: &str = "def listen():
  if os.path.exists('DIR/s.sock'): os.remove('DIR/s.sock')
  l=socket.socket(socket.AF_UNIX)
  l.bind('DIR/s.sock')
  l.listen(9)
  return l";

/// What the child of the server does.
#[derive(Clone, Copy)]
enum Child {
    /// It listens on a socket of its own, and serves.
    Listens,
    /// It goes on with the socket of its parent.
    Inherits,
    /// It listens on nothing, and sleeps.
    Sleeps,
    /// It has an earlier socket of the same path open, and sleeps.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "macOS cannot distinguish the two sockets")
    )]
    HasEarlierSocket,
}

/// The service `s`, which listens as `listen` says and has these settings.
fn config(listen: &str, child: Child, settings: &str) -> String {
    let (before, action, then) = match child {
        Child::Listens => ("", "l.close();l=listen()", "serve(l)"),
        Child::Inherits => ("", "pass", "serve(l)"),
        Child::Sleeps => ("", "l.close()", "time.sleep(1000)"),
        Child::HasEarlierSocket => ("l=listen()", "l.close()", "time.sleep(1000)"),
    };
    let script = SERVER
        .replace("LISTEN", listen)
        .replace("BEFORE", before)
        .replace("ACTION", action)
        .replace("THEN", then);
    // A launcher exits during the startup budget. What a server leaves behind is no successor even then, and what serves in
    // its place is one at any age.
    let startup = match child {
        Child::Listens | Child::Inherits => "startup = { within = \"100ms\" }\n",
        Child::Sleeps | Child::HasEarlierSocket => "",
    };
    python_service(&script, &format!("{startup}{settings}"))
}

fn asked_at(probe: &str) -> String {
    let probe = serde_json::to_string(probe).expect("JSON is TOML here");
    format!(
        "[service.s.watchdog]\nprobe = {probe}\ninterval = \"1s\"\ntimeout = \"1s\"\nfailures = 10\n"
    )
}

/// Lets the server fork its child and exit when the short startup budget is over. Returns its pid and that of the child.
fn replace(daemon: &Stayd) -> (i32, i32) {
    let first = pid(&daemon.wait_state("s", "running"));
    let running = Instant::now();
    wait_until("the startup budget is over", SOON, || {
        running.elapsed().as_millis() > 300
    });
    fs::write(daemon.dir().join("go"), "").expect("a file");
    let mut child = None;
    wait_until("the child has written its pid", SOON, || {
        let text = fs::read_to_string(daemon.dir().join("child"));
        child = text.ok().and_then(|text| text.parse().ok());
        child.is_some()
    });
    (first, child.expect("a pid"))
}

/// Expects that the child goes on in the same life and answers.
#[track_caller]
fn assert_succeeds(daemon: &Stayd, how: &str) {
    let (_, child) = replace(daemon);
    let found = daemon.wait_service("s", "has its successor", |service| {
        service["pid"].as_i64() == Some(child.into())
    });
    let reason = found["reason"].as_str().expect("a reason");
    let expected = [
        "replaced its main process",
        &format!("pid {child}, which {how}"),
    ];
    for words in expected {
        assert!(reason.contains(words), "{reason}");
    }
    let answered = |service: &Value| service["probes"][0]["last_ok_at"].clone();
    let before = answered(&found);
    let after = daemon.wait_service("s", "answered again", |service| answered(service) != before);
    assert_eq!(
        (&after["life"], &after["state"]),
        (&1.into(), &"running".into())
    );
    assert_eq!(pid(&after), child);
    assert_eq!(daemon.count("started"), 1, "{}", daemon.output());
}

/// Expects that the instance ends with the child, and that the next one starts.
#[track_caller]
fn assert_is_exit(daemon: &Stayd) {
    let (first, child) = replace(daemon);
    let next = daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert!(!is_alive(child), "{child} is left");
    assert!(![first, child].contains(&pid(&next)), "{next}");
    assert_eq!(daemon.count("daemonized"), 0, "{}", daemon.output());
}

#[test]
fn a_server_on_a_unix_socket_that_replaces_its_process_goes_on_in_the_same_life() {
    let asked = asked_at("unix:DIR/s.sock");
    for child in [Child::Listens, Child::Inherits] {
        let daemon = Stayd::start(&config(AT_PATH, child, &asked));
        assert_succeeds(&daemon, "listens at its address");
    }
}

#[test]
fn a_process_that_a_server_on_a_unix_socket_leaves_behind_does_not_replace_it() {
    let asked = asked_at("unix:DIR/s.sock");
    let daemon = Stayd::start(&config(AT_PATH, Child::Sleeps, &asked));
    assert_is_exit(&daemon);
}

#[test]
#[cfg(target_os = "linux")]
fn an_earlier_socket_of_the_same_path_makes_no_successor() {
    let asked = asked_at("unix:DIR/s.sock");
    let daemon = Stayd::start(&config(AT_PATH, Child::HasEarlierSocket, &asked));
    assert_is_exit(&daemon);
}

#[test]
fn the_address_of_a_tcp_probe_shows_the_successor_without_a_port() {
    let port = free_port();
    let listen = format!(
        "def listen():
  l=socket.socket()
  l.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1)
  l.bind(('127.0.0.1',{port}))
  l.listen(9)
  return l"
    );
    let asked = asked_at(&format!("tcp://127.0.0.1:{port}"));
    assert_succeeds(
        &Stayd::start(&config(&listen, Child::Listens, &asked)),
        "listens at its address",
    );
    assert_is_exit(&Stayd::start(&config(&listen, Child::Sleeps, &asked)));
}

#[test]
fn a_process_that_serves_on_a_held_unix_socket_succeeds_and_one_that_has_closed_it_does_not() {
    let listen = "def listen(): return socket.socket(fileno=3)";
    let ask = "exec:python3 -c \"import socket;s=socket.socket(1);s.connect('DIR/s.sock');assert s.recv(1)\"";
    let asked = format!("sockets = [\"DIR/s.sock\"]\n{}", asked_at(ask));
    assert_succeeds(
        &Stayd::start(&config(listen, Child::Inherits, &asked)),
        "has its socket",
    );
    assert_is_exit(&Stayd::start(&config(listen, Child::Sleeps, &asked)));
}
