//! Commands of `exec:` probes that run when stayd is killed: the next stayd ends them and no other process.

use crate::support::daemon::{SOON, Stayd, is_alive};
use crate::support::wait_until;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

const KILLS: usize = 4;
/// The probe's command and its child write their pids into the file `pids`, then wait for longer than the test takes.
const CONFIG: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nleftover = \"adopt\"\n\
     [service.s.watchdog]\nprobe = \"exec:sh -c 'sleep 76543 & echo $! >> DIR/pids; echo $$ >> DIR/pids; wait'\"\n\
     interval = \"100ms\"\ntimeout = \"60s\"\n";

/// The pids of all commands and their children, oldest first: two of each attempt.
fn pids(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("pids")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Waits until the command of this attempt runs; the first attempt is number 1.
fn wait_for_attempt(daemon: &Stayd, number: usize) {
    wait_until("the command of the attempt runs", SOON, || {
        pids(daemon.dir()).len() == 2 * number
    });
}

/// A foreign process with this variable in its environment; killed when dropped.
struct ForeignProcess(Child);

impl ForeignProcess {
    fn with(name: &str, value: &str) -> Self {
        let mut sleep = Command::new("sleep");
        let child = sleep.arg("76543").env(name, value).spawn();
        Self(child.expect("started"))
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("wait").is_none()
    }
}

impl Drop for ForeignProcess {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("reaped");
    }
}

#[test]
fn a_probe_command_that_runs_when_stayd_is_killed_is_ended_by_the_next_stayd() {
    let mut daemon = Stayd::start(CONFIG);
    wait_for_attempt(&daemon, 1);
    let main = daemon.service("s")["pid"].clone();
    let token = "0123456789abcdef0123456789abcdef";
    let mut foreign = [
        ForeignProcess::with("STAYD_PROBE_TOKEN", token),
        ForeignProcess::with("STAYD_PROBE_OF", token),
    ];
    for kill in 1..=KILLS {
        daemon = daemon.kill_and_restart();
        wait_for_attempt(&daemon, kill + 1);
        let all = pids(daemon.dir());
        let (earlier, current) = all.split_at(2 * kill);
        assert!(!earlier.iter().any(|&pid| is_alive(pid)), "kill {kill}");
        assert!(current.iter().all(|&pid| is_alive(pid)), "kill {kill}");
    }
    assert_eq!(daemon.service("s")["pid"], main, "the service goes on");
    assert!(foreign.iter_mut().all(ForeignProcess::is_alive));
}

#[test]
fn a_probe_command_is_ended_although_its_service_has_ended_while_no_stayd_ran() {
    let mut daemon = Stayd::start(CONFIG);
    wait_for_attempt(&daemon, 1);
    let main = daemon.service("s")["pid"].as_i64().expect("a pid");
    let main = i32::try_from(main).expect("a pid");
    daemon.kill();
    let main = nix::unistd::Pid::from_raw(main);
    nix::sys::signal::kill(main, nix::sys::signal::SIGKILL).expect("killed");
    wait_until("the service has ended", SOON, || !is_alive(main.as_raw()));
    let daemon = daemon.restart();
    wait_for_attempt(&daemon, 2);
    assert!(!pids(daemon.dir())[..2].iter().any(|&pid| is_alive(pid)));
}

/// A claim in a copied state dir was written by another stayd and proves nothing here.
#[test]
fn a_probe_command_of_another_stayd_whose_state_dir_was_copied_is_left_alone() {
    let daemon = Stayd::start(CONFIG);
    wait_for_attempt(&daemon, 1);
    let commands = pids(daemon.dir());
    let copy = Stayd::start_with(CONFIG, |command| {
        let dir = command.get_current_dir().expect("its folder");
        let claims = dir.join("state/claims");
        fs::create_dir_all(&claims).expect("a folder");
        let claim = daemon.state_dir().join("claims/s.json");
        fs::copy(claim, claims.join("s.json")).expect("copied");
    });
    copy.wait_service("s", "blocked or in conflict", |service| {
        service["state"] == "blocked" || service["state"] == "conflict"
    });
    assert!(commands.into_iter().all(is_alive));
}
