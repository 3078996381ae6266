//! The limits of open files: stayd raises its own, and a service gets the one that stayd was given, or a configured one.

use super::support::daemon::{SOON, Stayd};
use super::support::{TempDir, require_root, wait_for, wait_until};
use std::process::{Command, Stdio};

/// The soft limit with which these tests start stayd.
const SOFT: &str = "200";
/// The highest limit that stayd takes for itself.
const OWN_MAX: u64 = 65_536;
/// Prints the limits of a program, then its pid.
const SHOW: &str = "echo $(ulimit -Sn) $(ulimit -Hn)";

/// A service that prints its limits once before it starts, and once when it runs.
fn configuration(more: &str) -> String {
    format!(
        "[service.s]\ncommand = [\"sh\", \"-c\", \"{SHOW}; exec sleep 1000000\"]\nbefore = [\"sh\", \"-c\", \"{SHOW}\"]\n\
         backoff = {{ min = \"10ms\" }}\n{more}\nlog = {{ to = \"file\" }}\n"
    )
}

/// Starts stayd with the soft limit [`SOFT`].
fn lower_the_limit(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the closure makes two system calls.
    #[expect(unsafe_code, reason = "the limit of the child, before exec")]
    unsafe {
        command.pre_exec(|| {
            use nix::sys::resource::{Resource, getrlimit, setrlimit};
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            Ok(setrlimit(Resource::RLIMIT_NOFILE, 200, hard)?)
        });
    }
}

/// The lines that the service has printed, when there are so many.
fn printed(daemon: &Stayd, count: usize) -> Vec<String> {
    wait_for("the lines of the service", SOON, || {
        let logs = daemon.client(&["logs", "s", "--raw"]).out;
        let lines: Vec<String> = logs.lines().map(str::to_owned).collect();
        (lines.len() >= count && logs.ends_with('\n')).then_some(lines)
    })
}

/// Soft and hard limit of a process.
fn limits_of(pid: i32) -> (u64, String) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.expect("a limit").split_whitespace().collect();
    (words[3].parse().expect("a number"), words[4].to_owned())
}

#[test]
fn a_service_gets_the_limit_that_stayd_was_given_before_it_raised_its_own() {
    let daemon = Stayd::start_with(&configuration(""), lower_the_limit);
    daemon.wait_state("s", "running");
    let (own, hard) = limits_of(daemon.pid());
    let most = hard.parse().unwrap_or(OWN_MAX).min(OWN_MAX);
    assert_eq!(own, most.max(200));
    let given = format!("{SOFT} {hard}");
    assert_eq!(printed(&daemon, 2), [given.clone(), given]);
}

#[test]
fn a_configured_limit_is_that_of_the_service_and_its_commands() {
    for (limit, expected) in [("300:400", "300 400"), ("350", "350 350")] {
        let config = configuration(&format!("limit_nofile = \"{limit}\""));
        let daemon = Stayd::start_with(&config, lower_the_limit);
        daemon.wait_state("s", "running");
        assert_eq!(printed(&daemon, 2), [expected; 2]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_limit_that_stayd_may_not_give_blocks_the_service_and_is_named() {
    require_root();
    let config = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nlimit_nofile = \"infinity\"\n";
    let daemon = Stayd::start_as_another_user(config);
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    let expected =
        "cannot set its limit of open files: Operation not permitted; without CAP_SYS_RESOURCE";
    assert!(reason.contains(expected), "{reason}");
}

#[test]
fn an_upgrade_keeps_the_limit_that_stayd_was_given() {
    let daemon = Stayd::start_copied_with(&configuration(""), lower_the_limit).wait_until_open();
    daemon.wait_state("s", "running");
    let before = printed(&daemon, 2);
    for _ in 0..2 {
        let answer = daemon.client(&["upgrade"]);
        assert_eq!(answer.code, Some(0), "{answer:?}\n{}", daemon.output());
    }
    let answer = daemon.client(&["restart", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let after = printed(&daemon, 4);
    assert_eq!(after[2..], before);
}

/// `exec` becomes the command, so it changes nothing.
#[test]
fn exec_leaves_the_limit_alone() {
    let dir = TempDir::new();
    let mut command = Command::new(super::support::daemon::binary());
    lower_the_limit(&mut command);
    let output = command
        .args(["exec", "--", "sh", "-c", "ulimit -Sn"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output();
    let output = String::from_utf8(output.expect("exec").stdout).expect("UTF-8");
    assert_eq!(output.trim(), SOFT);
}

#[test]
#[ignore = "needs root"]
fn under_the_rendered_unit_a_service_gets_the_usual_limit_of_systemd() {
    require_root();
    let installed = super::systemd_unit::Installed::new("");
    installed
        .systemd
        .done(&["systemctl", "start", "stayd.service"]);
    wait_until("it answers", super::systemd_unit::SOON, || {
        installed.answers()
    });
    let soft = |pid: &str| {
        let path = format!("/proc/{pid}/limits");
        let text = installed.systemd.done(&["grep", "Max open files", &path]);
        let soft = text.split_whitespace().nth(3).map(str::parse::<u64>);
        soft.expect("a limit").expect("a number")
    };
    let service = installed.systemd.done(&["pgrep", "-f", "service.py"]);
    let service = service.lines().next().expect("a pid").to_owned();
    assert_eq!(soft(&service), 1024);
    assert!(soft(&installed.main_pid()) > 1024);
}
