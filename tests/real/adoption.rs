//! stayd is killed while its services run; the next one adopts, replaces or ends them, or leaves them alone and reports
//! them.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{descendants, forge, kill, pid, service, wait_for_child};
use super::support::watchdog::watched_service;
use super::support::{alone, free_port, http_get, wait_until};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use stayd::sys::{process, reaper};
use std::fs;
use std::os::unix::process::CommandExt as _;

fn watched(port: u16) -> String {
    format!(
        "port = {port}\n[service.s.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\nbusy_grace = \"0s\""
    )
}

/// A second stayd that has adopted the first instance of `config`, and the instance's pid.
fn adopted(config: &str) -> (Stayd, i32) {
    let first = Stayd::start(config);
    let left = pid(&first.wait_state("s", "running"));
    let second = first.kill_and_restart();
    let found = second.wait_state("s", "running");
    assert_eq!(pid(&found), left, "{}", second.output());
    assert_eq!(
        (&found["ownership"], &found["life"]),
        (&"adopted".into(), &1.into())
    );
    (second, left)
}

#[test]
fn an_adopted_service_runs_on_and_is_killed_when_it_is_wedged() {
    let port = free_port();
    let (second, left) = adopted(&service(&format!("serve {port}"), &watched(port)));
    assert_eq!(second.count("started"), 1, "no second copy");
    assert_eq!(second.count("adopted"), 1);
    let _ = http_get(port, "/wedge");
    let next = second.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
    assert_eq!(next["ownership"], "spawned");
    assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
}

#[test]
fn the_exit_status_of_an_adopted_process_is_known() {
    let (second, left) = adopted(&service("sleep", ""));
    kill(left);
    let next = second.wait_service("s", "its next instance", |service| service["life"] == 2);
    assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
}

/// A zombie holds no port and no lock: stayd does not wait until init reaps it.
#[test]
fn an_adopted_process_that_init_does_not_reap_counts_as_ended() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper"); // this process acts as an init that reaps nothing
        let (second, left) = adopted(&service("detect-copies starts sleep", "cwd = \"DIR\""));
        kill(left);
        let next = second.wait_service("s", "its next instance", |service| {
            service["state"] == "running" && service["life"] == 2
        });
        assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
        let stat = process::stat(left).expect("it is not reaped");
        assert_eq!(stat.state, process::State::Zombie);
        let starts = fs::read_to_string(second.dir().join("starts")).expect("its file");
        assert_eq!(starts, "started\nstarted\n", "one after the other");
    });
}

#[test]
fn an_ordered_stop_leaves_no_descendant_of_an_adopted_service() {
    let words = "ignore-term setsid ignore-term setsid ignore-term sleep";
    let (mut second, left) = adopted(&service(words, ""));
    let tree = descendants(left);
    assert_eq!(tree.len(), 2, "{tree:?}");
    assert_eq!(second.stop().code(), Some(0));
    assert!(!is_alive(left));
    assert!(!tree.into_iter().any(is_alive));
}

