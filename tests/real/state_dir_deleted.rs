//! The state folder is deleted while stayd runs.

use crate::support::daemon::{SOON, Stayd, is_alive};
use crate::support::{delete_folder, wait_until};
use std::fs;

/// A service with a probe, whose attempts wake the loop.
const PROBED: &str = r#"
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
    // without a probe nothing wakes the first one, so it cannot have noticed
    let daemon = Stayd::start("name = \"gone\"\n[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
    daemon.wait_state("a", "running");
    delete_folder(&daemon.state_dir());
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
fn a_deleted_state_folder_is_made_again_and_reported() {
    let mut daemon = Stayd::start(PROBED);
    let pid = daemon.wait_state("a", "running")["pid"].clone();
    delete_folder(&daemon.state_dir());
    wait_until("the folder is made again", SOON, || {
        daemon.state_dir().join("control.sock").exists()
    });
    let after = daemon.wait_state("a", "running");
    assert_eq!(after["pid"], pid, "nothing was restarted");
    let status = daemon.client(&["status"]);
    assert!(
        status.out.contains("was deleted or replaced") && status.out.contains("stayd restart"),
        "{status:?}"
    );
    // One record for the folder, one for the FIFO, which no later stayd can find.
    assert_eq!(daemon.count("state-lost"), 2);
    assert!(daemon.output().contains("was deleted or replaced"));
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
