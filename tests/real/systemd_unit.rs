//! The unit that stayd renders, installed in a box with a systemd of its own.

use crate::support::{SystemdContainer, free_port, http_get};
use std::fs;
use std::time::Duration;

/// How long the service takes until it answers.
pub(super) const SLOW_START: Duration = Duration::from_secs(2);
/// An HTTP server that needs its time, and has a descendant in a session of its own.
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

/// A box in which `stayd.service`, rendered by stayd itself, is written and not yet started.
pub(super) struct Installed {
    pub(super) systemd: SystemdContainer,
    pub(super) port: u16,
}

impl Installed {
    /// `extra` is a drop-in.
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

    /// The version 2 cgroup of one of the box's processes.
    pub(super) fn cgroup_of(&self, pid: &str) -> String {
        let groups = self.systemd.done(&["cat", &format!("/proc/{pid}/cgroup")]);
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
        group.unwrap().to_owned()
    }

    /// What the journal has of the unit, for a failure's message.
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
