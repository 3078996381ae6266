//! Requests to the daemon and their outcomes.

use crate::daemon::{Daemon, LONG};
use crate::wait::{TempDir, wait_until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_request_waits_for_its_outcome() {
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
    assert_eq!((status, out.as_str()), (0, "sleep: restart requested\n"));
    wait_until("the third instance", LONG, || daemon.service()["life"] == 3);
    let (status, out, err) = daemon.ask(&["restart", "nope", "sleep"]);
    assert_eq!(status, 2, "{err}");
    assert!(
        err.starts_with("stayd: cannot find a service called nope: the services are sleep"),
        "{err}"
    );
    assert!(
        out.starts_with("sleep: running"),
        "the other services are restarted: {out}"
    );
}

#[test]
fn a_failed_request_is_1_with_the_reason() {
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
        "a service that is wanted up and does not run makes status 1"
    );
}

#[test]
fn a_hold_is_shown_until_it_is_released() {
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

#[test]
fn requests_and_log_lines_have_a_json_form() {
    let daemon = Daemon::start(&["sh", "-c", "echo hello; exec sleep 1000"]);
    let lines = |words: &[&str]| -> Vec<Value> {
        let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
        let (status, out, err) = daemon.ask(&words);
        assert_eq!((status, err.as_str()), (0, ""), "{words:?}");
        let line = |line| serde_json::from_str(line).expect("JSON alone on stdout");
        out.lines().map(line).collect()
    };
    for (words, key, value) in [
        (&["restart", "sh"][..], "life", Value::from(2)),
        (&["reload", "sh"], "name", "sh".into()),
        (&["release", "sh"], "hold", Value::Null),
        (&["stop", "sh"], "wanted", "down".into()),
    ] {
        let output = lines(words);
        assert_eq!((output.len(), &output[0][key]), (1, &value), "{words:?}");
    }
    let output = lines(&["hold", "sh", "--for", "1h", "--reason", "x"]);
    assert_eq!(output[0]["hold"]["reason"], "x");
    let output = lines(&["logs", "sh", "-n", "1"]);
    assert_eq!(
        output,
        [serde_json::json!({ "service": "sh", "line": "hello" })]
    );
}

#[test]
fn a_start_of_a_program_that_dies_at_once_fails_with_its_last_line() {
    let script = "if [ -e bad ]; then echo no such database >&2; exit 3; fi; exec sleep 1000";
    let daemon = Daemon::start_with(&format!(
        "[service.bad]\ncommand = [\"sh\", \"-c\", \"{script}\"]\nbackoff = {{ min = \"5m\", max = \"5m\" }}\n"
    ));
    fs::write(daemon.folder.join("bad"), "").expect("written");
    for verb in ["restart", "start"] {
        let (status, out, err) = daemon.ask(&[verb, "bad"]);
        assert_eq!((status, out.as_str()), (1, ""), "{err}");
        assert!(
            err.starts_with(&format!("stayd: cannot {verb} bad: "))
                && err.contains("status 3")
                && err.contains("the last line of its output: no such database"),
            "{err}"
        );
    }
}

#[test]
fn a_start_of_a_one_shot_that_ends_well_succeeds() {
    let daemon = Daemon::start_with("[service.once]\ncommand = [\"true\"]\nrestart = \"never\"\n");
    let (status, out, err) = daemon.ask(&["start", "once"]);
    assert_eq!(status, 0, "{err}");
    assert!(
        out.starts_with("once: stopped: ") && out.contains("status 0"),
        "{out}"
    );
    assert_eq!(daemon.ask(&["status"]).0, 0, "and it is healthy");
}
