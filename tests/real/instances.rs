//! More than one stayd, or none: who may run, what clients do without one, and what is left when one ends by a bug of its
//! own, or its whole process group is ended.

use super::adoption::{pid, service};
use super::support::census::Census;
use super::support::daemon::{SOON, Stayd, binary};
use super::support::{TempDir, wait_until};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use stayd::act::failpoint::Failpoint;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Started at once on one folder.
const AT_ONCE: usize = 8;

/// A stayd on the folder, ended in order when dropped.
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
            .stderr(fs::File::create(dir.join("said")).expect("a file"))
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
fn item_55_of_many_that_start_at_once_one_runs_and_the_others_are_75() {
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

/// An installed job is somebody else's to start, and a second one would race it.
#[test]
fn item_56_no_client_starts_a_stayd() {
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
        let said = String::from_utf8_lossy(&asked.stderr);
        assert_eq!(asked.status.code(), Some(3), "{words:?}: {said}");
        assert!(!dir.join("state/lock").exists(), "{words:?}");
    }
}

/// As launchd does with a job that ended, unless it is told to abandon the group (launchd.plist(5)).
#[test]
fn item_76_what_ends_the_group_of_a_dead_stayd_does_not_reach_its_services() {
    let mut first = Stayd::start_with(&service("children 1 sleep", ""), |command| {
        command.process_group(0);
    });
    let left = pid(&first.wait_state("s", "running"));
    let group = Pid::from_raw(first.pid());
    first.signal(libc::SIGKILL);
    assert!(!first.wait().success());
    let nobody_is_left_in_it = killpg(group, Signal::SIGKILL);
    assert_eq!(nobody_is_left_in_it, Err(nix::errno::Errno::ESRCH));
    let second = first.again();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
}

/// In the loop, in the thread that kills, and in the one that writes the logs.
#[test]
#[cfg_attr(
    not(debug_assertions),
    ignore = "only a debug build knows the named steps"
)]
fn item_86_a_bug_of_ours_ends_stayd_at_once_and_the_next_one_takes_over() {
    for step in [
        Failpoint::MainProcessRecorded,
        Failpoint::FirstKilled,
        Failpoint::BeforeRotation,
    ] {
        let census = Census::new();
        let bug = format!("panic:{}", step.name());
        let mut daemon = Stayd::start_to_die_at(&census.watched_config(), &bug);
        if step == Failpoint::FirstKilled {
            daemon = daemon.when_open();
            daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
            census.set_fit(false);
        }
        assert!(!daemon.wait().success());
        let said = daemon.said();
        assert!(
            said.contains("bug in stayd") && said.contains("src/act/failpoint.rs:"),
            "{said}"
        );
        census.set_fit(true);
        census.assert_whole(daemon.again(), &bug);
    }
}

/// Two instances of one name, with state folders of their own, share the folder of their services' sockets.
#[test]
fn instances_of_one_name_do_not_take_each_others_notify_sockets() {
    let script = "import os,socket,time\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\nwhile True:\n  try: s.sendto(b'READY=1\\nWATCHDOG=1',os.environ['NOTIFY_SOCKET'])\n  except OSError: pass # nobody hears it between two stayds\n  time.sleep(0.1)";
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
    let began = std::time::Instant::now();
    wait_until("many times what would condemn", SOON, || {
        began.elapsed() > std::time::Duration::from_secs(4)
    });
    let after = twins
        .each_ref()
        .map(healthy)
        .map(|service| service["pid"].clone());
    assert_eq!(after, before);
    let [first, second] = twins;
    // What the first one's notify socket said before does not make the next one wait for READY=1 again.
    let third = first.killed_and_again();
    let adopted = healthy(&third);
    assert_eq!(
        (&adopted["pid"], &adopted["ownership"]),
        (&before[0], &"adopted".into())
    );
    drop(third);
    assert_eq!(healthy(&second)["pid"], before[1]);
}
