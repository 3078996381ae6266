//! Numbers that the kernel gives to somebody else, for real: in a pid namespace with few of them, or where the next one is
//! chosen (pid_namespaces(7), /proc/sys/kernel/ns_last_pid). Only for root.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{forge, kill, pid, service, wait_for_child};
use super::support::{
    NOTHING_LEFT, TreeFixture, alone_in_pid_namespace, kill as kill_tree, wait_for, wait_for_exit,
    wait_until,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use stayd::act::tree::Tree;
use stayd::sys::process::{self, Handle, Process};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

/// pid_max of the small namespace; after its end the kernel goes on at 300 (RESERVED_PIDS).
const NUMBERS: u32 = 420;
/// More lives than there are numbers.
const LIVES: u64 = 300;
const STRANGERS: usize = 20;
/// Another process may be quicker to take a chosen number.
const TRIES: usize = 50;

/// A stranger with exactly this number, which nobody has.
fn stranger_as(number: i32, change: impl Fn(&mut Command)) -> Child {
    for _ in 0..TRIES {
        let mut command = Command::new("sleep");
        command.arg("1000");
        change(&mut command);
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).expect("root may");
        let mut child = command.spawn().expect("a stranger");
        if child.id() == number.unsigned_abs() {
            return child;
        }
        child.kill().expect("our child");
        child.wait().expect("our child");
    }
    panic!("{number} is taken");
}

/// The child of `setsid WORDS`, once it has done that.
fn child_in_a_session_of_its_own(parent: i32) -> i32 {
    let child = wait_for_child(parent);
    wait_until("it leads a session", SOON, || {
        process::stat(child).is_ok_and(|stat| stat.sid == child)
    });
    child
}

/// A process in a session of this number, whose leader has ended, as a program does that goes into the background.
fn strangers_session(number: i32) -> i32 {
    let mut leader = stranger_as(number, |command| {
        *command = Command::new("sh");
        command.args(["-c", "sleep 1000 & read never"]);
        command.stdin(std::process::Stdio::piped());
        // SAFETY: setsid(2) is async-signal-safe.
        #[expect(unsafe_code, reason = "the child leads a session before exec")]
        unsafe {
            command.pre_exec(|| Ok(setsid().map(drop)?));
        }
    });
    let follower = wait_for_child(number);
    leader.kill().expect("our child");
    leader.wait().expect("our child");
    let stat = process::stat(follower).expect("it lives");
    assert_eq!(stat.sid, number);
    follower
}

/// Ends a process whose parent has died, so that it landed with us, the first process here, and frees its number.
fn end_orphan(pid: i32) {
    kill(pid);
    wait_for("its end", SOON, || {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Signaled(..)) => Some(()),
            Ok(_) => None,
            Err(error) => panic!("{pid} is no orphan of ours: {error}"),
        }
    });
}

/// Dead without a chance to say anything.
fn dead(mut daemon: Stayd) -> Stayd {
    daemon.signal(libc::SIGKILL);
    daemon.wait();
    daemon
}

fn end(mut stranger: Child) {
    assert!(stranger.try_wait().expect("wait").is_none(), "touched");
    stranger.kill().expect("our child");
    stranger.wait().expect("our child");
}

#[track_caller]
fn assert_next_life(daemon: &Stayd) {
    daemon.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
}

#[test]
#[ignore = "needs root"]
fn item_51_the_number_of_a_claimed_process_is_a_strangers_by_now() {
    alone_in_pid_namespace(|| {
        let first = Stayd::start(&service("sleep", ""));
        let left = pid(&first.wait_state("s", "running"));
        let first = dead(first);
        end_orphan(left);
        let stranger = stranger_as(left, |_| {});
        let second = first.restart();
        assert_next_life(&second);
        assert_eq!(second.count("adopted"), 0);
        end(stranger);
    });
}

#[test]
#[ignore = "needs root"]
fn item_51_the_number_of_a_claimed_member_is_a_strangers_by_now() {
    alone_in_pid_namespace(|| {
        let first = Stayd::start(&service("setsid sleep", ""));
        let left = pid(&first.wait_state("s", "running"));
        let child = child_in_a_session_of_its_own(left);
        let start_time = process::stat(child).expect("it lives").process.start_time;
        let first = dead(first);
        forge(&first, |claim| {
            claim["members"] = serde_json::json!([{ "pid": child, "birth": start_time }]);
        });
        end_orphan(left);
        end_orphan(child);
        let stranger = stranger_as(child, |_| {});
        let second = first.restart();
        assert_next_life(&second);
        end(stranger);
    });
}

