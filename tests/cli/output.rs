//! What is printed to stdout and stderr, on terminals, in pipes and as JSON.

use crate::daemon::{Daemon, LONG, stayd};
use crate::wait::{wait_for, wait_until};
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
