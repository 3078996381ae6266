//! The source of a runtime lies on a disk that never answers.

use super::runtime_service::{Source, restart, runtime_of, wait_version};
use super::support::daemon::{SOON, Stayd};
use super::support::hung_mount::HungMount;
use super::support::service::pid;
use super::support::wait_until;
use std::fs;
use std::time::Duration;

/// stayd gives up the disk after 10 s and then starts the last good copy; ten times that for a busy machine.
const GIVEN_UP_AND_STARTED: Duration = Duration::from_secs(100);

#[test]
#[ignore = "needs root"]
fn a_source_that_hangs_leaves_the_last_good_runtime_in_use_and_the_reason_names_it() {
    let source = Source::new();
    let daemon = Stayd::start(&source.config());
    wait_version(&daemon, "one");
    let (before, runtime) = (pid(&daemon.wait_state("s", "running")), runtime_of(&daemon));
    let mount = HungMount::over(&source.path());
    let _accepted = daemon.client(&["restart", "s", "--no-wait"]);
    let materializing = daemon.wait_state("s", "materializing");
    let reason = materializing["reason"].as_str().expect("a reason");
    assert!(reason.contains("its runtime's source"), "{reason}");
    wait_until(
        "the service runs from the last good copy",
        GIVEN_UP_AND_STARTED,
        || {
            let service = daemon.service("s");
            service["state"] == "running" && service["pid"] != before
        },
    );
    assert_eq!(runtime_of(&daemon), runtime);
    let service = daemon.service("s");
    let reason = service["reason"].as_str().expect("a reason");
    let source_path = source.path().display().to_string();
    assert!(
        reason.contains(&source_path) && reason.contains("its disk does not answer"),
        "{reason}"
    );
    assert_eq!(daemon.count("old-runtime"), 1, "{}", daemon.output());
    drop(mount);
    source.put("exec sleep 1000000", "two");
    restart(&daemon);
    wait_version(&daemon, "two");
    let service = daemon.wait_state("s", "running");
    let reason = service["reason"].as_str().expect("a reason");
    assert!(!reason.contains("earlier runtime"), "{reason}");
}

#[test]
#[ignore = "needs root"]
fn a_source_that_hangs_blocks_a_service_without_any_runtime_until_the_disk_answers() {
    let source = Source::new();
    let mount = HungMount::over(&source.path());
    let daemon = Stayd::start(&source.config());
    wait_until(
        "the service is blocked by its disk",
        GIVEN_UP_AND_STARTED,
        || {
            let service = daemon.service("s");
            let reason = service["reason"].as_str().unwrap_or_default();
            service["state"] == "blocked" && reason.contains("its disk does not answer")
        },
    );
    let output = daemon.output();
    assert!(!output.contains("trying again; trying again"), "{output}");
    drop(mount);
    wait_until("the service runs once its disk answers", SOON, || {
        fs::read_to_string(daemon.dir().join("done")).is_ok()
    });
}
