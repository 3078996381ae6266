//! A refused `stayd upgrade`: when the new version is not fit or stayd is busy, the old version goes on and says why.

use super::support::daemon::{ClientOutput, SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::wait_until;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const SERVICE: &str = "[service.s]\ncommand = [\"sleep\", \"1000\"]\n";

/// Replaces the program of this stayd by a file with this content.
fn replace_program(daemon: &Stayd, content: &[u8]) {
    let file = daemon.dir().join("content");
    fs::write(&file, content).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");
    daemon.put_program(&file);
}

/// Asks for an upgrade and fails unless it is refused for this reason, recorded, and everything runs as before. Returns
/// the client's answer.
#[track_caller]
fn assert_refused(daemon: &Stayd, why: &str) -> ClientOutput {
    let before = daemon.service("s");
    let answer = daemon.client(&["upgrade"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.err.contains("cannot upgrade: "), "{answer:?}");
    assert!(answer.err.contains(why), "{answer:?}");
    let after = daemon.service("s");
    for same in ["pid", "life", "state", "since"] {
        assert_eq!(after[same], before[same]);
    }
    let events = daemon.events();
    let last = events.last().expect("a record");
    assert_eq!(
        (&last["kind"], &last["facts"]["done"]),
        (&"upgraded".into(), &Value::from(false))
    );
    answer
}

#[test]
fn a_file_that_is_no_stayd_leaves_the_old_version_running() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    replace_program(&daemon, b"no program at all\n");
    assert_refused(
        &daemon,
        "cannot take over: cannot start it: cannot run its program",
    );
    replace_program(&daemon, b"#!/bin/sh\nexec /bin/true\n");
    assert_refused(&daemon, "it is a script");
    replace_program(&daemon, &fs::read("/bin/false").expect("false"));
    assert_refused(&daemon, "it exited with status 1 without a message");
    replace_program(&daemon, &fs::read("/bin/true").expect("true"));
    assert_refused(&daemon, "its self-check does not print what stayd prints");
    fs::remove_file(daemon.program()).expect("removed");
    assert_refused(&daemon, "No such file or directory");
    let program = fs::read(super::support::daemon::binary()).expect("the program under test");
    replace_program(&daemon, &program);
    let answer = daemon.client(&["upgrade", "--json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let upgrade: Value = serde_json::from_str(&answer.out).expect("JSON");
    assert_eq!(
        (&upgrade["number"], &upgrade["refused"]),
        (&1.into(), &Value::Null)
    );
}

#[test]
fn a_file_that_does_not_end_its_trial_run_is_refused_and_killed() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    replace_program(&daemon, &fs::read("/usr/bin/yes").expect("yes"));
    assert_refused(&daemon, "it did not end within 10 s");
    let children = stayd::sys::process::children(daemon.pid()).expect("its children");
    assert_eq!(
        children,
        [pid(&daemon.service("s"))],
        "the self-check is killed and reaped"
    );
}

#[test]
fn a_file_that_other_users_can_write_is_refused() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    fs::set_permissions(daemon.program(), fs::Permissions::from_mode(0o777)).expect("its mode");
    assert_refused(&daemon, "other users than its owner can write it");
}

#[test]
fn a_configuration_that_the_new_version_rejects_leaves_the_old_one_running() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    daemon.rewrite("[service.s]\ncommand = 7\n");
    assert_refused(&daemon, "stayd.toml");
}

#[test]
fn a_probe_attempt_that_does_not_end_refuses_the_upgrade_and_goes_on() {
    let config = format!(
        "{SERVICE}[service.s.watchdog]\nprobe = \"exec:sleep 100\"\ninterval = \"90s\"\ntimeout = \"90s\"\n"
    );
    let daemon = Stayd::start_copied(&config);
    wait_until("the probe's command runs", SOON, || {
        stayd::sys::process::children(daemon.pid()).is_ok_and(|all| all.len() == 2)
    });
    let children = stayd::sys::process::children(daemon.pid()).expect("its children");
    assert_refused(&daemon, "it is being asked");
    for child in children {
        assert!(is_alive(child), "the probe's command goes on");
    }
}

/// The file passes its self-check and then loses its x bits, while stayd waits for the probe attempt to end, so that
/// execve(2) fails.
#[test]
fn a_failed_exec_leaves_the_old_version_running_with_its_service_and_output() {
    let config = "[service.s]\ncommand = [\"bash\", \"-c\", \"n=0; while :; do n=$((n+1)); echo $n; sleep 0.003; done\"]\n\
         [service.s.watchdog]\nprobe = \"exec:sleep 3\"\ninterval = \"60s\"\ntimeout = \"60s\"\n[service.s.log]\nto = \"file\"\n";
    let daemon = Stayd::start_copied(config);
    let before = daemon.wait_service("s", "started", |service| !service["pid"].is_null());
    wait_until("the probe's command runs", SOON, || {
        stayd::sys::process::children(daemon.pid()).is_ok_and(|all| all.len() == 2)
    });
    let answer = std::thread::scope(|scope| {
        let client = scope.spawn(|| daemon.client(&["upgrade"]));
        wait_until("the new file has passed its self-check", SOON, || {
            daemon.output().contains("has passed its self-check")
        });
        fs::set_permissions(daemon.program(), fs::Permissions::from_mode(0o644)).expect("its mode");
        client.join().expect("no panic")
    });
    assert_eq!(answer.code, Some(1), "{answer:?}\n{}", daemon.output());
    assert!(answer.err.contains("Permission denied"), "{answer:?}");
    let after = daemon.service("s");
    for same in ["pid", "life", "ownership"] {
        assert_eq!(after[same], before[same], "{}", daemon.output());
    }
    fs::set_permissions(daemon.program(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let answer = daemon.client(&["upgrade", "--json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}\n{}", daemon.output());
    let upgrade: Value = serde_json::from_str(&answer.out).expect("JSON");
    assert_eq!(
        (&upgrade["number"], &upgrade["refused"]),
        (&2.into(), &Value::Null)
    );
    assert_eq!(daemon.client(&["stop", "s"]).code, Some(0));
    let log = fs::read_to_string(daemon.state_dir().join("logs/s/current.log")).expect("the log");
    let numbers: Vec<u64> = log
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u64),
        "no line is lost"
    );
}

#[test]
#[cfg_attr(
    not(debug_assertions),
    ignore = "only a debug build has the failpoints"
)]
fn a_new_version_that_dies_during_the_upgrade_is_reported_and_the_next_stayd_adopts_the_service() {
    let daemon = Stayd::start_copied_with(SERVICE, |command| {
        command.env("STAYD_DIE_AT", "NewVersionStarted");
    });
    let mut daemon = daemon.wait_until_open();
    let main = pid(&daemon.wait_state("s", "running"));
    let answer = daemon.client(&["upgrade"]);
    assert_eq!(answer.code, Some(3), "{answer:?}");
    assert!(answer.err.contains("has ended"), "{answer:?}");
    assert!(!daemon.wait().success());
    let daemon = daemon.restart();
    let found = daemon.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (main, &"adopted".into())
    );
}
