//! A working directory in an old copy keeps the copy only for processes that may have a reason to be there.

use crate::runtime_gc::ForeignUser;
use crate::support::daemon::{SOON, Stayd};
use crate::support::runtimes::put;
use crate::support::{program, require_root, tool, wait_until};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// The user and the group of `nobody`.
const NOBODY: &str = "65534";
/// A user that no service has, in the group of `nobody`.
const FOREIGN: &str = "12345";

/// The service `web` of the user nobody, and `side` of root, which starts what `DIR/side` says.
const CONFIG: &str = "name = 'x'\n[service.web]\ncommand = ['{runtime}/serve']\nuser = 'nobody'\nready = { probe = 'exec:true' }\n\
                      [service.web.runtime]\nsource = 'DIR/source'\nkeep = 1\n\
                      [service.side]\ncommand = ['sh', '-c', 'until [ -e side ]; do sleep 0.1; done; . ./side; exec sleep 1000']\n\
                      cwd = 'DIR'\n";

fn start() -> Stayd {
    let stayd = Stayd::start_with(CONFIG, |command| {
        let dir = command.get_current_dir().expect("a folder");
        fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("its mode");
        put(&dir.join("source"), "1");
    });
    stayd.wait_state("web", "running");
    stayd
}

/// A command that becomes this user, with the group of the service's user.
fn as_user(uid: &str) -> Command {
    let mut command = tool("setpriv");
    command.args(["--reuid", uid, "--regid", NOBODY, "--clear-groups"]);
    command
}

/// A process of this user that has entered the copy by itself.
fn in_copy(stayd: &Stayd, fingerprint: &str, uid: &str) -> ForeignUser {
    let mut enter = as_user(uid);
    enter
        .args(["sh", "-c", "cd \"$1\" && exec sleep 1000", "sh"])
        .arg(stayd.root(fingerprint));
    let process = ForeignUser::new(&mut enter);
    wait_until("the process is in the copy", SOON, || {
        let folder = fs::read_link(format!("/proc/{}/cwd", process.0.id()));
        folder.is_ok_and(|folder| folder == stayd.root(fingerprint))
    });
    process
}

#[test]
#[ignore = "needs root"]
fn the_working_directory_of_a_foreign_user_does_not_keep_a_copy() {
    require_root();
    let stayd = start();
    let first = stayd.fingerprint();
    let _foreign = in_copy(&stayd, &first, FOREIGN);
    let second = stayd.restart_with_version("2");
    let of_service = in_copy(&stayd, &second, NOBODY);
    // A copy that a foreign process runs from stays, and so does one in which the service's user is.
    fs::copy(program("sleep"), stayd.source().join("sleeper")).expect("a program");
    let third = stayd.restart_with_version("3");
    let running = ForeignUser::new(
        as_user(FOREIGN)
            .arg(stayd.root(&third).join("sleeper"))
            .arg("1000"),
    );
    wait_until("the process runs from the copy", SOON, || {
        let program = fs::read_link(format!("/proc/{}/exe", running.0.id()));
        program.is_ok_and(|program| program.ends_with("sleeper"))
    });
    let last = stayd.restart_with_version("4");
    stayd.wait_good(&last);
    for (fingerprint, process) in [(&second, &of_service), (&third, &running)] {
        assert_eq!(
            stayd.kept_because(fingerprint),
            format!("in use by pid {}", process.0.id())
        );
    }
    assert!(
        !stayd.root(&first).exists(),
        "only a foreign process is in it"
    );
}

/// Its processes can have other users than root, because a service of root can give up its rights by itself.
#[test]
#[ignore = "needs root"]
fn the_working_directory_of_an_instances_member_keeps_a_copy_whatever_its_user() {
    require_root();
    let stayd = start();
    let first = stayd.fingerprint();
    let (child, orphan) = (stayd.dir().join("child"), stayd.dir().join("orphan"));
    let sleeper = |file: &std::path::Path| {
        let become_foreign = format!("setpriv --reuid {FOREIGN} --regid {NOBODY} --clear-groups");
        format!(
            "sh -c 'echo $$ >{}; exec {become_foreign} sleep 1000' &\n",
            file.display()
        )
    };
    let script = format!(
        "cd {}\n{}(setsid {} )\n",
        stayd.root(&first).display(),
        sleeper(&child),
        sleeper(&orphan).trim_end()
    );
    fs::write(stayd.dir().join("side.new"), script).expect("written");
    fs::rename(stayd.dir().join("side.new"), stayd.dir().join("side")).expect("there");
    let started = [&child, &orphan].map(|file| {
        let pid = || fs::read_to_string(file).ok()?.trim().parse().ok();
        crate::support::wait_for("a process in the copy", SOON, pid)
    });
    wait_until("they have given up their rights", SOON, || {
        started.iter().all(|pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains(&format!("Uid:\t{FOREIGN}"))
        })
    });
    let last = stayd.restart_with_version("2");
    stayd.wait_good(&last);
    let reason = stayd.kept_because(&first);
    for pid in started {
        assert!(reason.contains(&pid.to_string()), "{pid}: {reason}");
    }
}
