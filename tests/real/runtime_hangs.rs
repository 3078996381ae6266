//! A runtime's source on a disk that never answers.

use super::runtimes::{Source, restart, runtime_of, wait_version};
use super::support::daemon::{SOON, Stayd};
use super::support::disk::HungMount;
use super::support::service::pid;
use super::support::wait_until;
use std::fs;
use std::time::Duration;

/// The disk is given up after 10 s, and the last good copy is started then.
const GIVEN_UP_AND_STARTED: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs root"]
fn item_61_a_source_that_hangs_leaves_the_last_good_runtime_in_use_and_is_named() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let (before, runtime) = (pid(&daemon.wait_state("s", "running")), runtime_of(&daemon));
    let dead = HungMount::over(&source.path());
    let _waits = daemon.client(&["restart", "s", "--no-wait"]);
    let looked_at = daemon.wait_state("s", "materializing");
    let reason = looked_at["reason"].as_str().expect("a reason");
    assert!(reason.contains("its runtime's source"), "{reason}");
    wait_until("it runs from what there is", GIVEN_UP_AND_STARTED, || {
        let service = daemon.service("s");
        service["state"] == "running" && service["pid"] != before
    });
    assert_eq!(runtime_of(&daemon), runtime);
    let service = daemon.service("s");
    let reason = service["reason"].as_str().expect("a reason");
    let source_path = source.path().display().to_string();
    assert!(
        reason.contains(&source_path) && reason.contains("its disk does not answer"),
        "{reason}"
    );
    assert_eq!(daemon.count("old-runtime"), 1, "{}", daemon.output());
    drop(dead);
    source.put("exec sleep 1000000", "two");
    restart(&daemon);
    wait_version(&daemon, "two");
    let service = daemon.wait_state("s", "running");
    let reason = service["reason"].as_str().expect("a reason");
    assert!(!reason.contains("earlier runtime"), "{reason}");
}

#[test]
#[ignore = "needs root"]
fn without_any_runtime_a_source_that_hangs_is_named_and_tried_again() {
    let source = Source::new();
    let dead = HungMount::over(&source.path());
    let daemon = Stayd::start(&source.config());
    wait_until("it is blocked", GIVEN_UP_AND_STARTED, || {
        let service = daemon.service("s");
        let reason = service["reason"].as_str().unwrap_or_default();
        service["state"] == "blocked" && reason.contains("its disk does not answer")
    });
    let said = daemon.output();
    assert!(!said.contains("trying again; trying again"), "{said}");
    drop(dead);
    wait_until("its disk is back", SOON, || {
        fs::read_to_string(daemon.dir().join("done")).is_ok()
    });
}
