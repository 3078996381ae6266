//! stayd is killed and the next one finds what it has left: adopted, replaced, ended, or left alone and named.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{alone, free_port, http_get, victim, wait_until};
use serde_json::Value;
use stayd::sys::{process, reaper};
use std::fs;
use std::time::{Duration, Instant};

pub(super) fn service(words: &str, more: &str) -> String {
    let mut argv = vec![victim().display().to_string()];
    argv.extend(words.split(' ').map(str::to_owned));
    let argv = serde_json::to_string(&argv).expect("JSON is TOML here");
    format!(
        "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"10ms\" }}\nstop = {{ grace = \"300ms\" }}\n{more}\n[service.s.log]\nto = \"file\"\n"
    )
}

fn watched(port: u16) -> String {
    format!(
        "port = {port}\n[service.s.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\nbusy_grace = \"0s\""
    )
}

pub(super) fn pid(service: &Value) -> i32 {
    i32::try_from(service["pid"].as_i64().expect("a pid")).expect("a pid")
}

pub(super) fn kill(pid: i32) {
    let signal = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("kill");
}

/// The first life of `config`, adopted by a second stayd: that, and its pid.
fn adopted(config: &str) -> (Stayd, i32) {
    let first = Stayd::start(config);
    let left = pid(&first.wait_state("s", "running"));
    let second = first.killed_and_again();
    let found = second.wait_state("s", "running");
    assert_eq!(pid(&found), left, "{}", second.said());
    assert_eq!(
        (&found["ownership"], &found["life"]),
        (&"adopted".into(), &1.into())
    );
    (second, left)
}

#[test]
fn item_52_what_a_killed_stayd_has_left_goes_on_and_is_killed_when_it_is_wedged() {
    let port = free_port();
    let (second, left) = adopted(&service(&format!("serve {port}"), &watched(port)));
    assert_eq!(second.count("started"), 1, "no second copy");
    assert_eq!(second.count("adopted"), 1);
    let _ = http_get(port, "/wedge");
    let next = second.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
    assert_eq!(next["ownership"], "spawned");
    assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
}

#[test]
fn item_49_how_an_adopted_process_ended_is_told_by_the_kernel() {
    let (second, left) = adopted(&service("sleep", ""));
    kill(left);
    let next = second.wait_service("s", "its next life", |service| service["life"] == 2);
    assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
}

/// A zombie holds no port and no lock, and an init that looks after its orphans late, or never, is not waited for.
#[test]
fn item_49_an_adopted_process_that_nobody_reaps_has_ended() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper"); // and it reaps nobody
        let (second, left) = adopted(&service("only lives sleep", "cwd = \"DIR\""));
        kill(left);
        let clock = Instant::now();
        let next = second.wait_service("s", "its next life", |service| {
            service["state"] == "running" && service["life"] == 2
        });
        let took = clock.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}: {}", second.said());
        assert_eq!(next["last_exit"]["signal"], "KILL", "{next}");
        let stat = process::stat(left).expect("nobody has reaped it");
        assert_eq!(stat.state, process::State::Zombie);
        let lives = fs::read_to_string(second.dir().join("lives")).expect("its lives");
        assert_eq!(lives, "a life\na life\n", "one after the other");
    });
}

#[test]
fn an_ordered_end_leaves_no_descendant_of_an_adopted_life() {
    let words = "ignore-term setsid ignore-term setsid ignore-term sleep";
    let (mut second, left) = adopted(&service(words, ""));
    let tree = descendants(left);
    assert_eq!(tree.len(), 2, "{tree:?}");
    assert_eq!(second.stop().code(), Some(0));
    assert!(!is_alive(left));
    assert!(!tree.into_iter().any(is_alive));
}

fn descendants(pid: i32) -> Vec<i32> {
    let mut found = process::children(pid).expect("its children");
    let below: Vec<i32> = found.iter().flat_map(|&child| descendants(child)).collect();
    found.extend(below);
    found
}