#[test]
fn children_of_a_dead_main_process_are_ended_before_the_next_instance_starts() {
    let mut first = Stayd::start(&service("setsid sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    let child = wait_for_child(left);
    first.kill();
    kill(left);
    wait_until("the main process has ended", SOON, || !is_alive(left));
    assert!(is_alive(child));
    let second = first.restart();
    let next = second.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(child), "{}", second.output());
    assert_eq!(
        next["last_exit"]["code"],
        Value::Null,
        "an unknown exit is never taken for a clean one"
    );
}

#[test]
fn a_changed_command_replaces_the_running_instance() {
    let first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(&service("children 0 sleep", ""));
    let second = first.kill_and_restart();
    let next = second.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
    assert_ne!(pid(&next), left);
    assert_eq!(next["ownership"], "spawned");
}

#[test]
fn a_changed_environment_is_reported_and_a_restart_applies_it() {
    const SECRET: &str = "hunter2-of-the-first";
    let first = Stayd::start(&service(
        "sleep",
        &format!("env = {{ PASSWORD = '{SECRET}' }}"),
    ));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(&service(
        "sleep",
        "env = { PASSWORD = 'another' }\ncwd = '/'",
    ));
    let claim = first.state_dir().join("claims/s.json");
    let second = first.kill_and_restart();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
    let said = "it still runs with the former environment and working folder: `stayd restart s`";
    let reason = found["reason"].as_str().expect("text");
    assert!(reason.contains(said), "{reason}");
    let events = second.events();
    let is_reported = events
        .iter()
        .any(|event| event["kind"] == "adopted" && event["message"].to_string().contains(said));
    assert!(is_reported, "{events:?}");
    let claim = fs::read_to_string(claim).expect("a claim");
    assert!(
        !claim.contains(SECRET),
        "the claim has a hash, never the value"
    );

    assert_eq!(second.client(&["restart", "s"]).code, Some(0));
    let next = second.service("s");
    assert_ne!(pid(&next), left);
    assert!(!next["reason"].to_string().contains("former"), "{next}");
}

#[test]
fn leftover_replace_ends_the_running_instance_and_starts_another() {
    let first = Stayd::start(&service("sleep", "leftover = \"replace\""));
    let left = pid(&first.wait_state("s", "running"));
    let second = first.kill_and_restart();
    second.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
}

#[test]
fn a_stop_in_progress_is_completed_by_the_next_stayd() {
    let first = Stayd::start(&service("ignore-term sleep", "").replace("300ms", "60s"));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(&service("ignore-term sleep", ""));
    std::thread::scope(|scope| {
        scope.spawn(|| first.client(&["stop", "s"])); // returns when stayd is killed
        first.wait_state("s", "stopping");
        // the query makes the journal thread write its queue
        assert_eq!(first.count("wished"), 1);
        first.signal(libc::SIGKILL);
    });
    let second = first.kill_and_restart();
    second.wait_state("s", "stopped");
    assert!(!is_alive(left));
}

/// The claim's checksum, pid and start time are right, but the process is foreign.
#[test]
fn a_foreign_process_named_by_a_claim_is_left_alone() {
    let mut first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.kill();
    let mut foreign = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("a foreign process");
    let named = i32::try_from(foreign.id()).expect("a pid");
    let start_time = process::stat(named).expect("it lives").process.start_time;
    forge(&first, |claim| {
        claim["pid"] = named.into();
        claim["birth"] = start_time.into();
        claim["first"] = serde_json::json!({ "pid": named, "birth": start_time });
    });
    kill(left);
    wait_until("the first instance has ended", SOON, || !is_alive(left));
    let second = first.restart();
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains(&format!("pid {named}")) && reason.contains("no evidence"),
        "{reason}"
    );
    // The kill may have come before the disk had the record of the first instance.
    assert!(second.count("started") <= 1, "only the first instance");
    assert!(
        foreign.try_wait().expect("wait").is_none(),
        "it is left alone"
    );
    foreign.kill().expect("its own parent");
    foreign.wait().expect("reaped");
    second.wait_state("s", "running");
}

#[test]
fn a_restart_in_progress_is_completed_by_the_next_stayd() {
    let first = Stayd::start(&service("ignore-term sleep", "").replace("300ms", "60s"));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(&service("ignore-term sleep", ""));
    std::thread::scope(|scope| {
        scope.spawn(|| first.client(&["restart", "s"])); // returns when stayd is killed
        first.wait_state("s", "stopping");
        first.signal(libc::SIGKILL);
    });
    let second = first.kill_and_restart();
    second.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
}

/// In a copy of the state folder the claims name processes of the original stayd, with the right tokens.
#[test]
fn a_copied_claim_gives_no_right_to_its_process() {
    let owner = Stayd::start(&service("sleep", ""));
    let theirs = pid(&owner.wait_state("s", "running"));
    let mut copier = Stayd::start(&service("sleep", ""));
    let own = pid(&copier.wait_state("s", "running"));
    copier.kill();
    kill(own);
    wait_until("its own instance has ended", SOON, || !is_alive(own));
    let claim = |daemon: &Stayd| daemon.state_dir().join("claims/s.json");
    fs::copy(claim(&owner), claim(&copier)).expect("copied");
    let mut next = copier.restart();
    let blocked = next.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains(&format!("pid {theirs}")), "{reason}");
    next.stop();
    assert_eq!(pid(&owner.wait_state("s", "running")), theirs);
}

