//! Services that run from a copy: which one, and what becomes of it when things go wrong.

use super::support::TempDir;
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::wait_until;
use serde_json::Value;
use stayd::act::failpoint::Failpoint;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The daemon's folder holds the source as `app`.
const CONFIG: &str = "[service.s]\ncommand = [\"server\"]\nbackoff = { min = \"10ms\", stable_after = \"1s\" }\nstop = { grace = \"100ms\" }\ngive_up = { exits = 3 }\n\
    env = { DONE = \"DIR/done\" }\n[service.s.runtime]\nsource = \"DIR/source/app\"\nprogram = \"bin/server\"\nkeep = 1\n";

/// A source that lives as long as the test, beside whatever stayd it is of.
pub(super) struct Source(TempDir);

impl Source {
    pub(super) fn new() -> Self {
        let source = Self(TempDir::new());
        fs::create_dir_all(source.path().join("bin")).expect("a source");
        source.put("exec sleep 1000000", "one");
        source
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.join("app")
    }

    /// Another version, as an updater puts it there.
    pub(super) fn put(&self, script: &str, version: &str) {
        let new = self.path().join("server.new");
        let text = format!("#!/bin/sh\necho {version} > $DONE\n{script}\n");
        fs::write(&new, text).expect("written");
        fs::set_permissions(&new, Permissions::from_mode(0o755)).expect("set");
        fs::rename(new, self.path().join("bin/server")).expect("in its place");
    }

    pub(super) fn config(&self) -> String {
        CONFIG.replace("DIR/source/app", &self.path().display().to_string())
    }
}

/// Waits for the version that runs: it says so into the file `done`.
pub(super) fn wait_version(daemon: &Stayd, version: &str) {
    wait_until(version, SOON, || {
        fs::read_to_string(daemon.dir().join("done")).is_ok_and(|text| text.trim() == version)
    });
}

pub(super) fn runtime_of(daemon: &Stayd) -> PathBuf {
    let service = daemon.wait_state("s", "running");
    service["runtime"]["path"]
        .as_str()
        .expect("a runtime")
        .into()
}

pub(super) fn restart(daemon: &Stayd) {
    let answer = daemon.client(&["restart", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

fn runtimes(state: &Path) -> usize {
    let names = fs::read_dir(state.join("runtime")).expect("the cache");
    let is_one = |name: &str| !name.starts_with('.') && !name.ends_with(".list");
    names
        .filter(|entry| is_one(&entry.as_ref().expect("entry").file_name().to_string_lossy()))
        .count()
}

#[test]
fn item_62_an_update_in_place_touches_nothing_that_runs_and_a_restart_picks_it_up() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let (runs, old) = (pid(&daemon.wait_state("s", "running")), runtime_of(&daemon));
    let before = fs::read(old.join("bin/server")).expect("read");
    source.put("exec sleep 1000000", "two");
    assert!(is_alive(runs));
    assert_eq!(fs::read(old.join("bin/server")).expect("read"), before);
    restart(&daemon);
    wait_version(&daemon, "two");
    assert_ne!(runtime_of(&daemon), old);
}

#[test]
fn item_64_a_copy_that_was_changed_behind_our_back_is_made_anew_before_it_is_run() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let runtime = runtime_of(&daemon);
    fs::write(
        runtime.join("bin/server"),
        "#!/bin/sh\necho evil > $DONE\nsleep 9\n",
    )
    .expect("changed");
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), runtime);
    assert!(
        daemon
            .output()
            .contains("changed behind our back (bin/server)"),
        "{}",
        daemon.output()
    );
}

#[test]
fn item_64_without_its_source_a_changed_copy_is_refused() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let runtime = runtime_of(&daemon);
    fs::rename(source.path(), source.0.join("away")).expect("moved");
    fs::write(
        runtime.join("bin/server"),
        "#!/bin/sh\necho evil > $DONE\nsleep 9\n",
    )
    .expect("changed");
    let _refused = daemon.client(&["restart", "s", "--no-wait"]);
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains("No such file"), "{reason}");
    fs::rename(source.0.join("away"), source.path()).expect("back");
    wait_version(&daemon, "one");
}

