//! Wishes and what becomes of them.

use crate::stage::{Daemon, LONG};
use crate::wait::{TempDir, wait_until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn wishes_wait_for_their_outcome() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let (status, out, err) = daemon.ask(&["stop", "sleep"]);
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (0, "sleep: stopped\n", "")
    );
    assert_eq!(daemon.service()["wanted"], "down");
    let (status, out, _) = daemon.ask(&["start", "sleep"]);
    assert_eq!(status, 0);
    assert!(out.starts_with("sleep: running as pid "), "{out}");
    let (status, out, _) = daemon.ask(&["restart", "sleep", "--no-wait"]);
    assert_eq!((status, out.as_str()), (0, "sleep: restart asked for\n"));
    wait_until("a third life", LONG, || daemon.service()["life"] == 3);
    let (status, out, err) = daemon.ask(&["restart", "nope", "sleep"]);
    assert_eq!(status, 2, "{err}");
    assert!(
        err.starts_with("stayd: cannot find a service called nope: there is sleep"),
        "{err}"
    );
    assert!(
        out.starts_with("sleep: running"),
        "the others are asked all the same: {out}"
    );
}

#[test]
fn a_wish_that_does_not_come_true_is_1_with_the_reason() {
    let program = TempDir::new();
    let script = program.path().join("serve");
    fs::write(&script, "#!/bin/sh\nexec sleep 1000\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    let daemon = Daemon::start(&[script.to_str().expect("UTF-8")]);
    fs::remove_file(&script).expect("removed");
    let (status, out, err) = daemon.ask(&["restart", "serve"]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    assert!(err.starts_with("stayd: cannot restart serve: "), "{err}");
    assert_eq!(
        daemon.ask(&["status"]).0,
        1,
        "what is wanted up and is not makes status a no"
    );
}

#[test]
fn holds_are_shown_until_they_are_released() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let (status, out, _) = daemon.ask(&["hold", "sleep", "--for", "30m", "--reason", "a backup"]);
    assert_eq!(status, 0);
    assert!(out.contains("no kills (a backup)"), "{out}");
    assert_eq!(daemon.service()["hold"]["reason"], "a backup");
    assert!(daemon.ask(&["status"]).1.contains("more: a backup"));
    let (status, _, err) = daemon.ask(&["hold", "sleep", "--for", "ever", "--reason", "x"]);
    assert_eq!(status, 2, "{err}");
    assert_eq!(daemon.ask(&["release", "sleep"]).0, 0);
    assert_eq!(daemon.service()["hold"], Value::Null);
}
