//! `stayd demo` shows what it promises, in time, and leaves nothing behind.

use crate::stage::stayd;
use crate::wait::{TempDir, free_port, wait_for, wait_until};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use stayd::sys::process::{Handle, stat};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Twenty seconds are promised on a quiet machine; tests share theirs.
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

    fn stage(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("stayd-demo-{}", self.child.id()))
    }

    /// The port of its service, from the first line it prints.
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
fn a_newcomer_sees_it_wedge_and_come_back_in_words() {
    let mut demo = Demo::start();
    let port = demo.port();
    let stage = demo.stage();
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
            .unwrap_or_else(|| panic!("{words:?} does not come in\n{out}"));
        rest = after;
    }
    assert!(!out.contains('\x1b'), "no colour into a pipe");
    assert!(!stage.exists(), "its folder is gone");
    assert!(!listens(port), "its service is gone");
}

#[test]
fn ctrl_c_ends_it_in_order() {
    let mut demo = Demo::start();
    let port = demo.port();
    wait_until("its service listens", WITHIN, || listens(port));
    demo.signal(SIGINT);
    let status = wait_for("the demo ends", WITHIN, || {
        demo.child.try_wait().expect("our child")
    });
    assert_eq!(status.code(), Some(0));
    assert!(!listens(port) && !demo.stage().exists());
}

#[test]
fn its_service_does_not_outlive_a_demo_that_was_killed() {
    let mut demo = Demo::start();
    let port = demo.port();
    wait_until("its service listens", WITHIN, || listens(port));
    demo.child.kill().expect("SIGKILL");
    demo.child.wait().expect("reaped");
    wait_until("its service has gone", WITHIN, || !listens(port));
}

/// The status line of the answer to a GET; none when none comes in time.
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
fn wedged_its_service_is_healthy_silent_and_deaf() {
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
        "it does not hear SIGTERM"
    );
    service.kill().expect("SIGKILL");
    service.wait().expect("reaped");
}
