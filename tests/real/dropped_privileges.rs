//! Processes of a service that have given up their user, as daemons do which start as root: they belong to the service, and a
//! process of the same user that only knows the token does not.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::{require_root, wait_for, wait_until};
use stayd::sys::process;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// The user to which the processes drop.
const NOBODY: u32 = 65_534;

/// Forks a process that leaves its parents, its session, all its descriptors and its user, then sleeps. `between` runs in the
/// process that becomes the orphan.
fn leaver(between: &str) -> String {
    format!(
        "import os, time\n\
         if os.fork() == 0:\n\
         \x20 os.setsid()\n\
         \x20 if os.fork() == 0:\n\
         {between}\
         \x20   open('DIR/pid.new', 'w').write(str(os.getpid()))\n\
         \x20   os.rename('DIR/pid.new', 'DIR/pid')\n\
         \x20   os.closerange(0, 256)\n\
         \x20   os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n\
         \x20   time.sleep(1000000)\n\
         \x20 os._exit(0)\n\
         time.sleep(1000000)\n"
    )
}

/// The services `s`, which runs this program, and `other`.
fn beside_another(program: &str) -> String {
    let command = serde_json::to_string(&["python3", "-c", program]).expect("JSON is TOML here");
    format!(
        "[service.s]\ncommand = {command}\nstop = {{ grace = \"300ms\" }}\n[service.other]\ncommand = [\"sleep\", \"1000000\"]\n"
    )
}

/// A process that is killed at the end of the test, if it still lives.
struct Leftover(i32);

impl Leftover {
    fn is_alive(&self) -> bool {
        is_alive(self.0)
    }

    fn parent(&self) -> i32 {
        process::stat(self.0).expect("it lives").ppid
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let process = process::stat(self.0).map(|stat| stat.process);
        let handle = process.and_then(process::Handle::open);
        let _ = handle.and_then(|handle| handle.signal(libc::SIGKILL));
    }
}

/// The process that has left `s`, when it has changed its user.
fn orphan(daemon: &Stayd) -> Leftover {
    daemon.wait_state("other", "running");
    daemon.wait_state("s", "running");
    wait_for("the orphan has dropped its privileges", SOON, || {
        let text = std::fs::read_to_string(daemon.dir().join("pid")).ok()?;
        let orphan = text.parse().ok()?;
        (process::uid(orphan).ok()? == NOBODY).then_some(Leftover(orphan))
    })
}

#[test]
#[ignore = "needs root"]
fn a_stop_ends_an_orphan_that_has_dropped_its_privileges() {
    require_root();
    let daemon = Stayd::start(&beside_another(&leaver("")));
    let orphan = orphan(&daemon);
    wait_until("it is reparented to stayd", SOON, || {
        orphan.parent() == daemon.pid()
    });
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(!orphan.is_alive());
    assert_eq!(daemon.service("other")["state"], "running");
}

/// The orphan itself shows nothing: it runs another program without the token.
#[test]
#[ignore = "needs root"]
fn a_stop_ends_the_child_of_an_orphan_without_evidence() {
    require_root();
    let parent = "\x20   if os.fork() != 0:\n\
                  \x20     os.closerange(0, 256)\n\
                  \x20     os.execve('/bin/sleep', ['sleep', '1000'], {})\n";
    let daemon = Stayd::start(&beside_another(&leaver(parent)));
    let child = orphan(&daemon);
    let above = Leftover(child.parent());
    wait_until("the orphan is reparented to stayd", SOON, || {
        above.parent() == daemon.pid()
    });
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(!child.is_alive());
    assert!(above.is_alive(), "nothing proves it");
}

#[test]
#[ignore = "needs root"]
fn an_orphan_that_has_dropped_its_privileges_is_ended_by_the_next_stayd() {
    require_root();
    let mut config = beside_another(&leaver(""));
    config.push_str("[service.other.watchdog]\nprobe = \"exec:true\"\ninterval = \"300ms\"\n");
    let daemon = Stayd::start(&config);
    let orphan = orphan(&daemon);
    let claim = daemon.state_dir().join("claims/s.json");
    wait_until("the claim names it", SOON, || {
        let text = std::fs::read_to_string(&claim).expect("the claim");
        text.contains(&format!("\"pid\":{},", orphan.0))
    });
    let daemon = daemon.kill_and_restart();
    daemon.wait_state("s", "running");
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(!orphan.is_alive());
}

#[test]
#[ignore = "needs root"]
fn a_process_of_another_user_that_only_carries_the_token_is_left_alone() {
    require_root();
    let daemon = Stayd::start(&beside_another("import time; time.sleep(1000000)"));
    let main = pid(&daemon.wait_state("s", "running"));
    // The environment is empty for a moment during execve.
    let token = wait_for("it has a token", SOON, || {
        process::environment_value(main, "STAYD_TOKEN").expect("its environment")
    });
    let mut foreign = Command::new("sleep")
        .arg("1000000")
        .env("STAYD_TOKEN", token)
        .uid(NOBODY)
        .stdin(Stdio::null())
        .spawn()
        .expect("started");
    let answer = daemon.client(&["restart", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(foreign.try_wait().expect("wait").is_none(), "it was killed");
    foreign.kill().expect("killed");
    foreign.wait().expect("reaped");
}
