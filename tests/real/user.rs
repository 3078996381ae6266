//! The user of a service: by name and by uid, another one than stayd's and stayd's own.

use super::support::daemon::Stayd;
use super::support::{SOON, require_root, seccomp, tool, wait_for};
use stayd::sys::user;

/// The user of the tests that are not root's.
const NOBODY: &str = "65534";
/// A uid that no user database has.
const UNKNOWN_UID: &str = "3987654";

/// A service that prints its ids and the variables that name its user.
fn configuration(user: &str) -> String {
    let script = "echo $(id -u) $(id -G) $HOME $USER $LOGNAME $SHELL; exec sleep 1000000";
    format!(
        "[service.s]\ncommand = [\"sh\", \"-c\", \"{script}\"]\ncwd = \"/\"\nuser = \"{user}\"\nlog = {{ to = \"file\" }}\n"
    )
}

/// The line that the service printed.
fn printed(daemon: &Stayd) -> String {
    daemon.wait_state("s", "running");
    let line = wait_for("the line of the service", SOON, || {
        let logs = daemon.client(&["logs", "s", "--raw"]);
        logs.out.ends_with('\n').then_some(logs.out)
    });
    line.trim().to_owned()
}

/// What [`configuration`] prints after su(1) to `nobody`. su sets SHELL to the shell that it starts, which is here another one
/// than that of the user.
fn after_su() -> String {
    let script = "echo $(id -u) $(id -G) $HOME $USER $LOGNAME";
    let output = tool("su")
        .args(["-s", "/bin/sh", "-c", script, "nobody"])
        .output();
    let text = String::from_utf8(output.expect("su").stdout).expect("UTF-8");
    let nobody = user::look_up("nobody").expect("users").expect("nobody");
    format!("{} {}", text.trim(), nobody.shell.display())
}

#[test]
#[ignore = "needs root"]
fn a_service_of_another_user_gets_the_groups_and_variables_that_su_sets() {
    require_root();
    let expected = after_su();
    for user in ["nobody", NOBODY] {
        let daemon = Stayd::start_with(&configuration(user), |command| {
            command.env("SHELL", "/bin/of-root").env("HOME", "/of-root");
        });
        assert_eq!(printed(&daemon), expected, "{user}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_uid_without_an_entry_runs_without_the_groups_of_root() {
    require_root();
    let daemon = Stayd::start(&configuration(UNKNOWN_UID));
    let expected = format!("{UNKNOWN_UID} 65534 / {UNKNOWN_UID} {UNKNOWN_UID} /bin/sh");
    assert_eq!(printed(&daemon), expected);
}

#[test]
#[ignore = "needs root"]
fn a_stayd_that_is_not_root_accepts_its_own_user_and_refuses_another() {
    require_root();
    for user in ["nobody", NOBODY] {
        let daemon = Stayd::start_as_another_user(&configuration(user));
        assert!(printed(&daemon).starts_with("65534 65534 "), "{user}");
    }
    for user in ["root", "0", UNKNOWN_UID] {
        let daemon = Stayd::start_as_another_user(&configuration(user));
        let blocked = daemon.wait_state("s", "blocked");
        let reason = blocked["reason"].as_str().expect("a reason");
        let expected = format!("cannot run as {user}: only root can start a service as another");
        assert!(reason.contains(&expected), "{reason}");
    }
}

/// As with user = "root" in a container that has no CAP_SETGID.
#[test]
#[ignore = "needs root"]
fn the_own_user_of_root_needs_no_change_of_groups() {
    require_root();
    let daemon = Stayd::start_with(&configuration("root"), |command| {
        seccomp::refuse_in(command, &[libc::SYS_setgroups], libc::EPERM);
    });
    assert!(printed(&daemon).starts_with("0 "));
}
