//! A second stayd is started while the first one holds the state dir: it waits, follows the first one's status, or ends.

use crate::support::daemon::{SOON, Stayd, binary};
use crate::support::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stayd::sys::process;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

const SLEEPER: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n";

/// The second stayd, killed when dropped.
struct Second {
    child: Child,
    out: PathBuf,
}

impl Second {
    /// Starts a stayd with the configuration and state dir of `first`. The program `words[0]` runs the shell script, and
    /// the script runs stayd as "$@".
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

    /// Starts it with `--follow`, as a user does at a terminal.
    fn follow(first: &Stayd) -> Self {
        Self::start(first, &["env"], "exec \"$@\"", &["--follow"])
    }

    /// What it has written to stdout and stderr.
    fn output(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("a signal");
    }

    fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the second stayd ends", SOON, || {
            ended = self.child.try_wait().expect("wait");
            ended.is_some()
        });
        ended.expect("ended")
    }

    #[track_caller]
    fn wait_output(&self, text: &str) {
        let found =
            std::panic::catch_unwind(|| wait_until(text, SOON, || self.output().contains(text)));
        assert!(
            found.is_ok(),
            "its output lacks {text:?}:\n{}",
            self.output()
        );
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sentence in which the second stayd names the first one.
fn sentence_about(first: &Stayd) -> String {
    format!("another stayd (pid {}) holds this instance", first.pid())
}

#[test]
fn with_follow_the_second_stayd_shows_the_first_ones_status_until_a_signal_ends_it() {
    let first = Stayd::start(SLEEPER);
    let main = first.wait_state("s", "running")["pid"].clone();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut second = Second::follow(&first);
        second.wait_output(&sentence_about(&first));
        second.wait_output(&format!("(pid {}, started by", first.pid()));
        second.wait_output("running");
        second.signal(signal);
        assert_eq!(second.wait().code(), Some(0), "{signal}");
    }
    assert_eq!(
        first.service("s")["pid"],
        main,
        "the service of the first stayd goes on"
    );
}

#[test]
fn with_follow_the_second_stayd_shows_changes_and_ends_with_the_first() {
    let mut first = Stayd::start(SLEEPER);
    first.wait_state("s", "running");
    let mut second = Second::follow(&first);
    second.wait_output("running");
    assert_eq!(first.client(&["stop", "s"]).code, Some(0));
    second.wait_output("stopped");
    assert!(first.stop().success());
    assert_eq!(second.wait().code(), Some(3), "{}", second.output());
}

#[test]
fn with_follow_and_no_other_stayd_it_supervises_itself() {
    let daemon = Stayd::start_with(SLEEPER, |command| {
        command.arg("--follow");
    });
    daemon.wait_state("s", "running");
}

#[test]
fn under_systemd_the_second_stayd_is_ready_waits_and_takes_over_when_the_first_is_killed() {
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
    let receive = || {
        let mut message = [0; 4096];
        let count = manager.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let ready = receive();
    assert!(
        ready.contains("READY=1")
            && ready.contains(&format!("STATUS=waiting: {}", sentence_about(&first))),
        "{ready}"
    );
    assert_eq!(
        receive(),
        "WATCHDOG=1",
        "a waiting stayd satisfies the watchdog"
    );

    // The first stayd crashes: the second one adopts the running service.
    first.kill();
    let second_answers = format!("\"pid\": {}", second.child.id());
    wait_until("the second stayd has taken over", SOON, || {
        let status = first.client(&["status", "--json"]);
        status.code == Some(0) && status.out.contains(&second_answers)
    });
    assert_eq!(first.service("s")["pid"], main, "the service is adopted");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0), "{}", second.output());
}

#[test]
fn under_systemd_a_waiting_second_stayd_ends_on_sigterm() {
    let first = Stayd::start(SLEEPER);
    let script = "exec env SYSTEMD_EXEC_PID=$$ \"$@\"";
    let mut second = Second::start(&first, &["env"], script, &[]);
    second.wait_output("; stayd waits");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0));
    first.wait_state("s", "running");
}

/// Starts the second stayd in a pid namespace whose first process is a shell that runs the script.
#[cfg(target_os = "linux")]
fn in_pid_namespace(first: &Stayd, script: &str) -> Second {
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
fn as_the_first_process_of_a_container_the_second_stayd_waits() {
    let first = Stayd::start(SLEEPER);
    let mut second = in_pid_namespace(&first, "exec \"$@\"");
    second.wait_output("; stayd waits");
    assert_eq!(second.child.try_wait().expect("wait"), None);
    first.wait_state("s", "running");
}

/// stayd recognizes launchd by a parent with pid 1 and the label of its job in the environment.
#[cfg(target_os = "linux")]
#[test]
fn under_launchd_the_second_stayd_waits() {
    let first = Stayd::start(SLEEPER);
    let script = "XPC_SERVICE_NAME=org.example.job \"$@\" & wait";
    let mut second = in_pid_namespace(&first, script);
    second.wait_output("; stayd waits");
    assert_eq!(second.child.try_wait().expect("wait"), None);
    first.wait_state("s", "running");
}

/// A child that a killed stayd was about to start can share its lock for a moment.
#[test]
fn a_lock_whose_holder_has_ended_is_waited_for() {
    let mut first = Stayd::start(SLEEPER);
    first.wait_state("s", "running");
    let pid = first.pid();
    first.kill();
    let path = first.state_dir().join("lock");
    let lock = File::open(&path).expect("the lock");
    wait_until("it is released", SOON, || lock.try_lock().is_ok());
    let text = fs::read_to_string(&path).expect("readable");
    assert_eq!(text.trim(), pid.to_string());
    let next = first.next_with(|_| {});
    let process = process::stat(next.pid()).expect("it runs").process;
    wait_until("it has tried", SOON, || {
        process::age(process) > Duration::from_millis(300)
    });
    drop(lock);
    next.wait_until_open().wait_state("s", "running");
}
