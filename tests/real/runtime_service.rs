//! Services that run from a runtime: which copy an instance runs from, and what stayd does when a copy cannot be made or
//! does not work.

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

/// The configuration of the service `s`, which runs from a runtime; [`Source::config`] puts the path of the source in.
const CONFIG: &str = "[service.s]\ncommand = [\"server\"]\nbackoff = { min = \"10ms\", stable_after = \"1s\" }\nstop = { grace = \"100ms\" }\ngive_up = { exits = 3 }\n\
    env = { DONE = \"DIR/done\" }\n[service.s.runtime]\nsource = \"DIR/source/app\"\nprogram = \"bin/server\"\nkeep = 1\n";

/// The source of a runtime in a folder of its own, so that it outlives each stayd of the test.
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

    /// Replaces the program in one step, as an updater does. It writes `version` into the file `$DONE` and goes on with
    /// `script`.
    pub(super) fn put(&self, script: &str, version: &str) {
        let staged = self.path().join("server.new");
        let text = format!("#!/bin/sh\necho {version} > $DONE\n{script}\n");
        fs::write(&staged, text).expect("the program is written");
        fs::set_permissions(&staged, Permissions::from_mode(0o755)).expect("the mode is set");
        fs::rename(staged, self.path().join("bin/server")).expect("the program is replaced");
    }

    pub(super) fn config(&self) -> String {
        CONFIG.replace("DIR/source/app", &self.path().display().to_string())
    }
}

/// Waits until the running program has written this version into the file `done`.
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

/// How many complete runtimes the state dir holds.
fn count_runtimes(state: &Path) -> usize {
    let names = fs::read_dir(state.join("runtime")).expect("the cache");
    let is_runtime = |name: &str| !name.starts_with('.') && !name.ends_with(".list");
    names
        .filter(|entry| is_runtime(&entry.as_ref().expect("entry").file_name().to_string_lossy()))
        .count()
}

#[test]
fn an_update_of_the_source_changes_no_running_runtime_and_takes_effect_at_the_restart() {
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
fn a_runtime_that_was_altered_is_copied_again_before_it_runs() {
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
        daemon.output().contains("was altered (bin/server)"),
        "{}",
        daemon.output()
    );
}

#[test]
fn an_altered_runtime_without_its_source_is_not_run() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let runtime = runtime_of(&daemon);
    fs::rename(source.path(), source.0.join("away")).expect("moved away");
    fs::write(
        runtime.join("bin/server"),
        "#!/bin/sh\necho evil > $DONE\nsleep 9\n",
    )
    .expect("changed");
    let _accepted = daemon.client(&["restart", "s", "--no-wait"]);
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains("No such file"), "{reason}");
    fs::rename(source.0.join("away"), source.path()).expect("moved back");
    wait_version(&daemon, "one");
}

#[test]
fn a_runtime_that_a_process_uses_is_not_removed() {
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
    wait_until("the unused runtimes are removed", SOON, || {
        !old.exists() && count_runtimes(&daemon.state_dir()) <= 2
    });
}

#[test]
fn a_new_runtime_that_crashes_at_start_is_rolled_back_until_the_source_changes() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let old = runtime_of(&daemon);
    let record = daemon.state_dir().join("runtime/.services/s.json");
    wait_until("the first runtime is marked good", SOON, || {
        let text = fs::read(&record).expect("a record");
        let record: Value = serde_json::from_slice(&text).expect("JSON");
        record["good"][0] == old.file_name().expect("a name").to_str().expect("text")
    });
    source.put("exit 3", "two");
    let _accepted = daemon.client(&["restart", "s", "--no-wait"]);
    wait_until("the runtime is rolled back", SOON, || {
        daemon.count("rolled-back") == 1
    });
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), old);
    assert!(
        daemon.output().contains("rolled back to the runtime"),
        "{}",
        daemon.output()
    );
    // The next stayd does not try that runtime either.
    let daemon = daemon.kill_and_restart();
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), old);
    source.put("exec sleep 1000000", "three");
    restart(&daemon);
    wait_version(&daemon, "three");
}

