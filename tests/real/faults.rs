//! When the watchdog must not kill: somebody else holds the service, or stayd itself cannot see.
//!
//! Where nothing may happen, a canary with the same rules is wedged after it: once the canary has been killed, so many
//! rounds have gone by.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{Freezer, free_port, http_get, victim, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::Command;

/// A clinic that is judged fast; `service` and `watchdog` are further lines of its tables.
pub(super) fn clinic(name: &str, port: u16, service: &str, watchdog: &str) -> String {
    format!(
        r#"
[service.{name}]
command = ["{victim}", "clinic", "{port}"]
port = {port}
stop = {{ grace = "200ms" }}
backoff = {{ min = "10ms" }}
{service}
[service.{name}.log]
to = "file"
[service.{name}.watchdog]
probe = "http://127.0.0.1:{port}/query"
interval = "200ms"
timeout = "200ms"
failures = 3
busy_grace = "0s"
{watchdog}
"#,
        victim = victim().display()
    )
}

pub(super) fn pid(service: &Value) -> i32 {
    i32::try_from(service["pid"].as_i64().expect("a pid")).expect("a pid")
}

/// stayd with a subject and its canary, both running.
pub(super) struct Mine {
    pub(super) daemon: Stayd,
    pub(super) subject: i32,
    pub(super) port: u16,
    canary_port: u16,
}

impl Mine {
    fn new(service: &str, change: impl FnOnce(&mut Command)) -> Self {
        let port = free_port();
        Self::of(port, &clinic("s", port, service, ""), change)
    }

    /// The subject is the service `s` of `config`.
    pub(super) fn of(port: u16, config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let canary_port = free_port();
        let config = config.to_owned() + &clinic("canary", canary_port, "", "");
        let daemon = Stayd::start_with(&config, change);
        let subject = pid(&daemon.wait_state("s", "running"));
        daemon.wait_state("canary", "running");
        Self {
            daemon,
            subject,
            port,
            canary_port,
        }
    }

    /// The canary is wedged and killed; the subject has had as many rounds and is the same process.
    pub(super) fn outlives_the_canary(&self) {
        let life = self.daemon.service("canary")["life"]
            .as_u64()
            .expect("a life");
        http_get(self.canary_port, "/wedge").expect("the wedge");
        self.daemon.wait_service("canary", "respawned", |service| {
            service["life"].as_u64() > Some(life) && service["state"] == "running"
        });
        assert!(is_alive(self.subject), "{}", self.daemon.said());
        assert_eq!(pid(&self.daemon.service("s")), self.subject);
    }

    pub(super) fn wait_probe_class(&self, class: &str) {
        self.daemon
            .wait_service("s", class, |service| service["probes"][0]["class"] == class);
    }

    pub(super) fn wait_killed(&self) {
        wait_until("the subject is killed", SOON, || !is_alive(self.subject));
        self.daemon.wait_service("s", "its next life", |service| {
            service["life"] == 2 && service["state"] == "running"
        });
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.subject), signal).expect("a signal");
    }
}

#[test]
fn item_8_a_service_that_is_held_by_a_stop_is_spared_and_goes_on() {
    let mine = Mine::new("stopped_is = \"held\"", |_| {});
    mine.signal(Signal::SIGSTOP);
    mine.wait_probe_class("void");
    mine.outlives_the_canary();
    mine.signal(Signal::SIGCONT);
    mine.wait_probe_class("alive");
    assert_eq!(pid(&mine.daemon.service("s")), mine.subject);
}

#[test]
fn item_8_a_stopped_service_is_wedged_by_default() {
    let mine = Mine::new("", |_| {});
    mine.signal(Signal::SIGSTOP);
    mine.wait_killed();
}

