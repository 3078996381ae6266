//! What is printed to stdout and stderr, on terminals, in pipes and as JSON.

use crate::daemon::{Daemon, LONG, run, stayd};
use crate::wait::{TempDir, wait_for, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, pipe};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc;

/// A shell script that prints more numbered lines than one log file may hold.
const TALKER: &str =
    "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; exec sleep 1000";

/// Reads the lines of a stream on a thread, so that the caller can wait for one with a deadline.
fn lines_of(stream: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    lines
}

#[test]
fn logs_are_followed_through_rotation() {
    let daemon = Daemon::start_with(
        "[service.talker]\ncommand = [\"sh\", \"-c\", \"TALKER\"]\nlog = { to = \"file\", max_size = \"4KiB\", keep = 50 }\n"
            .replace("TALKER", TALKER).as_str(),
    );
    wait_until("the last line", LONG, || {
        daemon.ask(&["logs", "-n", "1"]).1 == "line 3000\n"
    });
    let (status, out, _) = daemon.ask(&["logs", "talker", "-n", "2"]);
    assert_eq!((status, out.as_str()), (0, "line 2999\nline 3000\n"));
    let mut follower = stayd(&["logs", "-f", "-n", "1", "--state-dir"])
        .arg(daemon.state())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = lines_of(follower.stdout.take().expect("piped"));
    let next = || lines.recv_timeout(LONG).expect("a line in time");
    assert_eq!(next(), "line 3000", "the last line comes first");
    assert_eq!(daemon.ask(&["restart", "talker"]).0, 0);
    for number in 1..=3000 {
        assert_eq!(
            next(),
            format!("line {number}"),
            "no line is lost, doubled or torn"
        );
    }
    follower.kill().expect("SIGKILL");
    follower.wait().expect("reaped");
}

#[test]
fn a_pipe_gets_no_colors_and_json_output_is_json_alone() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    for verb in [
        &["status"][..],
        &["events"],
        &["why", "sleep"],
        &["incidents"],
        &["config", "schema"],
    ] {
        let (status, out, err) = daemon.ask(verb);
        assert_eq!((status, err.as_str()), (0, ""), "{verb:?}");
        assert!(!out.contains('\x1b'), "{verb:?}: {out}");
        let words: Vec<_> = verb.iter().copied().chain(["--json"]).collect();
        let (status, out, err) = daemon.ask(&words);
        assert_eq!((status, err.as_str()), (0, ""), "{verb:?}");
        serde_json::from_str::<Value>(&out).expect("JSON alone on stdout");
    }
}

#[test]
fn errors_show_control_characters_of_names_and_arguments_as_escapes() {
    const HOSTILE: &str = "a\x1b[2J\rb\nFORGED\u{202e}";
    const SHOWN: &str = "a\\x1b[2J\\rb\\nFORGED\\u{202e}";
    let daemon = Daemon::start(&["sleep", "1000"]);
    for verb in [
        &["status", HOSTILE][..],
        &["logs", HOSTILE],
        &["explain", HOSTILE],
    ] {
        let (status, out, err) = daemon.ask(verb);
        assert_eq!((status, out.as_str()), (2, ""), "{verb:?}: {err}");
        assert!(err.contains(SHOWN), "{verb:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{verb:?}: {err}");
    }
    let (status, _, err) = run(&["status", "--no-such-option\x1b[2J"]);
    assert_eq!(status, 2);
    assert!(err.contains("'--no-such-option\\x1b[2J'"), "{err}");
}

#[test]
fn each_finding_is_one_line_whatever_the_names_of_the_files_are() {
    let folder = TempDir::new();
    std::fs::write(folder.join("main.toml"), "include = [\"*.inc\"]\n").expect("written");
    let part = folder.join("a\n\x1b[2J.inc");
    std::fs::write(part, "wrong = 1\nbad = 2\n").expect("written");
    let main = folder.join("main.toml");
    let main = main.to_str().expect("UTF-8");
    let (status, out, _) = run(&["config", "check", "-c", main]);
    assert_eq!(status, 78);
    assert!(out.lines().count() == 2 && !out.contains('\x1b'), "{out:?}");
    assert!(
        out.lines().all(|line| line.contains("a\\n\\x1b[2J.inc:")),
        "{out}"
    );
    let (status, _, err) = run(&["--foreground", "-c", main]);
    assert_eq!(status, 78);
    assert!(err.lines().count() == 2 && !err.contains('\x1b'), "{err:?}");
}

#[test]
fn a_closed_stdout_ends_the_program_without_a_message() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut child = stayd(&["config", "schema"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut err = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut err)
        .expect("read");
    let status = wait_for("it ends", LONG, || child.try_wait().expect("our child"));
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
}
