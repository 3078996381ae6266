//! A request that a later one replaces ends at once, and the later one is carried out.

use crate::support::daemon::{ClientOutput, SOON, Stayd};
use crate::support::wait_until;
use std::fs;
use std::thread;
use std::time::Instant;

/// It ignores TERM until there is a file `release`, so that a stop takes as long as the test wants.
const STUBBORN: &str = r#"
name = "stubborn"
[service.a]
command = ["sh", "-c", "trap '' TERM; until [ -e release ]; do sleep 0.05; done"]
stop = { grace = "5m" }
"#;

/// It never becomes ready, so that a start takes its whole minute.
const NEVER_READY: &str = r#"
name = "unready"
[service.a]
command = ["sleep", "1000"]
[service.a.watchdog]
probe = "exec:false"
[service.a.ready]
probe = "unix:/nonexistent"
"#;

/// Requests `first`, then, when stayd has accepted it, `second` without waiting. Returns what became of the first.
fn replace(daemon: &Stayd, first: &str, second: &str) -> ClientOutput {
    let requests = daemon.count("wished");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| daemon.client(&[first, "a"]));
        wait_until("the first is accepted", SOON, || {
            daemon.count("wished") > requests
        });
        let next = daemon.client(&[second, "a", "--no-wait"]);
        assert_eq!(next.code, Some(0), "{next:?}");
        let replaced_at = Instant::now();
        let output = waiting.join().expect("it ends");
        assert!(replaced_at.elapsed() < SOON, "it has waited: {output:?}");
        output
    })
}

fn release(daemon: &Stayd) {
    fs::write(daemon.dir().join("release"), "").expect("written");
}

fn assert_replaced(output: &ClientOutput, first: &str, second: &str) {
    assert_eq!(output.code, Some(1), "{output:?}");
    let sentence = format!("cannot {first} a: {second} was requested meanwhile");
    assert!(output.err.contains(&sentence), "{output:?}");
}

#[test]
fn a_stop_ends_when_a_start_or_a_restart_replaces_it() {
    for second in ["start", "restart"] {
        let daemon = Stayd::start(STUBBORN);
        daemon.wait_state("a", "running");
        let output = replace(&daemon, "stop", second);
        assert_replaced(&output, "stop", second);
        assert_eq!(daemon.service("a")["wanted"], "up");
        release(&daemon);
        daemon.wait_service("a", "the next instance", |service| service["life"] == 2);
    }
}

#[test]
fn a_restart_ends_when_a_stop_replaces_it() {
    let daemon = Stayd::start(STUBBORN);
    daemon.wait_state("a", "running");
    let output = replace(&daemon, "restart", "stop");
    assert_replaced(&output, "restart", "stop");
    assert_eq!(daemon.service("a")["wanted"], "down");
    release(&daemon);
    daemon.wait_state("a", "stopped");
}

#[test]
fn a_start_ends_when_a_stop_replaces_it() {
    let daemon = Stayd::start(NEVER_READY);
    daemon.wait_state("a", "starting");
    let output = replace(&daemon, "start", "stop");
    // The stop may be done first; then the start has failed for that reason.
    assert_eq!(output.code, Some(1), "{output:?}");
    daemon.wait_state("a", "stopped");
}

#[test]
fn a_request_for_the_same_does_not_replace() {
    let daemon = Stayd::start(STUBBORN);
    daemon.wait_state("a", "running");
    thread::scope(|scope| {
        let waiting = [1, 2].map(|_| scope.spawn(|| daemon.client(&["restart", "a"])));
        wait_until("both are accepted", SOON, || daemon.count("wished") == 2);
        assert!(waiting.iter().all(|one| !one.is_finished()));
        let hold = daemon.client(&["hold", "a", "--for", "1m", "--reason", "test"]);
        assert_eq!(hold.code, Some(0), "{hold:?}");
        let stop = daemon.client(&["stop", "a", "--no-wait"]);
        assert_eq!(stop.code, Some(0), "{stop:?}");
        for one in waiting {
            assert_replaced(&one.join().expect("it ends"), "restart", "stop");
        }
    });
    release(&daemon);
}
