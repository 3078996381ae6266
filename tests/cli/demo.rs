//! `stayd demo` shows the wedge and the recovery in time, and leaves no process or file behind.

use crate::daemon::stayd;
use crate::wait::{TempDir, free_port, wait_for, wait_until};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use stayd::sys::process::{Handle, stat};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The demo takes less than twenty seconds on an idle machine; tests share theirs.
const WITHIN: Duration = Duration::from_secs(40);

struct Demo {
    child: Child,
    folder: TempDir,
}

impl Demo {
    fn start() -> Self {
        let folder = TempDir::new();
        let child = Command::new(env!("CARGO_BIN_EXE_stayd"))
            .arg("demo")
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("stayd starts");
        Self { child, folder }
    }

    fn demo_folder(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("stayd-demo-{}", self.child.id()))
    }

    /// The port of its service, from the first line that it prints.
    fn port(&mut self) -> u16 {
        let mut line = String::new();
        let out = self.child.stdout.as_mut().expect("piped");
        BufReader::with_capacity(1, out)
            .read_line(&mut line)
            .expect("a line");
        let (_, rest) = line.split_once("127.0.0.1:").expect("an address");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a port")
    }

    fn signal(&self, number: i32) {
        let process = stat(self.child.id().try_into().expect("a pid"))
            .expect("it runs")
            .process;
        Handle::open(process)
            .and_then(|handle| handle.signal(number))
            .expect("a signal");
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn the_demo_prints_the_wedge_and_the_recovery() {
    let mut demo = Demo::start();
    let port = demo.port();
    let folder = demo.demo_folder();
    let status = wait_for("the demo ends", WITHIN, || {
        demo.child.try_wait().expect("our child")
    });
    let (mut out, mut err) = (String::new(), String::new());
    demo.child
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut out)
        .expect("read");
    demo.child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut err)
        .expect("read");
    assert_eq!((status.code(), err.as_str()), (Some(0), ""), "{out}");
    let mut rest = out.as_str();
    for words in [
        "healthy",
        "wedged",
        "GET /health: 200",
        "still listens",
        "GET /query: no answer",
        "killed    no answer to GET /query",
        "evidence",
        "life 2",
        "answering again",
        "stayd --foreground --port",
        "stayd why",
    ] {
        let (_, after) = rest
            .split_once(words)
            .unwrap_or_else(|| panic!("{words:?} is missing in\n{out}"));
        rest = after;
    }
    assert!(!out.contains('\x1b'), "no colors in a pipe");
    assert!(!folder.exists(), "its folder is removed");
    assert!(!listens(port), "its service has ended");
}

#[test]
fn ctrl_c_stops_the_demo_in_order() {
    let mut demo = Demo::start();
    let port = demo.port();
    wait_until("its service listens", WITHIN, || listens(port));
    demo.signal(SIGINT);
    let status = wait_for("the demo ends", WITHIN, || {
        demo.child.try_wait().expect("our child")
    });
    assert_eq!(status.code(), Some(0));
    assert!(!listens(port) && !demo.demo_folder().exists());
}

#[test]
fn the_service_ends_when_the_demo_is_killed() {
    let mut demo = Demo::start();
    let port = demo.port();
    wait_until("its service listens", WITHIN, || listens(port));
    demo.child.kill().expect("SIGKILL");
    demo.child.wait().expect("reaped");
    wait_until("its service has ended", WITHIN, || !listens(port));
}

/// The status line of the answer to a GET; none if no answer comes `within` this time.
fn get(port: u16, path: &str, within: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(within)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}

#[test]
fn a_wedged_demo_service_answers_health_checks_but_neither_queries_nor_sigterm() {
    let (folder, port) = (TempDir::new(), free_port());
    let mut service = stayd(&["__demo-service", "--port", &port.to_string(), "--db"])
        .arg(folder.join("shop.db"))
        .spawn()
        .expect("it starts");
    let ok = Some("HTTP/1.1 200 OK\r\n".to_owned());
    wait_until("it answers", WITHIN, || get(port, "/query", WITHIN) == ok);
    let process = stat(service.id().try_into().expect("a pid"))
        .expect("it runs")
        .process;
    let handle = Handle::open(process).expect("a handle");
    handle.signal(SIGUSR1).expect("SIGUSR1");
    let short = Duration::from_millis(300);
    wait_until("it is wedged", WITHIN, || {
        get(port, "/query", short).is_none()
    });
    handle.signal(SIGTERM).expect("SIGTERM");
    assert_eq!(get(port, "/query", short), None);
    assert_eq!(get(port, "/health", WITHIN), ok);
    assert_eq!(
        service.try_wait().expect("our child"),
        None,
        "it ignores SIGTERM"
    );
    service.kill().expect("SIGKILL");
    service.wait().expect("reaped");
}