/// stayd dies between the fork and the completion of the claim: the claim names no process.
#[test]
fn an_instance_whose_claim_names_no_process_is_found_by_its_token() {
    let mut first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.kill();
    forge(&first, |claim| {
        for key in ["pid", "birth", "first", "uid", "started_at"] {
            claim[key] = Value::Null;
        }
    });
    let second = first.restart();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
}

/// The child leads a session too, and inherits all ownership evidence except the pid.
#[test]
fn a_child_is_not_taken_for_the_main_process_where_the_claim_names_none() {
    let mut first = Stayd::start(&service("setsid sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    let child = wait_for_child(left);
    first.kill();
    forge(&first, |claim| {
        for key in ["pid", "birth", "first", "uid", "started_at"] {
            claim[key] = Value::Null;
        }
    });
    kill(left);
    wait_until("the main process has ended", SOON, || !is_alive(left));
    let second = first.restart();
    second.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(child), "{}", second.output());
}

#[test]
fn no_output_line_is_lost_when_stayd_is_killed() {
    let script =
        "import sys,time\nn=0\nwhile True:\n  n+=1\n  print(n,flush=True)\n  time.sleep(0.002)";
    let argv = serde_json::to_string(&["python3", "-c", script]).expect("JSON is TOML here");
    let config = format!("[service.s]\ncommand = {argv}\n[service.s.log]\nto = \"file\"\n");
    let mut daemon = Stayd::start(&config);
    let left = pid(&daemon.wait_state("s", "running"));
    for _ in 0..5 {
        daemon = daemon.kill_and_restart();
        let found = daemon.wait_state("s", "running");
        assert_eq!(pid(&found), left, "{}", daemon.output());
        let before = lines(&daemon).len();
        wait_until("it continues to write", SOON, || {
            lines(&daemon).len() > before + 20
        });
    }
    let lines = lines(&daemon);
    let expected: Vec<String> = (1..=lines.len()).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected);
}

/// The complete lines of the service's log.
fn lines(daemon: &Stayd) -> Vec<String> {
    let text =
        fs::read_to_string(daemon.state_dir().join("logs/s/current.log")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::to_owned).collect()
}

/// launchd signals the process group of a job that ended, unless AbandonProcessGroup is set (launchd.plist(5)).
#[test]
fn a_kill_of_the_process_group_of_a_dead_stayd_does_not_reach_its_services() {
    let mut first = Stayd::start_with(&service("children 1 sleep", ""), |command| {
        command.process_group(0);
    });
    let left = pid(&first.wait_state("s", "running"));
    let group = Pid::from_raw(first.pid());
    first.signal(libc::SIGKILL);
    assert!(!first.wait().success());
    let result = killpg(group, Signal::SIGKILL);
    assert_eq!(result, Err(nix::errno::Errno::ESRCH), "the group is empty");
    let second = first.restart();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
}

/// Without the record of its readiness it would have the startup budget of a minute once more.
#[test]
fn a_service_that_wedges_while_no_stayd_runs_is_replaced_at_once() {
    let port = free_port();
    let mut daemon = Stayd::start(&watched_service("s", port, "", ""));
    let before = pid(&daemon.wait_state("s", "running"));
    daemon.kill();
    http_get(port, "/wedge").expect("the wedge");
    let daemon = daemon.restart();
    wait_until("the wedged service is killed", SOON, || !is_alive(before));
    daemon.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
}

/// The exits of its children are reported to the init of the machine, not to the stayd that has adopted it.
#[test]
fn a_stop_of_an_adopted_service_ends_with_its_last_process() {
    let config = "[service.s]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & sleep 1000 & wait\"]\nstop = { grace = \"25s\" }\n";
    let first = Stayd::start(config);
    let main = pid(&first.wait_state("s", "running"));
    wait_until("it has its children", SOON, || descendants(main).len() == 2);
    let daemon = first.kill_and_restart();
    daemon.wait_state("s", "running");
    let stopped = daemon.client(&["stop", "s"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
}
