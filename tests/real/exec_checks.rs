//! `exec:` probes that hang and fork: one runs at a time, they count as dead, and nothing of them is left.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::{TreeFixture, wait_until};
use std::fs;

#[test]
fn a_check_that_hangs_and_forks_runs_once_at_a_time_and_counts_as_dead() {
    let check = "if test -e DIR/hang; then echo $$ >> DIR/checks; sleep 76543 & sleep 76543; fi";
    let check = format!("sh -c '{check}'");
    let config = format!(
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nbackoff = {{ min = \"10ms\" }}\n[service.s.watchdog]\nprobe = {}\ninterval = \"500ms\"\ntimeout = \"500ms\"\nfailures = 3\nbusy_grace = \"0s\"\n",
        serde_json::to_string(&format!("exec:{check}")).expect("JSON is TOML here")
    );
    let daemon = Stayd::start(&config);
    let before = daemon.wait_service("s", "answered once", |service| {
        service["state"] == "running" && service["probes"][0]["class"] == "alive"
    });
    fs::write(daemon.dir().join("hang"), "").expect("a file");
    let checks = || -> Vec<i32> {
        let said = fs::read_to_string(daemon.dir().join("checks")).unwrap_or_default();
        said.lines().filter_map(|line| line.parse().ok()).collect()
    };
    wait_until("the service is killed", SOON, || {
        let alive = checks().into_iter().filter(|&check| is_alive(check));
        assert!(alive.count() <= 1, "more than one check at a time");
        !is_alive(pid(&before))
    });
    fs::remove_file(daemon.dir().join("hang")).expect("removed");
    daemon.wait_service("s", "alive again", |service| {
        service["probes"][0]["class"] == "alive" && service["state"] == "running"
    });
    let asked = checks();
    assert!(asked.len() >= 3, "{asked:?}");
    wait_until("nothing of the checks is left", SOON, || {
        !asked
            .iter()
            .any(|&check| is_alive(check) || session_lives(check))
    });
}

#[test]
fn an_ordered_stop_leaves_no_process_of_a_running_check() {
    let fixture = TreeFixture::new();
    let stray = ["setsid children 2 sleep", "double-fork close-fds sleep"]
        .map(|words| format!("{} {words} & ", fixture.program.display()));
    let check = format!(
        "sh -c '{} echo x >> DIR/asked; wait; sleep 76540'",
        stray.concat()
    );
    let table = |name: usize| {
        format!(
            "[service.s{name}]\ncommand = [\"sleep\", \"1000000\"]\nstop = {{ grace = \"200ms\" }}\n[service.s{name}.watchdog]\nprobe = {}\ninterval = \"600s\"\ntimeout = \"600s\"\n",
            serde_json::to_string(&format!("exec:{check}")).expect("JSON is TOML here")
        )
    };
    let mut daemon = Stayd::start(&(0..6).map(table).collect::<String>());
    let asked = daemon.dir().join("asked");
    wait_until("all are asked", SOON, || {
        fs::read_to_string(&asked).is_ok_and(|said| said.lines().count() == 6)
    });
    wait_until("their processes run", SOON, || {
        fixture.alive().len() >= 6 * 4
    });
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.output());
    assert_eq!(fixture.alive(), Vec::<i32>::new(), "{}", daemon.output());
}

/// Whether any process of this session exists.
fn session_lives(leader: i32) -> bool {
    let pids = stayd::sys::process::all().expect("/proc");
    pids.into_iter()
        .filter_map(|pid| stayd::sys::process::stat(pid).ok())
        .any(|stat| stat.sid == leader)
}
