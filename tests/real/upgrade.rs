//! A new version takes the place of the one that runs: what goes on, and that nobody notices.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, service};
use super::support::{free_port, http_get, wait_until};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Upgrades in a row.
const UPGRADES: usize = 5;
/// Numbers its lines, and ends with 7 when it is told to.
const NUMBERED: &str = "\
trap 'exit 7' TERM; n=0
while :; do n=$((n + 1)); echo $n; sleep 0.003; done
";

/// One service that runs `script`.
fn script(script: &str, more: &str) -> String {
    let argv = serde_json::to_string(&["bash", "-c", script]).expect("JSON is TOML here");
    format!(
        "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"0s\", max = \"1ms\" }}\n\
         give_up = {{ exits = 1000, within = \"1s\" }}\n{more}\n[service.s.log]\nto = \"file\"\n"
    )
}

#[track_caller]
fn upgrade(daemon: &Stayd) {
    let answer = daemon.client(&["upgrade"]);
    assert_eq!(answer.code, Some(0), "{answer:?}\n{}", daemon.output());
}

fn status(daemon: &Stayd) -> Value {
    let answer = daemon.client(&["status", "--json"]);
    serde_json::from_str(&answer.out).expect("the status")
}

/// The numbers in the log of `s`, oldest first.
fn numbers(state: &Path) -> Vec<u64> {
    let log = fs::read_to_string(state.join("logs/s/current.log")).expect("the log");
    log.lines()
        .map(|line| line.parse().expect("a whole line"))
        .collect()
}

fn assert_no_gap(numbers: &[u64]) {
    let expected: Vec<u64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn item_90_a_new_file_takes_over_in_the_same_process_and_everything_goes_on() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let held = daemon.client(&["hold", "s", "--for", "1h", "--reason", "a backup"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    let before = status(&daemon);
    for number in 1..=UPGRADES {
        daemon.put_program(Path::new(super::support::daemon::binary()));
        upgrade(&daemon);
        let after = status(&daemon);
        assert_eq!(after["daemon"]["pid"], daemon.pid());
        assert_eq!(
            after["daemon"]["started_at"],
            before["daemon"]["started_at"]
        );
        assert_eq!(after["daemon"]["upgrade"]["number"], number);
        assert_eq!(after["daemon"]["upgrade"]["refused"], Value::Null);
        let running = fs::metadata(format!("/proc/{}/exe", daemon.pid()));
        if let Ok(running) = running {
            let there = fs::metadata(daemon.program()).expect("the program");
            assert_eq!((running.dev(), running.ino()), (there.dev(), there.ino()));
        }
        for same in [
            "pid",
            "life",
            "ownership",
            "since",
            "restarts",
            "reason",
            "state",
        ] {
            assert_eq!(
                after["services"][0][same], before["services"][0][same],
                "{same}"
            );
        }
        assert_eq!(after["services"][0]["hold"]["reason"], "a backup");
    }
    assert_eq!(daemon.count("upgraded"), UPGRADES);
    assert_eq!(daemon.count("started"), 1);
    assert_eq!(daemon.count("adopted"), 0, "a child is nobody's leftover");
    let stopped = daemon.client(&["stop", "s"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let ended = daemon.service("s");
    assert_eq!(ended["last_exit"]["code"], 7, "{ended}");
    assert_no_gap(&numbers(&daemon.state_dir()));
}

#[test]
fn item_90_a_service_whose_command_has_changed_goes_on_until_it_is_restarted() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    let before = pid(&daemon.wait_state("s", "running"));
    daemon.rewrite(&script(&format!("{NUMBERED}# edited"), ""));
    upgrade(&daemon);
    let kept = daemon.wait_state("s", "running");
    assert_eq!(pid(&kept), before);
    let reason = kept["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("former command") && reason.contains("stayd restart s"),
        "{reason}"
    );
    let answer = daemon.client(&["restart", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let next = daemon.wait_state("s", "running");
    assert_ne!(pid(&next), before);
    assert!(
        !next["reason"]
            .as_str()
            .expect("a reason")
            .contains("former"),
        "{next}"
    );
}

#[test]
fn item_90_a_life_that_the_old_version_began_ends_and_respawns_under_the_new_one() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    let first = pid(&daemon.wait_state("s", "running"));
    upgrade(&daemon);
    let term = nix::sys::signal::Signal::SIGTERM;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), term).expect("kill");
    let next = daemon.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert_eq!(next["last_exit"]["code"], 7, "{next}");
    assert_eq!(
        (&next["restarts"], &next["ownership"]),
        (&1.into(), &"spawned".into())
    );
    upgrade(&daemon);
    assert_eq!(daemon.service("s")["restarts"], 1);
}

/// Ends are reaped by one version or the other, or wait for it as zombies.
#[test]
fn item_90_no_end_is_lost_between_two_versions() {
    let daemon = Stayd::start_copied(&script("echo $STAYD_LIFE; sleep 0.02; exit 3", ""));
    for _ in 0..UPGRADES {
        upgrade(&daemon);
    }
    let ends: Vec<Value> = daemon
        .events()
        .into_iter()
        .filter(|event| event["kind"] == "crashed")
        .collect();
    assert!(!ends.is_empty(), "{}", daemon.output());
    for end in &ends {
        let message = end["message"].as_str().expect("a sentence");
        assert!(message.starts_with("exited with status 3"), "{end}");
    }
    let before = daemon.service("s")["life"].as_u64().expect("a number");
    daemon.wait_service("s", "further", |service| {
        service["life"].as_u64() > Some(before)
    });
    assert_no_gap(&numbers(&daemon.state_dir()));
}

#[test]
fn item_90_no_request_is_refused_or_reset_while_versions_change() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let socket = daemon.state_dir().join("control.sock");
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    assert_running(&ask(&socket));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _over = Over(&over);
        for _ in 0..UPGRADES {
            let before = answered.load(Ordering::SeqCst);
            upgrade(&daemon);
            wait_until("more answers", SOON, || {
                answered.load(Ordering::SeqCst) > before + 20
            });
        }
    });
}

