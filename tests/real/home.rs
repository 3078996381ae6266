//! The state folder deleted under a running stayd, and its configuration changed.

use crate::support::daemon::{SOON, Stayd, is_alive};
use crate::support::wait_until;
use std::fs;

/// Asked every so often, so that its stayd has something to wake for.
const ASKED: &str = r#"
name = "home"
[service.a]
command = ["sleep", "1000"]
[service.a.watchdog]
probe = "exec:true"
interval = "200ms"
timeout = "5s"
"#;

#[test]
fn a_second_stayd_finds_the_first_although_the_state_folder_was_deleted() {
    // Without a probe nothing wakes the first one: it cannot have noticed.
    let daemon = Stayd::start("name = \"gone\"\n[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
    daemon.wait_state("a", "running");
    fs::remove_dir_all(daemon.state_dir()).expect("deleted");
    let config = daemon.dir().join("stayd.toml");
    let second = daemon.client(&["--foreground", "-c", config.to_str().expect("UTF-8")]);
    assert_eq!(second.code, Some(75), "{second:?}");
    let first = format!("pid {}", daemon.pid());
    assert!(
        second.err.contains(&first) && second.err.contains("was deleted or replaced"),
        "{second:?}"
    );
    assert!(!second.err.contains("started as"), "{second:?}");
}

#[test]
fn a_deleted_state_folder_is_noticed_made_again_and_told() {
    let mut daemon = Stayd::start(ASKED);
    let pid = daemon.wait_state("a", "running")["pid"].clone();
    fs::remove_dir_all(daemon.state_dir()).expect("deleted");
    wait_until("the folder is made again", SOON, || {
        daemon.state_dir().join("control.sock").exists()
    });
    let after = daemon.wait_state("a", "running");
    assert_eq!(after["pid"], pid, "nothing was restarted for it");
    let told = daemon.client(&["status"]);
    assert!(
        told.out.contains("was deleted or replaced") && told.out.contains("stayd restart"),
        "{told:?}"
    );
    assert_eq!(daemon.count("state-lost"), 1);
    assert!(daemon.said().contains("was deleted or replaced"));
    let claim = daemon.state_dir().join("claims/a.json");
    let claim = fs::read_to_string(claim).expect("the claim is written again");
    assert!(claim.contains(&pid.to_string()), "{claim}");
    let config = daemon.dir().join("stayd.toml");
    let second = daemon.client(&["--foreground", "-c", config.to_str().expect("UTF-8")]);
    assert_eq!(second.code, Some(75), "{second:?}");
    let pid = i32::try_from(pid.as_i64().expect("a pid")).expect("a pid");
    assert!(daemon.stop().success());
    assert!(!is_alive(pid));
}

#[test]
fn a_hangup_reads_the_configuration_again_and_keeps_the_old_one_when_it_is_wrong() {
    let daemon = Stayd::start_supervised(ASKED);
    let a = daemon.wait_state("a", "running")["pid"].clone();
    let file = daemon.dir().join("stayd.toml");

    fs::write(&file, ASKED.replace("interval", "intervall")).expect("written");
    daemon.signal(libc::SIGHUP);
    wait_until("the mistake is told", SOON, || {
        daemon.said().contains("stayd.toml:7:1") && daemon.said().contains("`interval`")
    });
    let told = daemon.client(&["status"]);
    assert!(told.out.contains("stayd.toml:7:1"), "{told:?}");

    let more = format!("{ASKED}[service.b]\ncommand = [\"sleep\", \"1000\"]\n");
    fs::write(&file, more.replace("200ms", "300ms")).expect("written");
    daemon.signal(libc::SIGHUP);
    daemon.wait_service("a", "still there", |_| daemon.said().contains("`b` is new"));
    daemon.wait_state("b", "running");
    let said = daemon.said();
    assert!(
        said.contains("`a` has changed; it runs with the old values until stayd is restarted"),
        "{said}"
    );
    let told = daemon.client(&["status"]);
    assert!(!told.out.contains("stayd.toml:7:1"), "{told:?}");
    assert!(told.out.contains("until stayd is restarted"), "{told:?}");
    assert_eq!(daemon.client(&["restart", "b"]).code, Some(0));

    fs::write(&file, ASKED).expect("written");
    daemon.signal(libc::SIGHUP);
    wait_until("the removal is told", SOON, || {
        daemon.said().contains("`b` is no longer in the file")
    });
    assert_eq!(daemon.service("a")["pid"], a, "never touched");
}
