//! Captured output of a service under a whole stayd, and `stayd logs`.

use crate::support::daemon::{SOON, Stayd, binary};
use crate::support::service::pid;
use crate::support::{test_service, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stayd::sys::process;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A client that waits longer has waited for the output to end; it usually answers within 0.1 s.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A service that writes "ready", and runs `then` when the file `go` exists. Its log files hold `max_size`.
fn service(then: &str, max_size: &str, keep: u32) -> String {
    format!(
        "[service.s]\ncommand = [\"sh\", \"-c\", \"echo ready; while [ ! -e DIR/go ]; do sleep 0.02; done; {then}\"]\n\
         log = {{ to = \"file\", max_size = \"{max_size}\", keep = {keep} }}\nstop = {{ grace = \"300ms\" }}\n"
    )
}

fn go(daemon: &Stayd) {
    File::create(daemon.dir().join("go")).expect("the file");
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
    let flood = format!(
        "{} write-lines {LINES}; exec sleep 1000",
        test_service().display()
    );
    // about 3.6 MB, in some fifty files
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
fn a_line_of_200_mebibytes_and_binary_output_need_bounded_memory_and_disk() {
    let script = "head -c 209715200 /dev/zero; head -c 4194304 /dev/urandom; echo; printf 'a\\\\0b\\\\377\\\\n'; echo end; \
                  exec sleep 1000";
    let daemon = Stayd::start(&service(script, "1MiB", 2));
    let main = pid(&daemon.wait_state("s", "running"));
    let before = peak_memory_kib(daemon.pid());
    go(&daemon);
    wait_until("the last line", SOON * 2, || {
        let asked = Instant::now();
        let logs = daemon.client(&["logs", "s", "-n", "2"]);
        assert!(asked.elapsed() < ANSWER_MAX, "{:?}", asked.elapsed());
        logs.code == Some(0) && logs.out == "a\\x00b\u{fffd}\nend\n"
    });
    let logs = daemon.state_dir().join("logs/s");
    let files = fs::read_dir(logs).expect("the logs").flatten();
    let bytes: u64 = files
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    assert!(bytes <= 3 << 20, "{bytes} bytes");
    let grown = peak_memory_kib(daemon.pid()) - before;
    // `logs` reads 1 MiB back and sends it as JSON, in which a zero byte takes six bytes
    assert!(grown < 32 * 1024, "{grown} KiB");
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
    /// Longer than a write may take before stayd takes the disk to hang.
    const STOPPED: Duration = Duration::from_millis(1300);
    let flood = format!(
        "{} write-lines {LINES}; exec sleep 1000",
        test_service().display()
    );
    let daemon = Stayd::start(&service(&flood, "1MiB", 100));
    daemon.wait_state("s", "running");
    let logs = daemon.state_dir().join("logs/s");
    go(&daemon);
    for _ in 0..3 {
        let before = logged(&logs).len();
        wait_until("output is written", SOON, || logged(&logs).len() > before);
        daemon.signal(libc::SIGSTOP);
        // what is tested is the lost time
        std::thread::sleep(STOPPED);
        daemon.signal(libc::SIGCONT);
    }
    let last = format!("line {}\n", LINES - 1);
    wait_until("the last line", SOON * 2, || logged(&logs).ends_with(&last));
    for (number, line) in logged(&logs).lines().skip(1).enumerate() {
        assert_eq!(line, format!("line {number}"));
    }
}

/// All files of a log, oldest first.
fn logged(logs: &Path) -> String {
    let path = |age: usize| match age {
        0 => logs.join("current.log"),
        age => logs.join(format!("current.log.{age}")),
    };
    let oldest = (1..).find(|&age| !path(age).exists()).expect("an end");
    let parts = (0..oldest)
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
fn threads_sleep_when_all_output_is_written() {
    /// Longer than any pause between two wake-ups of a thread that has work.
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
    wait_until("neither thread wakes for a while", SOON, || {
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

#[test]
fn a_grandchild_that_keeps_the_output_open_does_not_delay_the_next_instance() {
    let config = "[service.s]\ncommand = [\"sh\", \"-c\", \"echo said; setsid sleep 76541 & exec sleep 1000000\"]\nkill = \"group\"\nbackoff = { min = \"10ms\" }\nstop = { grace = \"300ms\" }\nlog = { to = \"file\" }\n";
    let daemon = Stayd::start(config);
    let main = pid(&daemon.wait_state("s", "running"));
    wait_until("the grandchild is there", SOON, || {
        !process::children(main).unwrap_or_default().is_empty()
    });
    let holder = process::children(main).expect("/proc")[0];
    kill(Pid::from_raw(main), Signal::SIGKILL).expect("a signal");
    let next = daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    wait_until("the holder is reported", SOON, || {
        daemon.output().contains(&format!(
            "pid {holder} outside instance 1 still holds its output"
        ))
    });
    // `kill = "group"` leaves both grandchildren alive
    let others = || process::children(pid(&next)).unwrap_or_default();
    wait_until("the next grandchild has started", SOON, || {
        !others().is_empty()
    });
    let others = others();
    drop(daemon);
    for left in others.into_iter().chain([holder]) {
        let _ = kill(Pid::from_raw(left), Signal::SIGKILL);
    }
}
