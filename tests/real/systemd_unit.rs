//! For other tests: the unit that stayd renders, installed in a container with a real systemd.

use crate::support::{SystemdContainer, free_port, http_get, wait_until};
use std::fs;
use std::time::Duration;

/// How long the service takes until it answers.
pub(super) const SLOW_START: Duration = Duration::from_secs(2);
/// A generous deadline, because several containers with a systemd share a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// An HTTP server in Python that starts slowly and has a descendant in a session of its own.
pub(super) const SERVICE: &str = r#"
import http.server, subprocess, sys, time
subprocess.Popen(["sleep", "100000"], start_new_session=True)
time.sleep(float(sys.argv[2]))
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"here\n")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Quiet).serve_forever()
"#;

/// A systemd in a container, in which `stayd.service`, rendered by stayd itself, is written and not yet started.
pub(super) struct Installed {
    pub(super) systemd: SystemdContainer,
    pub(super) port: u16,
}

impl Installed {
    /// Installs it with the drop-in `extra`.
    pub(super) fn new(extra: &str) -> Self {
        let systemd = SystemdContainer::boot();
        let port = free_port();
        let folder = systemd.path("/etc/stayd");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("service.py"), SERVICE).unwrap();
        fs::write(folder.join("stayd.toml"), config(port)).unwrap();
        let unit = systemd.done(&[stayd(), "render", "systemd", "-c", "/etc/stayd/stayd.toml"]);
        let drop_in = systemd.path("/etc/systemd/system/stayd.service.d");
        fs::create_dir_all(&drop_in).unwrap();
        fs::write(drop_in.join("test.conf"), extra).unwrap();
        systemd.add_unit("stayd.service", &(unit + "\n"));
        Self { systemd, port }
    }

    pub(super) fn main_pid(&self) -> String {
        self.systemd.property("stayd.service", "MainPID")
    }

    pub(super) fn state(&self) -> String {
        self.systemd.property("stayd.service", "ActiveState")
    }

    pub(super) fn answers(&self) -> bool {
        http_get(self.port, "/").is_ok_and(|answer| answer.contains("here"))
    }

    /// Waits until stayd has sent watchdog pings for this long: time has to pass, and systemd's own clock of the last
    /// ping says that it has passed with pings.
    pub(super) fn wait_for_pings(&self, during: Duration) {
        let last_ping = || {
            let micros = self
                .systemd
                .property("stayd.service", "WatchdogTimestampMonotonic");
            Duration::from_micros(micros.parse().unwrap())
        };
        let first = last_ping();
        wait_until("stayd has sent watchdog pings", SOON, || {
            last_ping() >= first + during
        });
    }

    /// The version 2 cgroup of one of the container's processes.
    pub(super) fn cgroup_of(&self, pid: &str) -> String {
        let groups = self.systemd.done(&["cat", &format!("/proc/{pid}/cgroup")]);
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
        group.unwrap().to_owned()
    }

    /// The journal of the unit, also for the message of a failed test.
    pub(super) fn journal(&self) -> String {
        self.systemd.done(&[
            "journalctl",
            "-u",
            "stayd.service",
            "--no-pager",
            "-o",
            "cat",
        ])
    }
}

pub(super) fn stayd() -> &'static str {
    env!("CARGO_BIN_EXE_stayd")
}

pub(super) fn config(port: u16) -> String {
    format!(
        "name = \"boxed\"\n[service.web]\ncommand = [\"python3\", \"/etc/stayd/service.py\", \"{port}\", \"{}\"]\n\
         port = {port}\n[service.web.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\n",
        SLOW_START.as_secs()
    )
}
