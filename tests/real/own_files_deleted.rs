//! Single files of stayd are deleted while it runs: by a cleaner of temporary files, a logout, a user.

use crate::support::daemon::{SOON, Stayd, is_alive};
use crate::support::notify::notify_socket;
use crate::support::wait_until;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// Nothing wakes the loop, except the deletion itself.
const IDLE: &str = r#"
name = "own"
[service.a]
command = ["sleep", "1000"]
"#;

fn pid_of_a(daemon: &Stayd) -> i32 {
    let pid = daemon.wait_state("a", "running")["pid"].as_i64();
    i32::try_from(pid.expect("a pid")).expect("a pid")
}

fn fifo_names(daemon: &Stayd) -> [PathBuf; 2] {
    let state = daemon.state_dir();
    [
        state.join("logs/a/life-1.fifo"),
        state.join("claims/a.fifo"),
    ]
}

fn is_fifo(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

fn assert_adopted_after_a_crash(daemon: Stayd, pid: i32) {
    let mut daemon = daemon.kill_and_restart();
    assert_eq!(pid_of_a(&daemon), pid, "{}", daemon.output());
    assert!(daemon.stop().success());
    assert!(!is_alive(pid));
}

#[test]
fn a_deleted_control_socket_comes_back_and_is_reported() {
    let mut daemon = Stayd::start(IDLE);
    let pid = pid_of_a(&daemon);
    let socket = daemon.state_dir().join("control.sock");
    fs::remove_file(&socket).expect("removed");
    wait_until("the socket is there again", SOON, || socket.exists());
    let status = daemon.client(&["status"]);
    assert!(
        status
            .out
            .contains("deleted while stayd ran: the control socket"),
        "{status:?}"
    );
    assert_eq!(daemon.count("state-lost"), 1);
    assert!(daemon.stop().success());
    assert!(!is_alive(pid));
    assert!(!socket.exists());
}

#[test]
fn a_deleted_claim_comes_back_and_the_next_stayd_adopts() {
    let daemon = Stayd::start(IDLE);
    let pid = pid_of_a(&daemon);
    let claim = daemon.state_dir().join("claims/a.json");
    fs::remove_file(&claim).expect("removed");
    wait_until("the claim is there again", SOON, || claim.exists());
    let status = daemon.client(&["status"]);
    assert!(status.out.contains("the claim of a"), "{status:?}");
    assert_adopted_after_a_crash(daemon, pid);
}

#[test]
fn a_fifo_that_lost_one_name_still_proves_the_instance() {
    let daemon = Stayd::start(IDLE);
    let pid = pid_of_a(&daemon);
    let [first, second] = fifo_names(&daemon);
    wait_until("it has both names", SOON, || {
        is_fifo(&first) && is_fifo(&second)
    });
    // No event wakes stayd for this one.
    fs::remove_file(&first).expect("removed");
    let daemon = daemon.kill_and_restart();
    assert_eq!(pid_of_a(&daemon), pid, "{}", daemon.output());
    assert!(is_fifo(&first), "it has the first name again");
    assert_adopted_after_a_crash(daemon, pid);

    let daemon = Stayd::start(IDLE);
    let pid = pid_of_a(&daemon);
    let [first, second] = fifo_names(&daemon);
    wait_until("it has both names", SOON, || {
        is_fifo(&first) && is_fifo(&second)
    });
    fs::remove_file(&second).expect("removed");
    wait_until("the second name is there again", SOON, || is_fifo(&second));
    fs::remove_file(&first).expect("removed");
    assert_adopted_after_a_crash(daemon, pid);
    assert!(!is_fifo(&first) && !is_fifo(&second), "none stays");
}

#[test]
fn a_fifo_that_lost_its_first_name_leaves_none_behind() {
    let mut daemon = Stayd::start(IDLE);
    let pid = pid_of_a(&daemon);
    let [first, second] = fifo_names(&daemon);
    wait_until("it has both names", SOON, || {
        is_fifo(&first) && is_fifo(&second)
    });
    fs::remove_file(&first).expect("removed");
    assert!(daemon.stop().success());
    assert!(!is_alive(pid) && !is_fifo(&second));
}

#[test]
fn a_fifo_that_lost_both_names_is_reported_until_the_service_is_restarted() {
    let daemon = Stayd::start(IDLE);
    let pid = pid_of_a(&daemon);
    let [first, second] = fifo_names(&daemon);
    wait_until("it has both names", SOON, || {
        is_fifo(&first) && is_fifo(&second)
    });
    for name in [&first, &second] {
        fs::remove_file(name).expect("removed");
    }
    let warning = "the output FIFO of a was deleted";
    wait_until("status warns", SOON, || {
        daemon.client(&["status"]).out.contains(warning)
    });
    assert_eq!(pid_of_a(&daemon), pid, "nothing is restarted");
    assert!(daemon.client(&["restart", "a"]).code == Some(0));
    assert_ne!(pid_of_a(&daemon), pid);
    // The end of the instance has deleted files, so stayd looks again.
    wait_until("the warning ends", SOON, || {
        !daemon.client(&["status"]).out.contains(warning)
    });
    let pid = pid_of_a(&daemon);
    assert_adopted_after_a_crash(daemon, pid);
}

/// Sends a heartbeat each 100 ms, each over a new socket as sd_notify(3) does.
const BEATING: &str = r#"
import os, socket, time
def send(text):
    try:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.sendto(text, os.environ["NOTIFY_SOCKET"])
    except OSError:
        pass
send(b"READY=1")
while True:
    send(b"WATCHDOG=1")
    time.sleep(0.1)
"#;

#[test]
fn a_deleted_notify_socket_comes_back_and_kills_nothing() {
    let config = format!(
        "name = \"beat\"\n[service.a]\ncommand = [\"python3\", \"-c\", '''{BEATING}''']\n\
         [service.a.watchdog]\nprobe = \"notify:\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\nfailures = 1\n"
    );
    let mut daemon = Stayd::start(&config);
    let is_healthy = |daemon: &Stayd| daemon.service("a")["healthy"] == true;
    wait_until("it is healthy", SOON, || is_healthy(&daemon));
    let pid = pid_of_a(&daemon);
    let socket = notify_socket(pid);
    for _ in 0..2 {
        fs::remove_file(&socket).expect("removed");
        wait_until("the socket is there again", SOON, || socket.exists());
        wait_until("it is heard again", SOON, || is_healthy(&daemon));
    }
    assert_eq!(pid_of_a(&daemon), pid);
    assert_eq!(daemon.count("killed"), 0);
    assert!(daemon.stop().success());
    assert!(!is_alive(pid) && !socket.exists());
}
