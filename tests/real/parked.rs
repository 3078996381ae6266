//! A service that gave up, and what makes stayd try again at once.

use super::runtimes::{Source, wait_version};
use super::support::TempDir;
use super::support::daemon::Stayd;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn put(program: &Path, script: &str) {
    let staged = program.with_extension("new");
    fs::write(&staged, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&staged, Permissions::from_mode(0o755)).expect("set");
    fs::rename(staged, program).expect("in its place");
}

#[test]
fn a_parked_service_is_tried_again_when_its_program_changes() {
    let place = TempDir::new();
    let program = place.join("serve");
    put(&program, "exit 3");
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = [\"{}\"]\nbackoff = {{ min = \"10ms\" }}\ngive_up = {{ exits = 3 }}\n",
        program.display()
    ));
    daemon.wait_state("s", "parked");
    put(&program, "exec sleep 1000000");
    daemon.wait_state("s", "running");
    let said = daemon.output();
    assert!(
        said.contains("what it is started from has changed"),
        "{said}"
    );
}

#[test]
fn a_parked_service_is_tried_again_when_the_source_of_its_runtime_changes() {
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