/// Traces `pid` until it is killed.
pub(super) fn strace(pid: i32) -> std::process::Child {
    Command::new("strace")
        .args(["-o", "/dev/null", "-p", &pid.to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("strace")
}

#[test]
fn item_9_a_traced_service_is_spared_until_it_is_released() {
    let mine = Mine::new("", |_| {});
    http_get(mine.port, "/wedge").expect("the wedge");
    let mut tracer = strace(mine.subject);
    mine.wait_probe_class("void");
    mine.outlives_the_canary();
    tracer.kill().expect("released");
    tracer.wait().expect("strace");
    mine.wait_killed();
}

#[test]
fn item_11_a_frozen_service_is_spared_until_it_thaws() {
    let Some(freezer) = Freezer::new("faults") else {
        return; // only who may make cgroups can see this
    };
    let mine = Mine::new("", |_| {});
    freezer.freeze(mine.subject);
    mine.wait_probe_class("void");
    mine.outlives_the_canary();
    freezer.thaw();
    mine.wait_probe_class("alive");
    assert_eq!(pid(&mine.daemon.service("s")), mine.subject);
}

#[test]
fn items_2_and_7_the_lateness_of_stayd_itself_kills_nobody() {
    let mine = Mine::new("", |_| {});
    for _ in 0..3 {
        mine.daemon.signal(libc::SIGSTOP);
        // Rounds that stayd does not see: many times what would condemn.
        let mut stood_still = Command::new("sleep").arg("2").spawn().expect("a clock");
        stood_still.wait().expect("the clock");
        mine.daemon.signal(libc::SIGCONT);
        mine.wait_probe_class("alive");
    }
    assert_eq!(mine.daemon.count("killed"), 0);
    mine.outlives_the_canary();
}

#[test]
fn items_14_and_34_a_silent_service_that_works_is_spared_for_its_grace_and_no_longer() {
    let port = free_port();
    let busy = format!(
        "import http.server,threading\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(self):\n    if self.path=='/spin':\n      while True: pass\n    self.send_response(200);self.end_headers()\n  def log_message(self,*a): pass\nhttp.server.HTTPServer(('127.0.0.1',{port}),H).serve_forever()"
    );
    let config = clinic("s", port, "", "")
        .replace("busy_grace = \"0s\"", "busy_grace = \"3s\"")
        .replace(
            &format!("[\"{}\", \"clinic\", \"{port}\"]", victim().display()),
            &serde_json::to_string(&["python3", "-c", &busy]).expect("JSON is TOML here"),
        );
    let daemon = Stayd::start(&config);
    let before = pid(&daemon.wait_state("s", "running"));
    let asking = std::thread::spawn(move || http_get(port, "/spin"));
    wait_until("spared", SOON, || daemon.count("spared") > 0);
    assert!(is_alive(before));
    daemon.wait_service("s", "its next life", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert!(!is_alive(before));
    let _ = asking.join();
}

#[test]
fn item_22_when_stayd_has_no_descriptor_left_nothing_is_concluded() {
    let mine = Mine::new("", |_| {});
    let limit = |soft: &str| {
        let set = Command::new("prlimit")
            .args(["--pid", &mine.daemon.pid().to_string()])
            .arg(format!("--nofile={soft}:"))
            .status();
        assert!(set.expect("prlimit").success());
    };
    let before =
        std::fs::read_to_string(format!("/proc/{}/limits", mine.daemon.pid())).expect("its limits");
    let usual = before
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(3))
        .expect("its limit")
        .to_owned();
    limit("4");
    http_get(mine.port, "/query").expect("it is healthy meanwhile");
    let clock = std::time::Instant::now();
    wait_until("many rounds have gone by", SOON, || {
        clock.elapsed() > std::time::Duration::from_secs(3)
    });
    limit(&usual);
    mine.wait_probe_class("alive");
    let events = mine.daemon.events();
    let said = |kind: &str, words: &str| {
        events.iter().any(|event| {
            event["service"] == "s"
                && event["kind"] == kind
                && event["message"]
                    .as_str()
                    .is_some_and(|said| said.contains(words))
        })
    };
    assert!(said("spared", "not judged (no-verdict)"), "{events:#?}");
    assert!(
        said("spared", "descriptor"),
        "the cause is our own: {events:#?}"
    );
    assert!(!said("verdict", "dead"), "{events:#?}");
    assert_eq!(mine.daemon.count("killed"), 0);
    mine.outlives_the_canary();
}

/// Reaches the address of `url` as a client of that proxy would.
fn http_get_from(url: &str) -> std::io::Result<()> {
    let address = url.trim_start_matches("http://");
    std::net::TcpStream::connect(address).map(drop)
}

#[test]
fn item_24_a_proxy_in_the_surroundings_is_not_used() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    proxy
        .set_nonblocking(true)
        .expect("asked, never waited for");
    let url = format!("http://{}", proxy.local_addr().expect("bound"));
    let mine = Mine::new("", |command| {
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, &url);
        }
    });
    mine.wait_probe_class("alive");
    mine.outlives_the_canary();
    let called = proxy.accept().expect_err("nobody has called the proxy");
    assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock);
    http_get_from(&url).expect("it would have been reached");
    assert!(proxy.accept().is_ok());
}

#[test]
fn item_30_an_answer_from_another_process_is_no_verdict() {
    let port = free_port();
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let config = clinic("s", port, "", "")
        .replacen(&format!("port = {port}\n"), "", 1)
        .replace(&format!("\"clinic\", \"{port}\""), "\"sleep\"");
    let config = config.replace("backoff", "startup = { within = \"500ms\" }\nbackoff");
    let daemon = Stayd::start(&config);
    let found = daemon.wait_service("s", "judged", |service| {
        service["probes"][0]["class"] == "no-verdict" && service["state"] == "unproven"
    });
    let us = format!("port {port} is answered by pid {}", std::process::id());
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains(&us), "status names it: {reason}");
    let why = daemon.client(&["why", "s"]);
    assert!(why.out.contains(&us), "and so does why: {why:?}");
    assert_eq!(daemon.service("s")["pid"], found["pid"]);
    assert_eq!(daemon.count("killed"), 0);
    drop(stranger);
}