#[test]
fn item_65_a_runtime_that_a_process_uses_is_never_collected() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let old = runtime_of(&daemon);
    let mut user = Command::new("sleep")
        .arg("1000000")
        .current_dir(&old)
        .stdin(Stdio::null())
        .spawn()
        .expect("a process");
    for version in ["two", "three"] {
        source.put("exec sleep 1000000", version);
        restart(&daemon);
        wait_version(&daemon, version);
        daemon.wait_state("s", "running");
    }
    assert!(old.join("bin/server").exists(), "{}", daemon.output());
    user.kill().expect("killed");
    user.wait().expect("reaped");
    source.put("exec sleep 1000000", "four");
    restart(&daemon);
    wait_version(&daemon, "four");
    wait_until("the old ones go", SOON, || {
        !old.exists() && runtimes(&daemon.state_dir()) <= 2
    });
}

#[test]
fn item_67_a_new_runtime_that_crashes_at_start_is_rolled_back_and_tried_again_when_it_changes() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let old = runtime_of(&daemon);
    let record = daemon.state_dir().join("runtime/.services/s.json");
    wait_until("the first one is good", SOON, || {
        let text = fs::read(&record).expect("a record");
        let record: Value = serde_json::from_slice(&text).expect("JSON");
        record["good"][0] == old.file_name().expect("a name").to_str().expect("text")
    });
    source.put("exit 3", "two");
    let _fails = daemon.client(&["restart", "s", "--no-wait"]);
    wait_until("rolled back", SOON, || daemon.count("rolled-back") == 1);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), old);
    assert!(
        daemon.output().contains("rolled back to the runtime"),
        "{}",
        daemon.output()
    );
    // the next stayd knows it too
    let daemon = daemon.kill_and_restart();
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), old);
    source.put("exec sleep 1000000", "three");
    restart(&daemon);
    wait_version(&daemon, "three");
}

#[test]
fn item_57_a_life_that_runs_from_an_older_source_is_adopted_and_its_runtime_kept() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let (runs, old) = (pid(&daemon.wait_state("s", "running")), runtime_of(&daemon));
    source.put("exec sleep 1000000", "two");
    let daemon = daemon.kill_and_restart();
    assert_eq!(pid(&daemon.wait_state("s", "running")), runs);
    assert_eq!(runtime_of(&daemon), old);
    assert_eq!(daemon.service("s")["ownership"], "adopted");
    restart(&daemon);
    wait_version(&daemon, "two");
    assert_ne!(runtime_of(&daemon), old);
}

#[test]
fn item_63_a_copy_that_was_cut_off_by_a_kill_leaves_nothing_and_is_made_again() {
    let source = Source::new();
    for nth in 0..400 {
        fs::write(source.path().join(format!("data{nth}")), vec![1; 100_000]).expect("written");
    }
    let mut daemon = Stayd::start(&source.config());
    for _ in 0..3 {
        let runtime = daemon.state_dir().join("runtime");
        let is_under_way =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".new-");
        // Either it is seen while it is made, or it is made.
        wait_until("a copy", SOON, || {
            let mut names = fs::read_dir(&runtime).into_iter().flatten().flatten();
            names.any(|entry| is_under_way(&entry))
                || runtime.is_dir() && runtimes(&daemon.state_dir()) > 0
        });
        daemon = daemon.kill_and_restart();
    }
    wait_version(&daemon, "one");
    daemon.wait_state("s", "running");
    restart(&daemon);
    let names = fs::read_dir(daemon.state_dir().join("runtime")).expect("the cache");
    let names: Vec<_> = names
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().starts_with(".new-")),
        "{names:?}"
    );
    assert_eq!(runtimes(&daemon.state_dir()), 1);
}

