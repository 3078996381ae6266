//! Commands of probes that a stayd has asked with when it was killed: the next one ends them, and nobody else.

use crate::support::daemon::{SOON, Stayd, is_alive};
use crate::support::wait_until;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

const KILLS: usize = 4;
/// Asks for as long as it is left alive, with a child of its own; each writes its number down.
const CONFIG: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nleftover = \"adopt\"\n\
     [service.s.watchdog]\nprobe = \"exec:sh -c 'sleep 76543 & echo $! >> DIR/asked; echo $$ >> DIR/asked; wait'\"\n\
     interval = \"100ms\"\ntimeout = \"60s\"\n";

/// The numbers that were written down, eldest first; of each round two.
fn asked(dir: &Path) -> Vec<i32> {
    let said = fs::read_to_string(dir.join("asked")).unwrap_or_default();
    said.lines().filter_map(|line| line.parse().ok()).collect()
}

fn wait_for_rounds(daemon: &Stayd, attempts: usize) {
    wait_until("a round is under way", SOON, || {
        asked(daemon.dir()).len() == 2 * attempts
    });
}

/// Somebody else's process with this in its environment, ended when dropped.
struct ReportedProcess(Child);

impl ReportedProcess {
    fn with(name: &str, value: &str) -> Self {
        let mut sleep = Command::new("sleep");
        let child = sleep.arg("76543").env(name, value).spawn();
        Self(child.expect("started"))
    }

    fn is_spared(&mut self) -> bool {
        self.0.try_wait().expect("asked").is_none()
    }
}

impl Drop for ReportedProcess {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("reaped");
    }
}

#[test]
fn item_28_a_check_under_way_when_stayd_is_killed_is_ended_by_the_next_one() {
    let mut daemon = Stayd::start(CONFIG);
    wait_for_rounds(&daemon, 1);
    let main = daemon.service("s")["pid"].clone();
    let token = "0123456789abcdef0123456789abcdef";
    let mut reported = [
        ReportedProcess::with("STAYD_PROBE_TOKEN", token),
        ReportedProcess::with("STAYD_PROBE_OF", token),
    ];
    for kill in 1..=KILLS {
        daemon = daemon.kill_and_restart();
        wait_for_rounds(&daemon, kill + 1);
        let all = asked(daemon.dir());
        let (elders, present) = all.split_at(2 * kill);
        assert!(!elders.iter().any(|&pid| is_alive(pid)), "kill {kill}");
        assert!(present.iter().all(|&pid| is_alive(pid)), "kill {kill}");
    }
    assert_eq!(daemon.service("s")["pid"], main, "the life goes on");
    assert!(reported.iter_mut().all(ReportedProcess::is_spared));
}

#[test]
fn item_28_a_check_is_ended_though_its_life_has_ended_while_no_stayd_ran() {
    let mut daemon = Stayd::start(CONFIG);
    wait_for_rounds(&daemon, 1);
    let main = daemon.service("s")["pid"].as_i64().expect("a pid");
    let main = i32::try_from(main).expect("a pid");
    daemon.signal(libc::SIGKILL);
    daemon.wait();
    let main = nix::unistd::Pid::from_raw(main);
    nix::sys::signal::kill(main, nix::sys::signal::SIGKILL).expect("ended");
    wait_until("the life is over", SOON, || !is_alive(main.as_raw()));
    let daemon = daemon.restart();
    wait_for_rounds(&daemon, 2);
    assert!(!asked(daemon.dir())[..2].iter().any(|&pid| is_alive(pid)));
}

/// The claims of a copied state folder are another instance's word.
#[test]
fn a_check_of_another_stayd_whose_state_was_copied_is_left_alone() {
    let daemon = Stayd::start(CONFIG);
    wait_for_rounds(&daemon, 1);
    let asked_there = asked(daemon.dir());
    let copy = Stayd::start_with(CONFIG, |command| {
        let dir = command.get_current_dir().expect("its folder");
        let claims = dir.join("state/claims");
        fs::create_dir_all(&claims).expect("a folder");
        let claim = daemon.state_dir().join("claims/s.json");
        fs::copy(claim, claims.join("s.json")).expect("copied");
    });
    copy.wait_service("s", "seen as another's", |service| {
        service["state"] == "blocked" || service["state"] == "conflict"
    });
    assert!(asked_there.into_iter().all(is_alive));
}
