//! Several stayds, or none: one runs per instance, instances of one name keep apart, and clients start none. A stayd that
//! panics is followed by one that takes over.

#[cfg(debug_assertions)]
use super::support::counting_service::CountingService;
use super::support::daemon::{SOON, Stayd, binary};
use super::support::service::service;
use super::support::{TempDir, wait_until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
#[cfg(debug_assertions)]
use stayd::act::failpoint::Failpoint;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How many are started at the same time.
const AT_ONCE: usize = 8;

/// A stayd on this folder, stopped in order when dropped.
struct Started(Child);

impl Started {
    fn on(dir: &Path) -> Self {
        let child = Command::new(binary())
            .args(["--foreground", "-c"])
            .arg(dir.join("stayd.toml"))
            .arg("--state-dir")
            .arg(dir.join("state"))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("output")).expect("a file"))
            .spawn()
            .expect("stayd");
        Self(child)
    }

    fn code(&mut self) -> Option<i32> {
        let ended = self.0.try_wait().expect("wait");
        ended.map(|status| status.code().expect("a status"))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.code().is_none() {
            let pid = Pid::from_raw(self.0.id().cast_signed());
            nix::sys::signal::kill(pid, Signal::SIGTERM).expect("our child");
            self.0.wait().expect("our child");
        }
    }
}

#[test]
fn of_several_started_at_once_one_runs_and_the_others_exit_with_75() {
    let dir = TempDir::new();
    fs::write(dir.join("stayd.toml"), service("sleep", "")).expect("the configuration");
    let mut all: Vec<Started> = (0..AT_ONCE).map(|_| Started::on(dir.path())).collect();
    let mut codes = Vec::new();
    wait_until("all but one have ended", SOON, || {
        codes = all.iter_mut().filter_map(Started::code).collect();
        codes.len() >= AT_ONCE - 1
    });
    assert_eq!(codes, [75; AT_ONCE - 1]);
}

/// The OS supervisor starts an installed job, and a second stayd would race it.
#[test]
fn no_client_command_starts_a_stayd() {
    let dir = TempDir::new();
    fs::write(dir.join("stayd.toml"), service("sleep", "")).expect("the configuration");
    for words in [
        &["status"][..],
        &["start", "s"],
        &["restart", "s"],
        &["events"],
    ] {
        let asked = Command::new(binary())
            .args(words)
            .arg("-c")
            .arg(dir.join("stayd.toml"))
            .arg("--state-dir")
            .arg(dir.join("state"))
            .output()
            .expect("a client");
        let output = String::from_utf8_lossy(&asked.stderr);
        assert_eq!(asked.status.code(), Some(3), "{words:?}: {output}");
        assert!(!dir.join("state/lock").exists(), "{words:?}");
    }
}

/// A panic in the loop, in the thread that kills, and in the one that writes the logs. Only a debug build has failpoints.
#[cfg(debug_assertions)]
#[test]
fn a_panic_ends_stayd_at_once_and_the_next_one_takes_over() {
    for failpoint in [
        Failpoint::MainProcessRecorded,
        Failpoint::FirstKilled,
        Failpoint::BeforeRotation,
    ] {
        let counted = CountingService::new();
        let panic = format!("panic:{}", failpoint.name());
        let mut daemon = Stayd::start_with_failpoint(&counted.watched_config(), &panic);
        if failpoint == Failpoint::FirstKilled {
            daemon = daemon.wait_until_open();
            daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
            counted.set_healthy(false);
        }
        assert!(!daemon.wait().success());
        let output = daemon.output();
        assert!(
            output.contains("bug in stayd") && output.contains("src/act/failpoint.rs:"),
            "{output}"
        );
        counted.set_healthy(true);
        counted.assert_whole(daemon.restart(), &panic);
    }
}

/// Two instances of one name have state folders of their own and share the folder of the notify sockets.
#[test]
fn instances_of_one_name_keep_their_notify_sockets_apart() {
    let script = "import os,socket,time\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\nwhile True:\n  try: s.sendto(b'READY=1\\nWATCHDOG=1',os.environ['NOTIFY_SOCKET'])\n  except OSError: pass # no stayd listens between two of them\n  time.sleep(0.1)";
    let argv = serde_json::to_string(&["python3", "-c", script]).expect("JSON is TOML here");
    let config = format!(
        "name = \"twin-{}\"\n[service.s]\ncommand = {argv}\nsd_notify = true\n[service.s.watchdog]\nprobe = \"notify\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\nbusy_grace = \"0s\"\n",
        std::process::id()
    );
    let twins = [Stayd::start(&config), Stayd::start(&config)];
    let healthy = |twin: &Stayd| twin.wait_service("s", "healthy", |s| s["healthy"] == true);
    let before = twins
        .each_ref()
        .map(healthy)
        .map(|service| service["pid"].clone());
    // a service whose messages went to the other instance would be killed within three intervals
    let mut answers = [BTreeSet::new(), BTreeSet::new()];
    wait_until(
        "each has answered more often than a kill needs",
        SOON,
        || {
            for (twin, answers) in twins.iter().zip(&mut answers) {
                let last = twin.service("s")["probes"][0]["last_ok_at"].to_string();
                answers.insert(last);
            }
            answers.iter().all(|answers| answers.len() > 12)
        },
    );
    let after = twins
        .each_ref()
        .map(healthy)
        .map(|service| service["pid"].clone());
    assert_eq!(after, before);
    let [first, second] = twins;
    // the service is ready already: the next stayd does not wait for READY=1 again
    let third = first.kill_and_restart();
    let adopted = healthy(&third);
    assert_eq!(
        (&adopted["pid"], &adopted["ownership"]),
        (&before[0], &"adopted".into())
    );
    drop(third);
    assert_eq!(healthy(&second)["pid"], before[1]);
}

#[test]
fn a_second_stayd_names_the_first_and_ends_with_75() {
    let daemon = Stayd::start(&service("sleep", ""));
    let config = daemon.dir().join("stayd.toml");
    let second = daemon.client(&["--foreground", "-c", config.to_str().expect("a path")]);
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.err.contains(&daemon.pid().to_string()), "{second:?}");
}
