//! A second stayd for an instance that one runs already.

use crate::support::daemon::{SOON, Stayd, binary};
use crate::support::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

const SLEEPER: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n";

/// The second one, killed when dropped.
struct Second {
    child: Child,
    out: PathBuf,
}

impl Second {
    /// Another stayd with the configuration and folder of `first`, started by `words` with `script`, which runs "$@".
    fn start(first: &Stayd, words: &[&str], script: &str, options: &[&str]) -> Self {
        let out = first.dir().join("second");
        let file = File::create(&out).expect("a file");
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["sh", "-c", script, "sh", binary(), "--foreground", "-c"])
            .arg(first.dir().join("stayd.toml"))
            .arg("--state-dir")
            .arg(first.state_dir())
            .args(options)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("a second stayd");
        Self { child, out }
    }

    /// As somebody at a terminal would.
    fn follow(first: &Stayd) -> Self {
        Self::start(first, &["env"], "exec \"$@\"", &["--follow"])
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("a signal");
    }

    fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the second one ends", SOON, || {
            ended = self.child.try_wait().expect("wait");
            ended.is_some()
        });
        ended.expect("ended")
    }

    #[track_caller]
    fn wait_said(&self, what: &str) {
        let found =
            std::panic::catch_unwind(|| wait_until(what, SOON, || self.said().contains(what)));
        assert!(found.is_ok(), "not said: {what}\n{}", self.said());
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the second one says of the first.
fn named(first: &Stayd) -> String {
    format!("another stayd (pid {}) holds this instance", first.pid())
}

#[test]
fn with_follow_it_shows_the_first_ones_status_until_it_is_told_to_end() {
    let first = Stayd::start(SLEEPER);
    let main = first.wait_state("s", "running")["pid"].clone();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut second = Second::follow(&first);
        second.wait_said(&named(&first));
        second.wait_said(&format!("(pid {}, started by", first.pid()));
        second.wait_said("running");
        second.signal(signal);
        assert_eq!(second.wait().code(), Some(0), "{signal}");
    }
    assert_eq!(
        first.service("s")["pid"],
        main,
        "the first one's is untouched"
    );
}

#[test]
fn with_follow_it_shows_what_changes_and_ends_with_the_first() {
    let mut first = Stayd::start(SLEEPER);
    first.wait_state("s", "running");
    let mut second = Second::follow(&first);
    second.wait_said("running");
    assert_eq!(first.client(&["stop", "s"]).code, Some(0));
    second.wait_said("stopped");
    assert!(first.stop().success());
    assert_eq!(second.wait().code(), Some(3), "{}", second.said());
}

#[test]
fn with_follow_and_nobody_there_it_is_the_first() {
    let daemon = Stayd::start_with(SLEEPER, |command| {
        command.arg("--follow");
    });
    daemon.wait_state("s", "running");
}

#[test]
fn under_systemd_it_is_ready_and_says_that_it_waits_and_goes_on_when_it_may() {
    let mut first = Stayd::start(SLEEPER);
    let main = first.wait_state("s", "running")["pid"].clone();
    let notify = first.dir().join("notify");
    let manager = UnixDatagram::bind(&notify).expect("a socket");
    manager.set_read_timeout(Some(SOON)).expect("a deadline");
    let script = format!(
        "exec env SYSTEMD_EXEC_PID=$$ NOTIFY_SOCKET={} WATCHDOG_PID=$$ WATCHDOG_USEC=400000 \"$@\"",
        notify.display()
    );
    let mut second = Second::start(&first, &["env"], &script, &[]);
    let heard = || {
        let mut message = [0; 4096];
        let count = manager.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let ready = heard();
    assert!(
        ready.contains("READY=1") && ready.contains(&format!("STATUS=waiting: {}", named(&first))),
        "{ready}"
    );
    assert_eq!(heard(), "WATCHDOG=1", "a wait is no hang");

    // A crash of the first: the second takes over what runs.
    first.signal(libc::SIGKILL);
    first.wait();
    let took_over = format!("\"pid\": {}", second.child.id());
    wait_until("the second has it", SOON, || {
        let told = first.client(&["status", "--json"]);
        told.code == Some(0) && told.out.contains(&took_over)
    });
    assert_eq!(first.service("s")["pid"], main, "never two, never another");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0), "{}", second.said());
}

#[test]
fn under_systemd_it_may_be_told_to_end_while_it_waits() {
    let first = Stayd::start(SLEEPER);
    let script = "exec env SYSTEMD_EXEC_PID=$$ \"$@\"";
    let mut second = Second::start(&first, &["env"], script, &[]);
    second.wait_said("; stayd waits");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0));
    first.wait_state("s", "running");
}

/// A shell as the first process of a namespace of processes, and the second one in it.
#[cfg(target_os = "linux")]
fn first_process(first: &Stayd, script: &str) -> Second {
    let words = [
        "unshare",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
    ];
    Second::start(first, &words, script, &[])
}

#[cfg(target_os = "linux")]
#[test]
fn as_the_first_process_of_a_container_it_waits() {
    let first = Stayd::start(SLEEPER);
    let mut second = first_process(&first, "exec \"$@\"");
    second.wait_said("; stayd waits");
    assert_eq!(second.child.try_wait().expect("wait"), None);
    first.wait_state("s", "running");
}

/// launchd is a parent with pid 1 that gives its job a label.
#[cfg(target_os = "linux")]
#[test]
fn under_launchd_it_waits() {
    let first = Stayd::start(SLEEPER);
    let script = "XPC_SERVICE_NAME=org.example.job \"$@\" & wait";
    let mut second = first_process(&first, script);
    second.wait_said("; stayd waits");
    assert_eq!(second.child.try_wait().expect("wait"), None);
    first.wait_state("s", "running");
}
