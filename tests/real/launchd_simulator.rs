//! The launchd simulator of these tests keeps launchd's rules.

use crate::support::launchd_simulator::{End, SimulatedJob, shell_job};
use crate::support::{SOON, TempDir, wait_for, wait_until};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The lines of a log so far.
fn lines(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_job_gets_a_bare_environment() {
    let dir = TempDir::new();
    let log = dir.join("log");
    let script = "{ pwd; readlink /proc/self/fd/0; ulimit -n; env; echo end; } >&2; sleep 1000";
    let job = SimulatedJob::bootstrap(&shell_job(script, &log, &[]));
    wait_until("the job has written everything", SOON, || {
        lines(&log).last().is_some_and(|line| line == "end")
    });
    let said = lines(&log);
    assert_eq!(said[..3], ["/", "/dev/null", "256"]);
    assert!(said.contains(&"XPC_SERVICE_NAME=org.example.simulated".to_owned()));
    assert!(said.contains(&"PATH=/usr/bin:/bin:/usr/sbin:/sbin".to_owned()));
    assert!(
        !said
            .iter()
            .any(|line| line.starts_with("HOME=") || line.starts_with("CARGO"))
    );
    assert_eq!(job.bootout(), End::Orderly);
}

#[test]
fn the_throttle_counts_from_the_last_start() {
    let dir = TempDir::new();
    let keys = [("KeepAlive", true.into()), ("ThrottleInterval", 1.into())];
    let at_once = SimulatedJob::bootstrap(&shell_job("exit 0", &dir.join("a"), &keys));
    let later = SimulatedJob::bootstrap(&shell_job("sleep 1.2", &dir.join("b"), &keys));
    for job in [&at_once, &later] {
        wait_until("five starts", SOON, || job.runs().len() >= 5);
    }
    for pair in at_once.runs().windows(2) {
        assert!(pair[1].started - pair[0].started >= Duration::from_secs(1));
    }
    // a job that ran longer than the interval is started again at once; counted from its end, the interval would add 1 s
    let runs = later.runs();
    let mut between = runs
        .windows(2)
        .map(|pair| pair[1].started - pair[0].started);
    assert!(between.any(|between| between < Duration::from_millis(2200)));
}

#[test]
fn a_stop_kills_after_five_seconds_or_the_exit_timeout_of_the_plist() {
    let dir = TempDir::new();
    let script = "trap '' TERM; echo ready >&2; while :; do sleep 0.1; done";
    let booted_out = |name: &str, keys: &[(&str, plist::Value)]| {
        let log = dir.join(name);
        let job = SimulatedJob::bootstrap(&shell_job(script, &log, keys));
        wait_until("it ignores SIGTERM", SOON, || !lines(&log).is_empty());
        let began = std::time::Instant::now();
        (job.bootout(), began.elapsed())
    };
    let (end, by_default) = booted_out("default", &[]);
    assert_eq!(end, End::Killed);
    assert!(by_default >= Duration::from_secs(5), "{by_default:?}");
    let (end, as_set) = booted_out("set", &[("ExitTimeOut", 1.into())]);
    assert_eq!(end, End::Killed);
    assert!(as_set >= Duration::from_secs(1), "{as_set:?}");
    assert!(as_set < by_default, "{as_set:?}");
}

#[test]
fn the_process_group_of_a_job_ends_with_it_and_other_sessions_do_not() {
    let dir = TempDir::new();
    let log = dir.join("log");
    let script = "sleep 1000 & echo $! >&2; setsid sh -c 'echo $$ >&2; exec sleep 1000' & wait";
    let job = SimulatedJob::bootstrap(&shell_job(script, &log, &[]));
    let pids: Vec<i32> = wait_for("both pids", SOON, || {
        let pids: Vec<i32> = lines(&log)
            .iter()
            .filter_map(|line| line.parse().ok())
            .collect();
        (pids.len() == 2).then_some(pids)
    });
    assert_eq!(job.bootout(), End::Orderly);
    let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_alive = |pid: i32| comm(pid).contains("(sleep)") && !comm(pid).contains(") Z ");
    let (own, other): (Vec<i32>, Vec<i32>) = pids
        .iter()
        .partition(|pid| comm(**pid).split(' ').nth(5) != Some(&pid.to_string()));
    assert_eq!(other.len(), 1, "one leads a session of its own");
    assert!(is_alive(other[0]));
    for pid in own {
        wait_until("the group's member has ended", SOON, || !is_alive(pid));
    }
    let left = stayd::sys::process::stat(other[0]).expect("it lives");
    let left = stayd::sys::process::Handle::open(left.process).expect("it lives");
    left.signal(libc::SIGKILL).expect("ours");
}

#[test]
fn a_log_that_cannot_be_opened_keeps_the_program_from_running() {
    let dir = TempDir::new();
    let touched = dir.join("ran");
    let script = format!("touch {}", touched.display());
    let job = SimulatedJob::bootstrap(&shell_job(&script, &dir.join("no/such/folder"), &[]));
    wait_until("a start was tried", SOON, || !job.runs().is_empty());
    assert_eq!(job.pid(), None);
    assert_eq!(job.bootout(), End::NotRunning);
    assert!(!touched.exists());
}
