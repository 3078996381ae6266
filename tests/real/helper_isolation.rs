//! A helper that runs as the user of a service is out of reach of that user's processes, and ends with stayd.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{PYTHON, require_root, tool, wait_for, wait_until};
use stayd::sys::process;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

/// The user of the service and of its helper.
const NOBODY: u32 = 65_534;

/// A stayd whose service `s` has a `sqlite:` probe, and the pid of the helper that asks the file.
fn with_helper() -> (Stayd, i32) {
    let config = format!(
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nuser = \"{NOBODY}\"\nstop = {{ grace = \"300ms\" }}\n\
         [service.s.watchdog]\nprobe = \"sqlite:DIR/database/a.db\"\ninterval = \"1h\"\n"
    );
    let daemon = Stayd::start_with(&config, |command| {
        let dir = command.get_current_dir().expect("its folder");
        fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("its mode");
        let folder = dir.join("database");
        fs::create_dir(&folder).expect("a folder");
        let file = folder.join("a.db");
        let database = rusqlite::Connection::open(&file).expect("a database");
        database.execute("CREATE TABLE t (a)", ()).expect("a table");
        for path in [folder, file] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("its owner");
        }
    });
    daemon.wait_service("s", "an answer", |service| service["healthy"] == true);
    let helper = wait_for("the helper", SOON, || {
        let children = process::children(daemon.pid()).ok()?.into_iter();
        children.into_iter().find(|&pid| {
            process::uid(pid).is_ok_and(|uid| uid == NOBODY)
                && process::command_line(pid).is_ok_and(|line| line.contains("__helper"))
        })
    });
    (daemon, helper)
}

#[test]
#[ignore = "needs root"]
fn no_process_of_its_user_can_copy_a_descriptor_of_a_helper() {
    require_root();
    let (_daemon, helper) = with_helper();
    // pidfd_open and pidfd_getfd, which have these numbers on all architectures
    let program = format!(
        "import ctypes, errno\n\
         call = ctypes.CDLL(None, use_errno=True).syscall\n\
         pidfd = call(434, {helper}, 0)\n\
         assert pidfd >= 0\n\
         for number in range(8):\n\
         \x20 assert call(438, pidfd, number, 0) == -1, number\n\
         \x20 assert ctypes.get_errno() == errno.EPERM, ctypes.get_errno()\n"
    );
    let thief = tool("setpriv")
        .args([
            "--reuid",
            &NOBODY.to_string(),
            "--regid",
            &NOBODY.to_string(),
        ])
        .args(["--clear-groups", PYTHON, "-c", &program])
        .output()
        .expect("setpriv");
    assert!(thief.status.success(), "{thief:?}");
}

#[test]
#[ignore = "needs root"]
fn a_helper_has_no_file_of_stayd_open() {
    require_root();
    let (_daemon, helper) = with_helper();
    for file in process::open_files(helper, 64).expect("its files") {
        let is_harmless = ["/dev/null", "socket:", "pipe:"]
            .iter()
            .any(|harmless| file.target.starts_with(harmless));
        assert!(is_harmless, "{file:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_stopped_helper_ends_with_stayd() {
    require_root();
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let (mut daemon, helper) = with_helper();
        let stat = process::stat(helper).expect("the helper");
        let handle = process::Handle::open(stat.process).expect("the helper");
        handle.signal(libc::SIGSTOP).expect("stopped");
        daemon.signal(signal);
        daemon.wait();
        wait_until("the helper has ended", SOON, || !is_alive(helper));
        if signal == libc::SIGKILL {
            drop(daemon.restart()); // ends the service
        }
    }
}
