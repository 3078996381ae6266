//! `stayd upgrade` replaces the running program in place: services, requests, output, connections and signals go on.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, service};
use super::support::{SetOnDrop, free_port, http_get, wait_until};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many upgrades a test makes.
const UPGRADES: usize = 5;
/// Writes numbered lines, and ends with status 7 on SIGTERM.
const NUMBERED: &str = "\
trap 'exit 7' TERM; n=0
while :; do n=$((n + 1)); echo $n; sleep 0.003; done
";

/// The configuration of one service that runs this shell script and is restarted at once.
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
fn a_new_file_takes_over_in_the_same_process_and_the_service_its_hold_and_its_output_go_on() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let hold = daemon.client(&["hold", "s", "--for", "1h", "--reason", "a backup"]);
    assert_eq!(hold.code, Some(0), "{hold:?}");
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
            let new = fs::metadata(daemon.program()).expect("the program");
            assert_eq!((running.dev(), running.ino()), (new.dev(), new.ino()));
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
    assert_eq!(
        daemon.count("adopted"),
        0,
        "the service stays a child and is not adopted"
    );
    let stopped = daemon.client(&["stop", "s"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let ended = daemon.service("s");
    assert_eq!(ended["last_exit"]["code"], 7, "{ended}");
    assert_no_gap(&numbers(&daemon.state_dir()));
}

#[test]
fn a_service_whose_configured_command_has_changed_goes_on_until_its_restart() {
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
fn an_instance_started_by_the_old_version_is_reaped_and_restarted_by_the_new_one() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    let first = pid(&daemon.wait_state("s", "running"));
    upgrade(&daemon);
    let term = nix::sys::signal::Signal::SIGTERM;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), term).expect("kill");
    let next = daemon.wait_service("s", "the next instance", |service| {
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

/// The old or the new version reaps each exit; a child that ends in between stays a zombie until the new version runs.
#[test]
fn no_exit_is_lost_during_an_upgrade() {
    let daemon = Stayd::start_copied(&script("echo $STAYD_LIFE; sleep 0.02; exit 3", ""));
    for _ in 0..UPGRADES {
        upgrade(&daemon);
    }
    let exits: Vec<Value> = daemon
        .events()
        .into_iter()
        .filter(|event| event["kind"] == "crashed")
        .collect();
    assert!(!exits.is_empty(), "{}", daemon.output());
    for exit in &exits {
        let message = exit["message"].as_str().expect("a sentence");
        assert!(message.starts_with("exited with status 3"), "{exit}");
    }
    let before = daemon.service("s")["life"].as_u64().expect("a number");
    daemon.wait_service("s", "a later instance", |service| {
        service["life"].as_u64() > Some(before)
    });
    assert_no_gap(&numbers(&daemon.state_dir()));
}

#[test]
fn no_api_request_is_refused_or_reset_during_an_upgrade() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let socket = daemon.state_dir().join("control.sock");
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    assert_running(&request_status(&socket));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _done = SetOnDrop(&done);
        for _ in 0..UPGRADES {
            let before = answered.load(Ordering::SeqCst);
            upgrade(&daemon);
            wait_until("more answers", SOON, || {
                answered.load(Ordering::SeqCst) > before + 20
            });
        }
    });
}

/// Makes one API request. Unlike stayd's own client it tries only once.
fn request_status(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).expect("no connection is refused");
    let request = "GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("no connection is reset");
    answer
}

fn assert_running(answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    let status: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(status["services"][0]["state"], "running", "{answer}");
}

#[test]
fn a_service_that_wedges_after_an_upgrade_is_killed_by_the_new_version() {
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
    let next = daemon.wait_service("s", "the next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(first));
    assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
    upgrade(&daemon);
    assert_eq!(daemon.service("s")["restarts"], 1);
}

#[test]
fn signals_during_an_upgrade_do_not_end_stayd_and_the_new_version_handles_them() {
    let mut daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                daemon.signal(libc::SIGHUP);
                std::thread::yield_now();
            }
        });
        let _done = SetOnDrop(&done);
        for _ in 0..UPGRADES {
            upgrade(&daemon);
        }
    });
    daemon.wait_state("s", "running");
    assert!(daemon.stop().success(), "{}", daemon.output());
    assert_no_gap(&numbers(&daemon.state_dir()));
}

#[test]
fn an_ordered_stop_during_an_upgrade_is_carried_out() {
    for _ in 0..UPGRADES {
        let mut daemon = Stayd::start_copied(&script(NUMBERED, ""));
        let child = pid(&daemon.wait_state("s", "running"));
        std::thread::scope(|scope| {
            let client = scope.spawn(|| daemon.client(&["upgrade"]));
            wait_until("the new file's trial run has begun", SOON, || {
                let children = stayd::sys::process::children(daemon.pid());
                children.is_ok_and(|all| all.len() > 1) || client.is_finished()
            });
            daemon.signal(libc::SIGTERM);
        });
        assert!(daemon.wait().success(), "{}", daemon.output());
        assert!(!is_alive(child));
    }
}

/// Sends READY=1 once and then WATCHDOG=1 every 2 ms; writes the error of each refused message into the file `refused`.
const NOTIFIES: &str = "\
import os, socket, sys, time
address = os.environ['NOTIFY_SOCKET']
notify_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def notify(message):
    try:
        notify_socket.sendto(message, address)
    except OSError as error:
        open('DIR/refused', 'a').write('%s\\n' % error)
notify(b'READY=1')
while True:
    notify(b'WATCHDOG=1')
    time.sleep(0.002)
";

#[test]
fn no_sd_notify_message_of_a_service_is_refused_during_an_upgrade() {
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
    let is_alive = |service: &Value| service["probes"][0]["class"] == "alive";
    daemon.wait_service("s", "alive for the new version", is_alive);
    let refused = fs::read_to_string(daemon.dir().join("refused")).unwrap_or_default();
    assert_eq!(refused, "");
}

#[test]
fn followers_of_the_events_get_an_end_of_the_stream_and_miss_no_event() {
    let daemon = Stayd::start_copied(&script(NUMBERED, ""));
    daemon.wait_state("s", "running");
    let output = daemon.dir().join("events");
    let mut client = std::process::Command::new(super::support::daemon::binary())
        .args(["events", "-f", "--state-dir"])
        .arg(daemon.state_dir())
        .stdout(fs::File::create(&output).expect("a file"))
        .spawn()
        .expect("a client");
    let mut stream =
        UnixStream::connect(daemon.state_dir().join("control.sock")).expect("connected");
    let request = "GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    for number in 1..=UPGRADES {
        upgrade(&daemon);
        wait_until("the client shows the upgrade", SOON, || {
            let events = fs::read_to_string(&output).expect("a file");
            events.matches(" upgraded ").count() == number
        });
    }
    let mut events = String::new();
    stream
        .read_to_string(&mut events)
        .expect("the stream ends without a reset");
    assert!(
        events.ends_with("0\r\n\r\n"),
        "the stream has its last chunk: {events}"
    );
    drop(daemon);
    client.wait().expect("the client ends with stayd");
}