#[test]
fn what_a_dead_main_process_left_is_ended_before_anything_begins() {
    let mut first = Stayd::start(&service("setsid sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    let child = wait_for_child(left);
    first.signal(libc::SIGKILL);
    first.wait();
    kill(left);
    wait_until("the main process has gone", SOON, || !is_alive(left));
    assert!(is_alive(child));
    let second = first.again();
    let next = second.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(child), "{}", second.said());
    assert_eq!(
        next["last_exit"]["code"],
        Value::Null,
        "never taken for clean"
    );
}

pub(super) fn wait_for_child(pid: i32) -> i32 {
    let mut child = None;
    wait_until("it has a child", SOON, || {
        child = descendants(pid).first().copied();
        child.is_some()
    });
    child.expect("a child")
}

#[test]
fn item_57_another_command_replaces_what_is_left_in_order() {
    let first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(&service("children 0 sleep", ""));
    let second = first.killed_and_again();
    let next = second.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
    assert_ne!(pid(&next), left);
    assert_eq!(next["ownership"], "spawned");
}

#[test]
fn item_57_another_environment_is_adopted_and_named_and_a_restart_applies_it() {
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
    let second = first.killed_and_again();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
    let said = "it still runs with the former environment and working folder: `stayd restart s`";
    let reason = found["reason"].as_str().expect("text");
    assert!(reason.contains(said), "{reason}");
    let events = second.events();
    let told = events
        .iter()
        .any(|event| event["kind"] == "adopted" && event["message"].to_string().contains(said));
    assert!(told, "{events:?}");
    let claim = fs::read_to_string(claim).expect("a claim");
    assert!(!claim.contains(SECRET), "a hash, never the value");

    assert_eq!(second.client(&["restart", "s"]).code, Some(0));
    let next = second.service("s");
    assert_ne!(pid(&next), left);
    assert!(!next["reason"].to_string().contains("former"), "{next}");
}

#[test]
fn leftover_replace_ends_what_is_left_and_begins_anew() {
    let first = Stayd::start(&service("sleep", "leftover = \"replace\""));
    let left = pid(&first.wait_state("s", "running"));
    let second = first.killed_and_again();
    second.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
}

#[test]
fn what_was_to_be_stopped_is_stopped_by_the_next_stayd() {
    let first = Stayd::start(&service("ignore-term sleep", "").replace("300ms", "60s"));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(&service("ignore-term sleep", ""));
    std::thread::scope(|scope| {
        scope.spawn(|| first.client(&["stop", "s"])); // returns when stayd has gone
        first.wait_state("s", "stopping");
        // asking it makes the journal's thread write what it has
        assert_eq!(first.count("wished"), 1);
        first.signal(libc::SIGKILL);
    });
    let second = first.killed_and_again();
    second.wait_state("s", "stopped");
    assert!(!is_alive(left));
}

/// The claim's checksum, number and birth are right, and it is somebody else's process all the same.
#[test]
fn a_claim_that_names_a_stranger_with_the_right_birth_touches_nobody() {
    let mut first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.signal(libc::SIGKILL);
    first.wait();
    let mut stranger = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("a stranger");
    let named = i32::try_from(stranger.id()).expect("a pid");
    let start_time = process::stat(named).expect("it lives").process.start_time;
    forge(&first, |claim| {
        claim["pid"] = named.into();
        claim["birth"] = start_time.into();
        claim["first"] = serde_json::json!({ "pid": named, "birth": start_time });
    });
    kill(left);
    wait_until("the first life has gone", SOON, || !is_alive(left));
    let second = first.again();
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains(&format!("pid {named}")) && reason.contains("no mark"),
        "{reason}"
    );
    assert_eq!(second.count("started"), 1, "only the first life");
    assert!(
        stranger.try_wait().expect("wait").is_none(),
        "it is left alone"
    );
    stranger.kill().expect("its own parent");
    stranger.wait().expect("reaped");
    second.wait_state("s", "running");
}

