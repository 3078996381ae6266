//! A service with many processes costs the loop nothing: its thread reads none of them.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{test_service, wait_until};
use std::fs;
use std::time::Duration;

/// The processes that become children of stayd, because the process that has started them ends.
const ORPHANS: usize = 1_000;
/// The attempts during which the CPU time of the loop's thread is measured. Each takes about a second.
const ATTEMPTS: usize = 5;
/// The most CPU time of the loop's thread for one of them: 5 ms were seen, and 180 where it reads the orphans.
const CPU_MAX: Duration = Duration::from_millis(60);

/// The CPU time of the first thread of stayd, on which the loop runs (proc(5), schedstat).
pub(super) fn cpu_of_loop(stayd: &Stayd) -> Duration {
    let pid = stayd.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).expect("figures");
    let nanoseconds = text.split(' ').next().and_then(|one| one.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

#[test]
fn a_service_with_a_thousand_orphans_costs_the_loop_no_time_and_is_ended_as_a_whole() {
    let leave = format!("{} children {ORPHANS} exit 0", test_service().display());
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = [\"sh\", \"-c\", \"{leave}; touch DIR/left; exec sleep 1000000\"]\n\
         stop = {{ grace = \"300ms\" }}\n\
         [service.other]\ncommand = [\"sleep\", \"1000000\"]\n\
         [service.other.watchdog]\nprobe = \"exec:sh -c 'echo >>DIR/attempts; exec sleep 0.6'\"\n\
         interval = \"1s\"\ntimeout = \"1s\"\nmode = \"shadow\"\n"
    ));
    let (left, attempts) = (daemon.dir().join("left"), daemon.dir().join("attempts"));
    wait_until("all orphans run", SOON, || left.exists());
    let children = || {
        let pid = daemon.pid();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        let lists =
            tasks.map(|task| fs::read_to_string(task.expect("one").path().join("children")));
        let all: String = lists.flatten().collect();
        all.split_whitespace()
            .map(|pid| pid.parse().expect("a pid"))
            .collect::<Vec<i32>>()
    };
    let orphans = children();
    assert!(orphans.len() >= ORPHANS, "{}", orphans.len());

    let made = || {
        fs::read_to_string(&attempts)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let wait_for_attempts = |count: usize| wait_until("attempts", SOON, || made() >= count);
    let begin = made() + 1;
    wait_for_attempts(begin);
    let before = cpu_of_loop(&daemon);
    wait_for_attempts(begin + ATTEMPTS);
    let used = cpu_of_loop(&daemon) - before;
    let most = CPU_MAX * u32::try_from(ATTEMPTS).expect("few");
    assert!(used < most, "{used:?} of {most:?}");

    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let other = daemon.service("other")["pid"].as_i64();
    let is_left = |pid: &i32| is_alive(*pid) && Some(i64::from(*pid)) != other;
    wait_until("all have ended", SOON, || {
        !children()
            .iter()
            .any(|pid| orphans.contains(pid) && is_left(pid))
    });
}