/// The helper dies there, again and again; then stayd does, and the next one has the whole of it to make.
#[test]
fn item_63_a_copy_that_dies_at_any_step_leaves_nothing_half_made() {
    for step in Failpoint::OF_A_COPY {
        let source = Source::new();
        let daemon = Stayd::start_with(&source.config(), |command| {
            command.env("STAYD_DIE_AT", step.name());
        });
        let blocked = daemon.wait_state("s", "blocked");
        let reason = blocked["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("cannot look at its runtimes"),
            "{step:?}: {reason}"
        );
        let daemon = daemon.kill_and_restart();
        wait_version(&daemon, "one");
        assert_eq!(runtimes(&daemon.state_dir()), 1, "{step:?}");
        let names = fs::read_dir(daemon.state_dir().join("runtime")).expect("the cache");
        let names: Vec<_> = names
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(
            names.len(),
            4,
            "{step:?}: the runtime, its list, the lock, what is remembered: {names:?}"
        );
    }
}

#[test]
fn item_69_a_missing_interpreter_in_the_runtime_is_named() {
    let source = Source::new();
    let server = source.path().join("bin/server");
    fs::write(&server, "#!/usr/bin/env no-such-node\n").expect("written");
    let daemon = Stayd::start(&source.config());
    let reason = daemon.wait_state("s", "blocked")["reason"].to_string();
    assert!(reason.contains("no no-such-node in PATH"), "{reason}");
    fs::write(&server, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&server, Permissions::from_mode(0o644)).expect("set");
    daemon.wait_service("s", "its exec bit", |service| {
        service["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("chmod +x"))
    });
}

#[test]
fn a_command_line_with_a_runtime_runs_from_the_copy_and_a_check_finds_nothing_wrong() {
    let source = Source::new();
    let dir = TempDir::new();
    let done = dir.join("done");
    let mut daemon = Command::new(super::support::daemon::binary())
        .args(["--foreground", "--state-dir"])
        .arg(dir.join("state"))
        .arg("--runtime")
        .arg(source.path())
        .args(["--env", &format!("DONE={}", done.display())])
        .args(["--", "{runtime}/bin/server"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("stayd");
    wait_until("it runs", SOON, || done.exists());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("told");
    assert!(daemon.wait().expect("ended").success());
    let checked = Stayd::start(&source.config());
    let answer = checked.client(&["config", "check", "-c", "stayd.toml"]);
    assert!(
        !answer.out.contains("cannot run") && !answer.err.contains("cannot run"),
        "{answer:?}"
    );
}

#[test]
fn item_68_a_source_that_cannot_be_copied_is_told_where_people_look() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    source.put("exec sleep 1000000", "two");
    nix::unistd::mkfifo(&source.path().join("queue"), nix::sys::stat::Mode::S_IRWXU)
        .expect("a pipe");
    restart(&daemon);
    let service = daemon.wait_state("s", "running");
    let reason = service["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("runs from an earlier runtime") && reason.contains("queue"),
        "{reason}"
    );
    assert_eq!(service["runtime"]["stale"], true);
}

#[test]
fn item_67_a_new_runtime_whose_before_fails_is_rolled_back() {
    let source = Source::new();
    let before = "before = [\"{runtime}/migrate\"]\n[service.s.runtime]";
    let migrate = |status: u8| {
        let staged = source.path().join("migrate.new");
        fs::write(&staged, format!("#!/bin/sh\nexit {status}\n")).expect("written");
        fs::set_permissions(&staged, Permissions::from_mode(0o755)).expect("set");
        fs::rename(staged, source.path().join("migrate")).expect("in its place");
    };
    migrate(0);
    let daemon = Stayd::start(&source.config().replace("[service.s.runtime]", before));
    wait_version(&daemon, "one");
    let old = runtime_of(&daemon);
    wait_until("the first one is good", SOON, || {
        let listed = daemon.client(&["runtime", "ls"]).out;
        listed.contains("good")
    });
    migrate(9);
    let _fails = daemon.client(&["restart", "s", "--no-wait"]);
    wait_until("rolled back", SOON, || daemon.count("rolled-back") == 1);
    assert_eq!(runtime_of(&daemon), old);
    assert!(
        daemon.output().contains("exited with status 9"),
        "{}",
        daemon.output()
    );
}
