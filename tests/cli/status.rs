//! What `status` shows people: the table, past failures, local time, and the screen of `--watch`.

use crate::daemon::{Daemon, LONG, output_of, stayd};
use crate::wait::{wait_for, wait_until};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use stayd::sys::process::{Handle, stat};
use std::fs::File;
use std::io::Read;
use std::process::Stdio;

#[test]
fn the_table_has_restarts_cpu_and_memory_and_marks_a_past_failure() {
    let daemon = Daemon::start(&[
        "sh",
        "-c",
        "test $STAYD_LIFE != 1 && exec sleep 1000; exit 3",
    ]);
    wait_until("the second instance runs", LONG, || {
        let service = daemon.service();
        service["state"] == "running" && service["life"] == 2
    });
    let (_, out, _) = daemon.ask(&["status"]);
    let lines: Vec<_> = out.lines().map(str::trim).collect();
    let title: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(
        title,
        [
            "SERVICE", "STATE", "FOR", "PID", "LIFE", "RESTARTS", "CPU", "TIME", "MEMORY", "PORT",
            "PROBE"
        ]
    );
    let row: Vec<_> = lines[2].split_whitespace().collect();
    assert_eq!(
        (row[1], row[4], row[5], row[6]),
        ("running", "2", "1", "0.0s"),
        "{out}"
    );
    assert!(row[8].ends_with("iB"), "memory with its unit: {out}");
    assert!(
        lines[3].starts_with("last failure: exited with status 3 after "),
        "{out}"
    );
    assert_eq!(daemon.service()["reason_is_past"], true);
    // The state after a request has no failure as its reason.
    assert_eq!(daemon.ask(&["stop", "sh"]).0, 0);
    let (_, out, _) = daemon.ask(&["status"]);
    assert!(
        out.contains("stopped on request") && !out.contains("last failure"),
        "{out}"
    );
}

#[test]
fn people_read_local_time_with_its_offset_and_programs_read_utc() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let ask = |words: &[&str]| {
        let mut command = stayd(words);
        // POSIX: 5:30 hours east of Greenwich.
        command
            .arg("--state-dir")
            .arg(daemon.state())
            .env("TZ", "XYZ-5:30");
        output_of(command.output().expect("stayd starts")).1
    };
    let pid = daemon.service()["pid"].to_string();
    for words in [
        &["events"][..],
        &["explain", &pid],
        &["hold", "sleep", "--for", "1h", "--reason", "x"],
    ] {
        let out = ask(words);
        assert!(out.contains(" +05:30"), "{words:?}: {out}");
        assert!(!out.contains("Z "), "{words:?}: {out}");
    }
    for words in [&["events", "--json"][..], &["status", "--json"]] {
        let out = ask(words);
        assert!(
            out.contains("Z\"") && !out.contains("05:30"),
            "{words:?}: {out}"
        );
    }
}

#[test]
fn watch_uses_the_alternate_screen_and_restores_the_terminal() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let size = Winsize {
        ws_row: 2,
        ws_col: 60,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(Some(&size), None).expect("a terminal");
    let mut command = stayd(&["status", "--watch", "--state-dir"]);
    command
        .arg(daemon.state())
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .stdout(Stdio::from(terminal.slave))
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("stayd starts");
    drop(command); // its copy of the terminal
    let mut master = File::from(terminal.master);
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("fcntl");
    let mut shown = Vec::new();
    let mut read = |until: &str| {
        wait_for(&format!("{until:?} on the screen"), LONG, || {
            let mut block = [0; 4096];
            if let Ok(count) = master.read(&mut block) {
                shown.extend_from_slice(&block[..count]);
            }
            let text = String::from_utf8_lossy(&shown).into_owned();
            text.contains(until).then_some(text)
        })
    };
    let redrawn = "more lines\x1b[K\x1b[J\x1b[Htest";
    let start = read(redrawn);
    assert!(start.starts_with("\x1b[?1049h"), "{start:?}");
    assert!(!start.contains("\x1b[2J"), "{start:?}");
    let process = stat(child.id().try_into().expect("a pid"))
        .expect("it runs")
        .process;
    Handle::open(process)
        .and_then(|handle| handle.signal(2))
        .expect("SIGINT");
    read("\x1b[?1049l");
    let ended = wait_for("it ends", LONG, || child.try_wait().expect("our child"));
    assert_eq!(ended.code(), Some(0));
}