/// Changes the claim, and seals it as stayd does.
pub(super) fn forge(daemon: &Stayd, change: impl FnOnce(&mut Value)) {
    let path = daemon.state_dir().join("claims/s.json");
    let text = fs::read_to_string(&path).expect("the claim");
    let mut claim: Value = serde_json::from_str(&text).expect("JSON");
    claim.as_object_mut().expect("an object").remove("checksum");
    change(&mut claim);
    let body = claim.to_string();
    let body = body.strip_suffix('}').expect("an object");
    let seal = body.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    fs::write(&path, format!("{body},\"checksum\":\"{seal:016x}\"}}\n")).expect("forged");
}

#[test]
fn a_restart_that_was_cut_short_is_carried_on() {
    let first = Stayd::start(&service("ignore-term sleep", "").replace("300ms", "60s"));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(&service("ignore-term sleep", ""));
    std::thread::scope(|scope| {
        scope.spawn(|| first.client(&["restart", "s"])); // returns when stayd has gone
        first.wait_state("s", "stopping");
        first.signal(libc::SIGKILL);
    });
    let second = first.killed_and_again();
    second.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(left));
}

/// A copy of the state folder has the claims of another instance, whose tokens are right.
#[test]
fn item_60_a_copied_claim_moves_nobody() {
    let owner = Stayd::start(&service("sleep", ""));
    let theirs = pid(&owner.wait_state("s", "running"));
    let mut copier = Stayd::start(&service("sleep", ""));
    let own = pid(&copier.wait_state("s", "running"));
    copier.signal(libc::SIGKILL);
    copier.wait();
    kill(own);
    wait_until("its own life has gone", SOON, || !is_alive(own));
    let claim = |daemon: &Stayd| daemon.state_dir().join("claims/s.json");
    fs::copy(claim(&owner), claim(&copier)).expect("copied");
    let mut next = copier.again();
    let blocked = next.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains(&format!("pid {theirs}")), "{reason}");
    next.stop();
    assert_eq!(pid(&owner.wait_state("s", "running")), theirs);
}

/// stayd dies between the fork and the claim's completion: the claim names nobody.
#[test]
fn a_life_whose_claim_names_nobody_yet_is_found_by_its_token() {
    let mut first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.signal(libc::SIGKILL);
    first.wait();
    forge(&first, |claim| {
        for key in ["pid", "birth", "first", "uid", "started_at"] {
            claim[key] = Value::Null;
        }
    });
    let second = first.again();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
}

/// Its child leads a session too, and inherits all that marks the life but the number.
#[test]
fn a_child_is_not_taken_for_the_main_process_that_the_claim_does_not_name() {
    let mut first = Stayd::start(&service("setsid sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    let child = wait_for_child(left);
    first.signal(libc::SIGKILL);
    first.wait();
    forge(&first, |claim| {
        for key in ["pid", "birth", "first", "uid", "started_at"] {
            claim[key] = Value::Null;
        }
    });
    kill(left);
    wait_until("the main process has gone", SOON, || !is_alive(left));
    let second = first.again();
    second.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert!(!is_alive(child), "{}", second.said());
}

#[test]
fn no_line_is_lost_over_the_death_of_stayd() {
    let script =
        "import sys,time\nn=0\nwhile True:\n  n+=1\n  print(n,flush=True)\n  time.sleep(0.002)";
    let argv = serde_json::to_string(&["python3", "-c", script]).expect("JSON is TOML here");
    let config = format!("[service.s]\ncommand = {argv}\n[service.s.log]\nto = \"file\"\n");
    let mut daemon = Stayd::start(&config);
    let left = pid(&daemon.wait_state("s", "running"));
    for _ in 0..5 {
        daemon = daemon.killed_and_again();
        let found = daemon.wait_state("s", "running");
        assert_eq!(pid(&found), left, "{}", daemon.said());
        let before = lines(&daemon).len();
        wait_until("it goes on writing", SOON, || {
            lines(&daemon).len() > before + 20
        });
    }
    let lines = lines(&daemon);
    let expected: Vec<String> = (1..=lines.len()).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected);
}

/// Whole lines of the service's log.
fn lines(daemon: &Stayd) -> Vec<String> {
    let text =
        fs::read_to_string(daemon.state_dir().join("logs/s/current.log")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::to_owned).collect()
}
