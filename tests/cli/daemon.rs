//! Runs the program, and daemons with their own state folders.

use crate::wait::{TempDir, wait_for, wait_until};
use serde_json::Value;
use stayd::sys::process::{Handle, stat};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A deadline that no passing test reaches.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The command `stayd ARGUMENTS`, with an empty stdin and no configuration in its folder or environment.
pub(crate) fn stayd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stayd"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("STAYD_CONFIG")
        .current_dir("/");
    command
}

/// Runs `stayd ARGUMENTS` to its end: (exit status, stdout, stderr).
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    output_of(stayd(arguments).output().expect("stayd starts"))
}

/// (exit status, stdout, stderr)
pub(crate) fn output_of(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("no signal"),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A daemon with its own state folder. Dropping it stops it in order.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
}

impl Daemon {
    /// Starts a daemon with one service, which runs `command`.
    pub(crate) fn start(command: &[&str]) -> Self {
        let arguments: Vec<_> = ["--name", "test", "--"]
            .iter()
            .chain(command)
            .copied()
            .collect();
        Self::start_in(TempDir::new(), &arguments)
    }

    /// Starts a daemon with the text of a configuration.
    pub(crate) fn start_with(config: &str) -> Self {
        let folder = TempDir::new();
        let file = folder.join("test.toml");
        fs::write(&file, config).expect("written");
        Self::start_in(folder, &["-c", file.to_str().expect("UTF-8")])
    }

    /// The same, if not all services become healthy.
    pub(crate) fn start_unhealthy(config: &str) -> Self {
        let folder = TempDir::new();
        let file = folder.join("test.toml");
        fs::write(&file, config).expect("written");
        let arguments = ["-c", file.to_str().expect("UTF-8")];
        Self::start_until(folder, &arguments, &[0, 1])
    }

    fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_until(folder, arguments, &[0])
    }

    /// Waits until `status` ends with one of these statuses.
    fn start_until(folder: TempDir, arguments: &[&str], statuses: &[i32]) -> Self {
        let mut command = stayd(&["--foreground", "--state-dir"]);
        command.arg(folder.join("state")).args(arguments);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("stayd starts");
        let daemon = Self { child, folder };
        wait_until("the daemon answers", LONG, || {
            statuses.contains(&daemon.ask(&["status"]).0)
        });
        daemon
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Runs a verb as a client of this daemon: (exit status, stdout, stderr).
    pub(crate) fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        let state = self.state();
        let all: Vec<_> = arguments
            .iter()
            .copied()
            .chain(["--state-dir", state.to_str().expect("UTF-8")])
            .collect();
        run(&all)
    }

    /// The first service in the daemon's status.
    pub(crate) fn service(&self) -> Value {
        let (_, out, _) = self.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
        status["services"][0].clone()
    }
}

impl Daemon {
    /// Stops it in order and waits for its end.
    pub(crate) fn stop(&mut self) {
        let process = stat(self.child.id().try_into().expect("a pid"))
            .expect("it runs")
            .process;
        Handle::open(process)
            .and_then(|handle| handle.signal(15))
            .expect("SIGTERM");
        wait_for("the daemon ends", LONG, || {
            self.child.try_wait().expect("our child")
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().expect("our child").is_none() {
            self.stop();
        }
    }
}