#[test]
fn an_instance_that_runs_from_an_older_runtime_is_adopted_and_its_runtime_kept() {
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
fn a_copy_interrupted_by_a_kill_of_stayd_leaves_no_remains_and_is_made_again() {
    let source = Source::new();
    for nth in 0..400 {
        fs::write(source.path().join(format!("data{nth}")), vec![1; 100_000]).expect("written");
    }
    let mut daemon = Stayd::start(&source.config());
    for _ in 0..3 {
        let runtime = daemon.state_dir().join("runtime");
        let is_unfinished =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".new-");
        // On a fast machine the copy may be complete before the first look.
        wait_until("a copy has begun", SOON, || {
            let mut names = fs::read_dir(&runtime).into_iter().flatten().flatten();
            names.any(|entry| is_unfinished(&entry))
                || runtime.is_dir() && count_runtimes(&daemon.state_dir()) > 0
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
    assert_eq!(count_runtimes(&daemon.state_dir()), 1);
}

/// The helper that copies dies at the failpoint each time it runs. Then stayd is killed, and the next stayd has no
/// failpoint and makes the copy.
#[test]
fn a_copier_that_dies_at_any_failpoint_leaves_no_partial_runtime() {
    for failpoint in Failpoint::RUNTIME_COPY {
        let source = Source::new();
        let daemon = Stayd::start_with(&source.config(), |command| {
            command.env("STAYD_DIE_AT", failpoint.name());
        });
        let blocked = daemon.wait_state("s", "blocked");
        let reason = blocked["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("cannot read its runtimes"),
            "{failpoint:?}: {reason}"
        );
        let daemon = daemon.kill_and_restart();
        wait_version(&daemon, "one");
        assert_eq!(count_runtimes(&daemon.state_dir()), 1, "{failpoint:?}");
        let names = fs::read_dir(daemon.state_dir().join("runtime")).expect("the cache");
        let names: Vec<_> = names
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(
            names.len(),
            4,
            "{failpoint:?}: the runtime, its list, the lock and the records of services: {names:?}"
        );
    }
}

#[test]
fn a_missing_interpreter_or_exec_bit_in_the_runtime_blocks_the_service_and_is_named() {
    let source = Source::new();
    let server = source.path().join("bin/server");
    fs::write(&server, "#!/usr/bin/env no-such-node\n").expect("written");
    let daemon = Stayd::start(&source.config());
    let reason = daemon.wait_state("s", "blocked")["reason"].to_string();
    assert!(reason.contains("no no-such-node in PATH"), "{reason}");
    fs::write(&server, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&server, Permissions::from_mode(0o644)).expect("set");
    daemon.wait_service("s", "blocked for want of its exec bit", |service| {
        service["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("chmod +x"))
    });
}

#[test]
fn a_runtime_given_on_the_command_line_is_copied_and_run() {
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
    wait_until("the service runs", SOON, || done.exists());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("kill");
    assert!(daemon.wait().expect("ended").success());
}

/// The program lies in the runtime, which the check does not copy.
#[test]
fn config_check_accepts_a_program_of_a_runtime() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    let answer = daemon.client(&["config", "check", "-c", "stayd.toml"]);
    assert!(
        !answer.out.contains("cannot run") && !answer.err.contains("cannot run"),
        "{answer:?}"
    );
}

#[test]
fn a_source_that_cannot_be_copied_is_named_in_the_status_of_the_running_service() {
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
fn a_new_runtime_whose_before_command_fails_is_rolled_back() {
    let source = Source::new();
    let before = "before = [\"{runtime}/migrate\"]\n[service.s.runtime]";
    let install_migrate = |exit_status: u8| {
        let staged = source.path().join("migrate.new");
        fs::write(&staged, format!("#!/bin/sh\nexit {exit_status}\n"))
            .expect("the program is written");
        fs::set_permissions(&staged, Permissions::from_mode(0o755)).expect("the mode is set");
        fs::rename(staged, source.path().join("migrate")).expect("the program is replaced");
    };
    install_migrate(0);
    let daemon = Stayd::start(&source.config().replace("[service.s.runtime]", before));
    wait_version(&daemon, "one");
    let old = runtime_of(&daemon);
    wait_until("the first runtime is marked good", SOON, || {
        let listed = daemon.client(&["runtime", "ls"]).out;
        listed.contains("good")
    });
    install_migrate(9);
    let _accepted = daemon.client(&["restart", "s", "--no-wait"]);
    wait_until("the runtime is rolled back", SOON, || {
        daemon.count("rolled-back") == 1
    });
    assert_eq!(runtime_of(&daemon), old);
    assert!(
        daemon.output().contains("exited with status 9"),
        "{}",
        daemon.output()
    );
}
