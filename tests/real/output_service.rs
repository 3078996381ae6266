//! Captured output as a person meets it: a whole stayd, its service, and `logs`.

use crate::faults::pid;
use crate::support::daemon::{SOON, Stayd, binary};
use crate::support::{victim, wait_until};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A service that says "ready", and does `then` when the file `go` is there, with logs of `max_size`.
fn service(then: &str, max_size: &str, keep: u32) -> String {
    format!(
        "[service.s]\ncommand = [\"sh\", \"-c\", \"echo ready; while [ ! -e DIR/go ]; do sleep 0.02; done; {then}\"]\n\
         log = {{ to = \"file\", max_size = \"{max_size}\", keep = {keep} }}\nstop = {{ grace = \"300ms\" }}\n"
    )
}

fn go(daemon: &Stayd) {
    File::create(daemon.dir().join("go")).expect("the sign");
}

/// `stayd logs -f`, killed when dropped.
struct Follower {
    child: Child,
}

impl Follower {
    fn start(daemon: &Stayd, out: &Path) -> Self {
        let file = File::create(out).expect("a file");
        let child = Command::new(binary())
            .args(["logs", "s", "-f", "--state-dir"])
            .arg(daemon.state_dir())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("a follower");
        Self { child }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn logs_follow_through_rotation_and_no_line_is_missing() {
    const LINES: usize = 300_000;
    let flood = format!("{} flood {LINES}; exec sleep 1000", victim().display());
    // About 3.6 MB: some fifty files.
    let daemon = Stayd::start(&service(&flood, "64KiB", 200));
    daemon.wait_state("s", "running");
    let out = daemon.dir().join("followed");
    let _follower = Follower::start(&daemon, &out);
    let followed = || fs::read_to_string(&out).unwrap_or_default();
    wait_until("it follows", SOON, || followed() == "ready\n");
    go(&daemon);
    let last = format!("line {}\n", LINES - 1);
    wait_until("the last line is shown", SOON * 2, || {
        followed().ends_with(&last)
    });
    let text = followed();
    for (number, line) in text.lines().skip(1).enumerate() {
        assert_eq!(line, format!("line {number}"));
    }
    assert_eq!(text.lines().count(), 1 + LINES);
    let files = fs::read_dir(daemon.state_dir().join("logs/s")).expect("the logs");
    assert!(files.count() > 30, "it was rotated");
}

#[test]
fn item_97_a_line_of_two_hundred_mebibytes_and_binary_output_are_survived() {
    let script = "head -c 209715200 /dev/zero; head -c 4194304 /dev/urandom; echo; printf 'a\\\\0b\\\\377\\\\n'; echo end; \
                  exec sleep 1000";
    let daemon = Stayd::start(&service(script, "1MiB", 2));
    let main = pid(&daemon.wait_state("s", "running"));
    let before = peak_memory_kib(daemon.pid());
    go(&daemon);
    let mut slowest = Duration::ZERO;
    wait_until("the last line", SOON * 2, || {
        let asked = Instant::now();
        let told = daemon.client(&["logs", "s", "-n", "2"]);
        slowest = slowest.max(asked.elapsed());
        told.code == Some(0) && told.out == "a\0b\u{fffd}\nend\n"
    });
    let logs = daemon.state_dir().join("logs/s");
    let files = fs::read_dir(logs).expect("the logs").flatten();
    let bytes: u64 = files
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    assert!(bytes <= 3 << 20, "{bytes} bytes");
    let grown = peak_memory_kib(daemon.pid()) - before;
    // `logs` reads 1 MiB back and hands it on as JSON, where a zero byte takes six.
    assert!(grown < 32 * 1024, "{grown} KiB");
    assert!(
        slowest < Duration::from_secs(5),
        "asked meanwhile: {slowest:?}"
    );
    let after = daemon.service("s");
    assert_eq!(
        (pid(&after), &after["life"]),
        (main, &1.into()),
        "nothing was restarted"
    );
}

#[test]
fn a_stayd_that_is_stopped_for_a_while_loses_no_line() {
    const LINES: usize = 2_000_000;
    /// Longer than a turn may take before the disk is taken to hang.
    const STOPPED: Duration = Duration::from_millis(1300);
    let flood = format!("{} flood {LINES}; exec sleep 1000", victim().display());
    let daemon = Stayd::start(&service(&flood, "1MiB", 100));
    daemon.wait_state("s", "running");
    let logs = daemon.state_dir().join("logs/s");
    go(&daemon);
    for _ in 0..3 {
        let before = logged(&logs).len();
        wait_until("it moves", SOON, || logged(&logs).len() > before);
        daemon.signal(libc::SIGSTOP);
        let since = Instant::now();
        wait_until("a while", SOON, || since.elapsed() > STOPPED);
        daemon.signal(libc::SIGCONT);
    }
    let last = format!("line {}\n", LINES - 1);
    wait_until("the last line", SOON * 2, || logged(&logs).ends_with(&last));
    for (number, line) in logged(&logs).lines().skip(1).enumerate() {
        assert_eq!(line, format!("line {number}"));
    }
}

/// All files of a log, the eldest first.
fn logged(logs: &Path) -> String {
    let path = |age: usize| match age {
        0 => logs.join("current.log"),
        age => logs.join(format!("current.log.{age}")),
    };
    let eldest = (1..).find(|&age| !path(age).exists()).expect("an end");
    let parts = (0..eldest)
        .rev()
        .map(|age| fs::read_to_string(path(age)).unwrap_or_default());
    parts.collect()
}

fn peak_memory_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok());
    number.expect("VmHWM")
}

#[test]
fn output_that_has_been_moved_wakes_nobody_any_more() {
    /// Long enough for the pump to move what came, and to find nothing behind it.
    const QUIET: Duration = Duration::from_secs(2);
    let daemon = Stayd::start(&service("echo moved; exec sleep 1000", "1MiB", 1));
    daemon.wait_state("s", "running");
    go(&daemon);
    let log = daemon.state_dir().join("logs/s/current.log");
    wait_until("the line", SOON, || {
        fs::read_to_string(&log).is_ok_and(|text| text == "ready\nmoved\n")
    });
    let sleeps = || ["output", "disk-stall"].map(|thread| sleeps_of(daemon.pid(), thread));
    let mut before = sleeps();
    let mut since = Instant::now();
    wait_until("a time in which neither wakes", SOON, || {
        let now = sleeps();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        since.elapsed() > QUIET
    });
}

/// How often this thread has gone to sleep.
fn sleeps_of(pid: i32, thread: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    let mut statuses = tasks
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("status")).unwrap_or_default());
    let status = statuses
        .find(|status| status.starts_with(&format!("Name:\t{thread}\n")))
        .expect("the thread");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .expect("a count")
}
