//! The program, and a daemon of a test's own.

use crate::wait::{TempDir, wait_for, wait_until};
use serde_json::Value;
use stayd::sys::process::{Handle, stat};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) fn stayd(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stayd"));
    command
        .args(words)
        .stdin(Stdio::null())
        .env_remove("STAYD_CONFIG")
        .current_dir("/");
    command
}

/// Runs it to its end: (status, stdout, stderr).
pub(crate) fn run(words: &[&str]) -> (i32, String, String) {
    told(stayd(words).output().expect("stayd starts"))
}

pub(crate) fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("no signal"),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A daemon with a state folder of its own, stopped in order when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
}

impl Daemon {
    /// One service, as the command line describes it.
    pub(crate) fn start(command: &[&str]) -> Self {
        let words: Vec<_> = ["--name", "test", "--"]
            .iter()
            .chain(command)
            .copied()
            .collect();
        Self::start_in(TempDir::new(), &words)
    }

    /// What a configuration describes.
    pub(crate) fn start_with(config: &str) -> Self {
        let folder = TempDir::new();
        let file = folder.join("test.toml");
        fs::write(&file, config).expect("written");
        Self::start_in(folder, &["-c", file.to_str().expect("UTF-8")])
    }

    fn start_in(folder: TempDir, words: &[&str]) -> Self {
        let mut command = stayd(&["--foreground", "--state-dir"]);
        command.arg(folder.join("state")).args(words);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("stayd starts");
        let daemon = Self { child, folder };
        wait_until("the daemon answers", LONG, || {
            daemon.ask(&["status"]).0 == 0
        });
        daemon
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn ask(&self, words: &[&str]) -> (i32, String, String) {
        let state = self.state();
        let all: Vec<_> = words
            .iter()
            .copied()
            .chain(["--state-dir", state.to_str().expect("UTF-8")])
            .collect();
        run(&all)
    }

    pub(crate) fn service(&self) -> Value {
        let (_, out, _) = self.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
        status["services"][0].clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
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
