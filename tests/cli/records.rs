//! `logs`, `why`, `incidents` and `events`, with and without a running stayd.

use crate::daemon::{Daemon, LONG};
use crate::wait::wait_until;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const CRASHES: &str = "[service.db]\ncommand = ['sh', '-c', 'echo hello; exit 3']\nrestart = 'never'\n\
                       [service.web]\ncommand = ['sh', '-c', 'echo hi; exec sleep 1000']\n";

/// A stayd of which one service has crashed, and which has ended in order or by SIGKILL.
fn ended(killed: bool) -> Daemon {
    let mut daemon = Daemon::start_unhealthy(CRASHES);
    wait_until("the crash is recorded", LONG, || {
        daemon.ask(&["incidents"]).1.contains("db#1")
    });
    for (service, line) in [("db", "hello\n"), ("web", "hi\n")] {
        wait_until("the output is there", LONG, || {
            daemon.ask(&["logs", service]).1 == line
        });
    }
    if killed {
        assert_eq!(daemon.ask(&["stop", "web"]).0, 0);
        daemon.child.kill().expect("our child");
        daemon.child.wait().expect("our child");
    } else {
        daemon.stop();
    }
    daemon
}

#[test]
fn records_and_output_can_be_read_after_stayd_has_ended() {
    for killed in [false, true] {
        let daemon = ended(killed);
        let says_so = format!(
            "stayd: no stayd is running here; reading {}\n",
            daemon.state().display()
        );
        let id = {
            let (_, out, _) = daemon.ask(&["incidents", "--json"]);
            let list: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
            list["incidents"][0]["id"].to_string()
        };
        for (words, part) in [
            (&["logs"][..], "db | hello\nweb | hi\n"),
            (&["logs", "db"], "hello\n"),
            (&["logs", "db", "--raw"], "hello\n"),
            (&["events"], "web#1"),
            (&["events", "--json"], "\"kind\": \"crashed\""),
            (&["why", "db"], "exited with status 3"),
            (&["why", "db", "--since", "1h"], "exited with status 3"),
            (&["why", "db", "--since", "0s"], "no decisions"),
            (&["incidents"], "exited with status 3"),
            (&["incidents", &id], "exited with status 3"),
        ] {
            let (status, out, err) = daemon.ask(words);
            assert_eq!((status, err.as_str()), (0, says_so.as_str()), "{words:?}");
            assert!(out.contains(part), "{words:?}: {out}");
        }
        for (words, expected, part) in [
            (&["logs", "nope"][..], 2, "there is db, web"),
            (&["why", "nope"], 2, "there is db, web"),
            (&["incidents", "999999"], 2, "no incident has this number"),
            (&["events", "-f"], 3, "cannot follow the journal"),
            (&["status"], 3, "no stayd is running here"),
        ] {
            let (status, _, err) = daemon.ask(words);
            assert_eq!(status, expected, "{words:?}: {err}");
            assert!(err.contains(part), "{words:?}: {err}");
        }
    }
}

#[test]
fn following_small_files_puts_nothing_but_lines_on_stdout() {
    const LINES: usize = 20_000;
    let folder = crate::wait::TempDir::new();
    let go = folder.join("go");
    let script = format!(
        "echo 0; while [ ! -e {} ]; do sleep 0.01; done; seq {LINES}; exec sleep 1000",
        go.display()
    );
    let daemon = Daemon::start_with(&format!(
        "[service.s]\ncommand = ['sh', '-c', '{script}']\nlog = {{ max_size = '4KiB', keep = 2 }}\n"
    ));
    let state = daemon.state();
    let mut follower = crate::daemon::stayd(&["logs", "s", "-f", "--state-dir"])
        .arg(&state)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("stayd starts");
    let out = BufReader::new(follower.stdout.take().expect("piped"));
    let mut out = out
        .lines()
        .map(|line| line.expect("UTF-8").parse().expect("a line of the service"));
    assert_eq!(out.next(), Some(0), "it follows from here");
    fs::write(&go, "").expect("written");
    let numbers: Vec<usize> = out.take_while(|number| *number < LINES).collect();
    follower.kill().expect("our child");
    let err = follower.wait_with_output().expect("our child").stderr;
    let err = String::from_utf8(err).expect("UTF-8");
    let is_complete = numbers.len() == LINES - 1;
    assert_eq!(is_complete, numbers == (1..LINES).collect::<Vec<_>>());
    assert!(
        is_complete || err.contains("some lines of s may be missing"),
        "{err}"
    );
    assert!(numbers.is_sorted(), "in their order");
}