/// A child of the life lives on in a session of its own; the first process's number is that of a stranger's session by now.
#[test]
#[ignore = "needs root"]
fn item_51_the_number_of_a_lifes_session_is_a_strangers_by_now() {
    alone_in_pid_namespace(|| {
        let first = Stayd::start(&service("setsid sleep", ""));
        let left = pid(&first.wait_state("s", "running"));
        let child = child_in_a_session_of_its_own(left);
        let first = dead(first);
        end_orphan(left);
        let follower = strangers_session(left);
        let second = first.restart();
        assert_next_life(&second);
        assert!(!is_alive(child), "what is proven is ended");
        assert!(is_alive(follower), "{}", second.output());
        end_orphan(follower);
    });
}

/// The same after adoption: the life's session has ended, which was noticed, and then its number was given anew.
#[test]
#[ignore = "needs root"]
fn item_51_a_session_that_has_ended_is_the_lifes_no_more() {
    alone_in_pid_namespace(|| {
        let fixture = TreeFixture::new();
        let (first, _) = fixture.spawn("setsid sleep", |_| {});
        let Process {
            pid: number,
            start_time,
        } = first.process;
        let child = child_in_a_session_of_its_own(number);
        let successor = process::stat(child).expect("it lives").process;
        let mut tree = Tree::of_an_earlier_stayd(successor, number, start_time);
        kill(number);
        wait_for_exit(first);
        tree.remember();
        let follower = strangers_session(number);
        assert_eq!(tree.members().len(), 1, "the heir alone");
        assert_eq!(kill_tree(&tree), NOTHING_LEFT);
        assert!(!is_alive(child));
        end_orphan(follower);
    });
}

#[test]
#[ignore = "needs root"]
fn item_41_a_number_that_changes_hands_between_look_and_kill_is_not_signalled() {
    alone_in_pid_namespace(|| {
        let fixture = TreeFixture::new();
        let (main, tree) = fixture.spawn("sleep", |_| {});
        let seen = main.process;
        let opened = Handle::open(seen).expect("it lives");
        opened.signal(libc::SIGKILL).expect("it lives");
        wait_for_exit(main);
        wait_until("a birth tells them apart", SOON, || {
            process::birth_of_one_born_now() > seen.start_time
        });
        let stranger = stranger_as(seen.pid, |_| {});
        assert!(opened.signal(libc::SIGKILL).is_err(), "opened before");
        assert!(Handle::open(seen).is_err(), "opened afterwards");
        let adopted = Tree::of_an_earlier_stayd(seen, seen.pid, seen.start_time);
        for tree in [tree, adopted] {
            assert_eq!(tree.terminate(libc::SIGTERM), 0);
            assert_eq!(kill_tree(&tree), NOTHING_LEFT);
        }
        end(stranger);
    });
}

/// Whether we, the first process here, have no child any more.
fn reap_all() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
}

/// The tests that need a pid namespace with few pids.
mod needs_linux_6_14 {
    use super::*;

    /// Sets pid_max of this pid namespace. Before Linux 6.14 all namespaces share one.
    fn limit_pids() {
        const PID_MAX: &str = "/proc/sys/kernel/pid_max";
        fs::write(PID_MAX, NUMBERS.to_string()).expect("this test needs Linux 6.14");
        let max = fs::read_to_string(PID_MAX).expect("pid_max");
        assert_eq!(
            max.trim(),
            NUMBERS.to_string(),
            "this test needs Linux 6.14"
        );
    }

    /// Hundreds of lives among strangers, and every number has several owners.
    #[test]
    #[ignore = "needs root, and Linux 6.14 for a pid_max per pid namespace"]
    fn item_51_where_numbers_are_few_no_stranger_is_ever_touched() {
        alone_in_pid_namespace(|| {
            limit_pids();
            let restless = service("setsid sleep", "")
                .replace("\"10ms\"", "\"0s\"")
                .replace(
                    "backoff",
                    "give_up = { exits = 1000, within = \"1s\" }\nbackoff",
                );
            let strangers: Vec<Child> = (0..STRANGERS)
                .map(|_| {
                    Command::new("sleep")
                        .arg("1000")
                        .spawn()
                        .expect("a stranger")
                })
                .collect();
            let mut daemon = Stayd::start(&restless);
            let mut life = 0;
            while life < LIVES {
                let now = daemon.wait_service("s", "its next life", |service| {
                    service["state"] == "running" && service["life"].as_u64() > Some(life)
                });
                life = now["life"].as_u64().expect("a number");
                kill(pid(&now));
                if life.is_multiple_of(20) {
                    daemon = daemon.kill_and_restart();
                }
            }
            daemon.wait_state("s", "running");
            assert!(daemon.stop().success());
            strangers.into_iter().for_each(end);
            wait_until("nothing of it is left", SOON, reap_all);
        });
    }
}
