//! When a service is ready: READY=1 and EXTEND_TIMEOUT_USEC over NOTIFY_SOCKET, and a readiness probe.

use super::support::daemon::{SOON, Stayd};
use super::support::service::{pid, python_service};
use super::support::watchdog::{watched_service, with_python_handler};
#[cfg(target_os = "linux")]
use super::support::{PYTHON, require_root, tool};
use super::support::{free_port, wait_until};
use stayd::sys::process;
use std::fs;
#[cfg(target_os = "linux")]
use std::fs::Permissions;
#[cfg(target_os = "linux")]
use std::os::unix::fs::PermissionsExt as _;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::time::Duration;

#[test]
fn extend_timeout_lengthens_the_startup_budget_until_ready() {
    let script = "tell('EXTEND_TIMEOUT_USEC=60000000')\nwait_file('ready')\ntell('READY=1')\nwait_file('never')";
    let daemon = Stayd::start(&python_service(
        script,
        "sd_notify = true\nstartup = { within = \"1s\" }",
    ));
    let before = daemon.wait_service("s", "started", |service| {
        service["state"] == "starting" && service["pid"].is_number()
    });
    let main = process::stat(pid(&before)).expect("it lives").process;
    wait_until(
        "it is older than its budget without the extension",
        SOON,
        || process::age(main) > Duration::from_secs(2),
    );
    assert_eq!(daemon.service("s")["state"], "starting");
    fs::write(daemon.dir().join("ready"), "").expect("a file");
    let ready = daemon.wait_state("s", "running");
    assert_eq!(pid(&ready), pid(&before));
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn ready_counts_from_a_service_of_another_user_but_not_from_another_process_of_that_user() {
    require_root();
    let name = format!("nobodys-{}", std::process::id());
    let folder = Path::new("/run/stayd").join(&name);
    fs::create_dir_all(&folder).expect("a runtime folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o700))
        .expect("closed, as systemd makes it");
    let script = "tell('STATUS=waiting')\nwait_file('ready')\ntell('READY=1')\nwait_file('never')";
    let config = python_service(script, "user = \"nobody\"\nsd_notify = true");
    let config = config.replacen("python3", PYTHON, 1);
    let daemon = Stayd::start_with(&format!("name = \"{name}\"\n{config}"), |command| {
        let dir = command.get_current_dir().expect("the test's folder");
        fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("open to nobody");
    });
    let before = daemon.wait_service("s", "waiting", |service| {
        service["state"] == "starting" && service["pid"].is_number()
    });
    let socket = fs::read_dir(&folder)
        .expect("the runtime folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|end| end == "notify"))
        .expect("the service's socket");
    let lie = "import socket,sys\nsocket.socket(socket.AF_UNIX,socket.SOCK_DGRAM).sendto(b'READY=1',sys.argv[1])";
    let sent = tool("setpriv")
        .args(["--reuid=nobody", "--clear-groups", PYTHON, "-c", lie])
        .arg(&socket)
        .status();
    assert!(sent.expect("setpriv").success());
    wait_until("the false message is read and ignored", SOON, || {
        daemon.output().contains("does not belong to it")
    });
    assert_eq!(daemon.service("s")["state"], "starting");
    fs::write(daemon.dir().join("ready"), "").expect("a file");
    assert_eq!(pid(&daemon.wait_state("s", "running")), pid(&before));
    drop(daemon);
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_failing_readiness_probe_makes_a_service_unhealthy_and_does_not_kill_it() {
    let port = free_port();
    let config = watched_service("s", port, "startup = { within = \"500ms\" }", "")
        + &format!("[service.s.ready]\nprobe = \"http://127.0.0.1:{port}/ready\"\n");
    let handler = "    if self.path=='/ready' and not os.path.exists('DIR/dependency'):\n      self.send_response(503);self.end_headers();return";
    let daemon = Stayd::start(&with_python_handler(port, handler, &config));
    let unready = daemon.wait_service("s", "alive and not ready in time", |service| {
        service["reason"]
            .as_str()
            .is_some_and(|text| text.contains("not ready within"))
            && service["probes"][0]["class"] == "alive"
    });
    assert_eq!(unready["healthy"], false);
    fs::write(daemon.dir().join("dependency"), "").expect("a file");
    let ready = daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    assert_eq!(pid(&ready), pid(&unready));
    assert_eq!(
        (ready["life"].as_u64(), daemon.count("killed")),
        (Some(1), 0)
    );
}
