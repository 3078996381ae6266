//! A new version that is not fit, or a moment that is not: the old one goes on, and says why.

use super::support::daemon::{ClientOutput, SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::wait_until;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const SERVICE: &str = "[service.s]\ncommand = [\"sleep\", \"1000\"]\n";

fn replace_by(daemon: &Stayd, content: &[u8]) {
    let file = daemon.dir().join("content");
    fs::write(&file, content).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");
    daemon.put_program(&file);
}

/// What the client was told; everything runs as before.
#[track_caller]
fn refused(daemon: &Stayd, why: &str) -> ClientOutput {
    let before = daemon.service("s");
    let answer = daemon.client(&["upgrade"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.err.contains("cannot upgrade: "), "{answer:?}");
    assert!(answer.err.contains(why), "{answer:?}");
    let after = daemon.service("s");
    for same in ["pid", "life", "state", "since"] {
        assert_eq!(after[same], before[same]);
    }
    let told = daemon.events();
    let last = told.last().expect("a record");
    assert_eq!(
        (&last["kind"], &last["facts"]["done"]),
        (&"upgraded".into(), &Value::from(false))
    );
    answer
}

#[test]
fn item_90_a_bad_file_leaves_the_old_version_running() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    replace_by(&daemon, b"no program at all\n");
    refused(
        &daemon,
        "is not fit to take over: cannot start it: cannot run its program",
    );
    replace_by(&daemon, b"#!/bin/sh\nexec /bin/true\n");
    refused(&daemon, "it is a script");
    replace_by(&daemon, &fs::read("/bin/false").expect("false"));
    refused(&daemon, "it exited with status 1 and said nothing");
    replace_by(&daemon, &fs::read("/bin/true").expect("true"));
    refused(&daemon, "it does not say what a stayd would say");
    fs::remove_file(daemon.program()).expect("removed");
    refused(&daemon, "No such file or directory");
    let program = fs::read(super::support::daemon::binary()).expect("our own");
    replace_by(&daemon, &program);
    let answer = daemon.client(&["upgrade", "--json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let told: Value = serde_json::from_str(&answer.out).expect("JSON");
    assert_eq!(
        (&told["number"], &told["refused"]),
        (&1.into(), &Value::Null)
    );
}

#[test]
fn item_90_a_file_that_says_nothing_is_given_up() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    replace_by(&daemon, &fs::read("/usr/bin/yes").expect("yes"));
    refused(&daemon, "it did not come to an end within 10 s");
    let children = stayd::sys::process::children(daemon.pid()).expect("its children");
    assert_eq!(
        children,
        [pid(&daemon.service("s"))],
        "it was ended and reaped"
    );
}

#[test]
fn item_90_a_file_that_others_can_write_does_not_take_over() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    fs::set_permissions(daemon.program(), fs::Permissions::from_mode(0o777)).expect("its mode");
    refused(&daemon, "others than its owner can write it");
}

#[test]
fn item_90_a_configuration_that_the_new_version_does_not_read_leaves_the_old_one_running() {
    let daemon = Stayd::start_copied(SERVICE);
    daemon.wait_state("s", "running");
    daemon.rewrite("[service.s]\ncommand = 7\n");
    refused(&daemon, "stayd.toml");
}

#[test]
fn item_90_what_is_under_way_and_does_not_end_is_not_cut() {
    let config = format!(
        "{SERVICE}[service.s.watchdog]\nprobe = \"exec:sleep 100\"\ninterval = \"90s\"\ntimeout = \"90s\"\n"
    );
    let daemon = Stayd::start_copied(&config);
    wait_until("the question is asked", SOON, || {
        stayd::sys::process::children(daemon.pid()).is_ok_and(|all| all.len() == 2)
    });
    let children = stayd::sys::process::children(daemon.pid()).expect("its children");
    refused(&daemon, "it is being asked");
    for child in children {
        assert!(is_alive(child), "the question goes on");
    }
}

/// The file is fit, and then the system refuses it: it has lost its x bits while everything came to rest.
#[test]
fn item_90_a_refused_exec_leaves_the_old_version_running_with_everything_it_had() {
    let config = "[service.s]\ncommand = [\"bash\", \"-c\", \"n=0; while :; do n=$((n+1)); echo $n; sleep 0.003; done\"]\n\
         [service.s.watchdog]\nprobe = \"exec:sleep 3\"\ninterval = \"60s\"\ntimeout = \"60s\"\n[service.s.log]\nto = \"file\"\n";
    let daemon = Stayd::start_copied(config);
    let before = daemon.wait_service("s", "started", |service| !service["pid"].is_null());
    wait_until("the question is asked", SOON, || {
        stayd::sys::process::children(daemon.pid()).is_ok_and(|all| all.len() == 2)
    });
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| daemon.client(&["upgrade"]));
        wait_until("it has passed its trial", SOON, || {
            daemon.output().contains("is fit to take over")
        });
        fs::set_permissions(daemon.program(), fs::Permissions::from_mode(0o644)).expect("its mode");
        asking.join().expect("no panic")
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
    let told: Value = serde_json::from_str(&answer.out).expect("JSON");
    assert_eq!(
        (&told["number"], &told["refused"]),
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
    ignore = "only a debug build knows the named steps"
)]
fn item_90_a_death_of_the_new_version_is_a_crash_and_is_told() {
    let daemon = Stayd::start_copied_with(SERVICE, |command| {
        command.env("STAYD_DIE_AT", "Received");
    });
    let mut daemon = daemon.wait_until_open();
    let left = pid(&daemon.wait_state("s", "running"));
    let answer = daemon.client(&["upgrade"]);
    assert_eq!(answer.code, Some(3), "{answer:?}");
    assert!(answer.err.contains("has ended"), "{answer:?}");
    assert!(!daemon.wait().success());
    let daemon = daemon.restart();
    let found = daemon.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
}
