//! SIGHUP makes a supervised stayd read its configuration again.

use crate::support::daemon::{SOON, Stayd};
use crate::support::wait_until;
use std::fs;

/// A service with a probe.
const CONFIG: &str = r#"
name = "home"
[service.a]
command = ["sleep", "1000"]
[service.a.watchdog]
probe = "exec:true"
interval = "200ms"
timeout = "5s"
"#;

#[test]
fn an_invalid_configuration_is_reported_and_a_valid_one_is_applied() {
    let daemon = Stayd::start_supervised(CONFIG);
    let a = daemon.wait_state("a", "running")["pid"].clone();
    let file = daemon.dir().join("stayd.toml");

    fs::write(&file, CONFIG.replace("interval", "intervall")).expect("written");
    daemon.signal(libc::SIGHUP);
    wait_until("the error is reported", SOON, || {
        daemon.output().contains("stayd.toml:7:1") && daemon.output().contains("`interval`")
    });
    let status = daemon.client(&["status"]);
    assert!(status.out.contains("stayd.toml:7:1"), "{status:?}");

    let more = format!("{CONFIG}[service.b]\ncommand = [\"sleep\", \"1000\"]\n");
    fs::write(&file, more.replace("200ms", "300ms")).expect("written");
    daemon.signal(libc::SIGHUP);
    daemon.wait_service("a", "still running", |_| {
        daemon.output().contains("`b` is new")
    });
    daemon.wait_state("b", "running");
    let output = daemon.output();
    assert!(
        output.contains("`a` has changed; it runs with the old values until stayd is restarted"),
        "{output}"
    );
    let status = daemon.client(&["status"]);
    assert!(!status.out.contains("stayd.toml:7:1"), "{status:?}");
    assert!(
        status.out.contains("until stayd is restarted"),
        "{status:?}"
    );
    assert_eq!(daemon.client(&["restart", "b"]).code, Some(0));

    fs::write(&file, CONFIG).expect("written");
    daemon.signal(libc::SIGHUP);
    wait_until("the removal is reported", SOON, || {
        daemon.output().contains("`b` is no longer in the file")
    });
    assert_eq!(daemon.service("a")["pid"], a, "never touched");
}
