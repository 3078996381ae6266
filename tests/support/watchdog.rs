//! A service under a fast watchdog, and a second one beside it that shows how much time has passed.

use super::daemon::{Stayd, is_alive};
use super::service::pid;
use super::{SOON, free_port, http_get, test_service, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;

/// A service that answers on `port` until `GET /wedge`; three silent probes, 200 ms apart, make it dead. `service` and
/// `watchdog` are more lines of its tables.
pub(crate) fn watched_service(name: &str, port: u16, service: &str, watchdog: &str) -> String {
    format!(
        r#"
[service.{name}]
command = ["{program}", "serve-query", "{port}"]
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
        program = test_service().display()
    )
}

/// The service `canary` under the rules of [`watched_service`], for a test of the network: its probe is a command. See
/// [`assert_outlives_exec_canary`].
pub(crate) const EXEC_CANARY: &str = r#"
[service.canary]
command = ["sleep", "1000"]
backoff = { min = "10ms" }
[service.canary.watchdog]
probe = "exec:test ! -e DIR/canary-is-dead"
interval = "200ms"
timeout = "200ms"
failures = 3
busy_grace = "0s"
"#;

/// Lets the canary fail until it is killed; fails unless the service `s` is the process `subject` all the time. It has had as
/// many probe attempts meanwhile.
#[track_caller]
pub(crate) fn assert_outlives_exec_canary(daemon: &Stayd, subject: i32) {
    let canary = pid(&daemon.wait_state("canary", "running"));
    let dead = daemon.dir().join("canary-is-dead");
    std::fs::write(&dead, "").expect("a file");
    wait_until("the canary is killed", SOON, || !is_alive(canary));
    std::fs::remove_file(&dead).expect("removed");
    assert!(is_alive(subject), "{}", daemon.output());
    assert_eq!(pid(&daemon.service("s")), subject);
}

/// stayd with the watched service `s`, the subject, and a canary with the same rules.
///
/// A test in which nothing may happen to the subject wedges the canary afterwards: once the canary has been killed, the
/// subject has had as many probe attempts.
pub(crate) struct WithCanary {
    pub(crate) daemon: Stayd,
    /// The subject's pid.
    pub(crate) subject: i32,
    /// The subject's port.
    pub(crate) port: u16,
    canary_port: u16,
}

impl WithCanary {
    /// The subject is a watched service with `service` as more lines of its table.
    pub(crate) fn new(service: &str, change: impl FnOnce(&mut Command)) -> Self {
        let port = free_port();
        Self::of(port, &watched_service("s", port, service, ""), change)
    }

    /// The subject is the service `s` of `config`.
    pub(crate) fn of(port: u16, config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let canary_port = free_port();
        let config = config.to_owned() + &watched_service("canary", canary_port, "", "");
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

    /// Wedges the canary and waits until it is killed and started again; fails unless the subject is the same process.
    #[track_caller]
    pub(crate) fn assert_outlives_canary(&self) {
        let life = self.daemon.service("canary")["life"]
            .as_u64()
            .expect("a life");
        http_get(self.canary_port, "/wedge").expect("the wedge");
        self.daemon.wait_service("canary", "restarted", |service| {
            service["life"].as_u64() > Some(life) && service["state"] == "running"
        });
        assert!(is_alive(self.subject), "{}", self.daemon.output());
        assert_eq!(pid(&self.daemon.service("s")), self.subject);
    }

    /// Waits until the subject's last probe attempt is of this class.
    #[track_caller]
    pub(crate) fn wait_probe_class(&self, class: &str) {
        self.daemon
            .wait_service("s", class, |service| service["probes"][0]["class"] == class);
    }

    /// Waits until the subject is killed and started again.
    #[track_caller]
    pub(crate) fn wait_killed(&self) {
        wait_until("the subject is killed", SOON, || !is_alive(self.subject));
        self.daemon
            .wait_service("s", "its next instance", |service| {
                service["life"] == 2 && service["state"] == "running"
            });
    }

    /// Sends the subject a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.subject), signal).expect("a signal");
    }
}

/// Replaces the program of a [`watched_service`] by a Python HTTP server. Its `handler` lines can use `self.path`, and run before
/// each answer.
pub(crate) fn with_python_handler(port: u16, handler: &str, config: &str) -> String {
    let program = format!(
        "import os,time\nfrom http.server import *\nclass H(BaseHTTPRequestHandler):\n  def do_GET(self):\n{handler}\n    self.send_response(200);self.end_headers()\n  def log_message(self,*a): pass\nHTTPServer(('127.0.0.1',{port}),H).serve_forever()"
    );
    let own = format!(
        "[\"{}\", \"serve-query\", \"{port}\"]",
        test_service().display()
    );
    let argv = serde_json::to_string(&["python3", "-c", &program]).expect("JSON is TOML here");
    config.replace(&own, &argv)
}
