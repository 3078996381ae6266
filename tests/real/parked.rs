//! A parked service (restarts given up) is started again at once when its program or its runtime's source changes.

use super::runtime_service::{Source, wait_version};
use super::support::TempDir;
use super::support::daemon::Stayd;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Replaces the program by a shell script in one step, as a package manager does.
fn install(program: &Path, script: &str) {
    let staged = program.with_extension("new");
    fs::write(&staged, format!("#!/bin/sh\n{script}\n")).expect("the script is written");
    fs::set_permissions(&staged, Permissions::from_mode(0o755)).expect("the mode is set");
    fs::rename(staged, program).expect("the program is replaced");
}

#[test]
fn a_parked_service_is_started_again_when_its_program_changes() {
    let folder = TempDir::new();
    let program = folder.join("serve");
    install(&program, "exit 3");
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = [\"{}\"]\nbackoff = {{ min = \"10ms\" }}\ngive_up = {{ exits = 3 }}\n",
        program.display()
    ));
    daemon.wait_state("s", "parked");
    install(&program, "exec sleep 1000000");
    daemon.wait_state("s", "running");
    let output = daemon.output();
    assert!(
        output.contains("what it is started from has changed"),
        "{output}"
    );
}

#[test]
fn a_parked_service_is_started_again_when_the_source_of_its_runtime_changes() {
    let source = Source::new();
    source.put("exit 3", "one");
    let daemon = Stayd::start(&source.config());
    daemon.wait_state("s", "parked");
    source.put("exit 4", "two");
    wait_version(&daemon, "two");
    daemon.wait_state("s", "parked");
    source.put("exec sleep 1000000", "three");
    wait_version(&daemon, "three");
    daemon.wait_state("s", "running");
}