/// Ends what goes on beside a test, however the test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One request, without any of the patience of our own client.
fn ask(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).expect("nobody is refused");
    let request = "GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("nobody is reset");
    answer
}

fn assert_running(answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    let status: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(status["services"][0]["state"], "running", "{answer}");
}

#[test]
fn item_90_a_wedged_service_is_killed_by_the_new_version() {
    let port = free_port();
    let watched = format!(
        "port = {port}\n[service.s.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\ninterval = \"300ms\"\n\
         timeout = \"300ms\"\nbusy_grace = \"0s\""
    );
    let daemon = Stayd::start_copied(&service(&format!("serve {port}"), &watched));
    let first = pid(&daemon.wait_service("s", "healthy", |service| service["healthy"] == true));
    upgrade(&daemon);
    assert_eq!(daemon.service("s")["healthy"], true);
    let _ = http_get(port, "/wedge");
    let next = daemon.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(first));
    assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
    upgrade(&daemon);
    assert_eq!(daemon.service("s")["restarts"], 1);
}

#[test]
fn item_90_signals_that_come_while_versions_change_are_heard_by_the_new_one() {
    let mut daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                daemon.signal(libc::SIGHUP);
                std::thread::yield_now();
            }
        });
        let _over = Over(&over);
        for _ in 0..UPGRADES {
            upgrade(&daemon);
        }
    });
    daemon.wait_state("s", "running");
    assert!(daemon.stop().success(), "{}", daemon.output());
    assert_no_gap(&numbers(&daemon.state_dir()));
}

#[test]
fn item_90_an_ordered_stop_that_comes_with_an_upgrade_is_carried_out() {
    for _ in 0..UPGRADES {
        let mut daemon = Stayd::start_copied(&script(NUMBERED, ""));
        let child = pid(&daemon.wait_state("s", "running"));
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| daemon.client(&["upgrade"]));
            wait_until("the trial has begun, or is over", SOON, || {
                let children = stayd::sys::process::children(daemon.pid());
                children.is_ok_and(|all| all.len() > 1) || asking.is_finished()
            });
            daemon.signal(libc::SIGTERM);
        });
        assert!(daemon.wait().success(), "{}", daemon.output());
        assert!(!is_alive(child));
    }
}

/// Tells READY=1 once, after a while, and then WATCHDOG=1 all the time; a message that nobody takes is written down.
const NOTIFIES: &str = "\
import os, socket, sys, time
to = os.environ['NOTIFY_SOCKET']
line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def tell(what):
    try:
        line.sendto(what, to)
    except OSError as error:
        open('DIR/refused', 'a').write('%s\\n' % error)
tell(b'READY=1')
while True:
    tell(b'WATCHDOG=1')
    time.sleep(0.002)
";

#[test]
fn item_90_a_service_that_reports_by_itself_is_heard_all_the_time() {
    let argv = serde_json::to_string(&["python3", "-c", NOTIFIES]).expect("JSON is TOML here");
    let config = format!(
        "[service.s]\ncommand = {argv}\nsd_notify = true\n[service.s.watchdog]\nprobe = \"notify\"\ninterval = \"1s\"\n\
         timeout = \"1s\"\n"
    );
    let daemon = Stayd::start_copied(&config);
    daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    for _ in 0..UPGRADES {
        upgrade(&daemon);
        assert_eq!(daemon.service("s")["healthy"], true);
    }
    let again = |service: &Value| service["probes"][0]["class"] == "alive";
    daemon.wait_service("s", "heard by the new one", again);
    let refused = fs::read_to_string(daemon.dir().join("refused")).unwrap_or_default();
    assert_eq!(refused, "");
}

#[test]
fn item_90_who_follows_the_events_gets_an_end_and_misses_nothing() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let told = daemon.dir().join("told");
    let mut client = std::process::Command::new(super::support::daemon::binary())
        .args(["events", "-f", "--state-dir"])
        .arg(daemon.state_dir())
        .stdout(fs::File::create(&told).expect("a file"))
        .spawn()
        .expect("a client");
    let mut follower = UnixStream::connect(daemon.state_dir().join("control.sock")).expect("taken");
    let request = "GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
    follower.write_all(request.as_bytes()).expect("taken");
    for number in 1..=UPGRADES {
        upgrade(&daemon);
        wait_until("the follower is told", SOON, || {
            let told = fs::read_to_string(&told).expect("a file");
            told.matches(" upgraded ").count() == number
        });
    }
    let mut said = String::new();
    follower
        .read_to_string(&mut said)
        .expect("an end, not a reset");
    assert!(said.ends_with("0\r\n\r\n"), "the stream has an end: {said}");
    drop(daemon);
    client.wait().expect("it ends with stayd");
}
