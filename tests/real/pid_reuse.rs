//! A pid that belonged to a service is given to a foreign process, which stayd never adopts and never signals.
//!
//! The tests make the kernel reuse pids: in a pid namespace that has few of them, or by choosing the next pid
//! (pid_namespaces(7), /proc/sys/kernel/ns_last_pid). Both need root.

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

/// pid_max of the small namespace. After the last pid the kernel continues at 300 (RESERVED_PIDS).
const PID_MAX: u32 = 420;
/// More instances than there are pids.
const INSTANCES: u64 = 300;
/// Processes that do not belong to the service.
const FOREIGN_PROCESSES: usize = 20;
/// How often a chosen pid is tried: another process may take it first.
const TRIES: usize = 50;

/// Starts a foreign process with exactly this pid, which must be free. `change` may replace its command.
fn foreign_with_pid(pid: i32, change: impl Fn(&mut Command)) -> Child {
    for _ in 0..TRIES {
        let mut command = Command::new("sleep");
        command.arg("1000");
        change(&mut command);
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
            .expect("root may choose the next pid");
        let mut child = command.spawn().expect("a foreign process");
        if child.id() == pid.unsigned_abs() {
            return child;
        }
        child.kill().expect("our child");
        child.wait().expect("our child");
    }
    panic!("pid {pid} is in use");
}

/// The child that `setsid WORDS` starts, once it leads a session.
fn wait_for_session_leader_below(parent: i32) -> i32 {
    let child = wait_for_child(parent);
    wait_until("the child leads a session", SOON, || {
        process::stat(child).is_ok_and(|stat| stat.sid == child)
    });
    child
}

/// Makes a foreign session with this number whose leader has ended, as a program does that goes into the background,
/// and returns the pid of the process that is left in it.
fn foreign_session(number: i32) -> i32 {
    let mut leader = foreign_with_pid(number, |command| {
        *command = Command::new("sh");
        command.args(["-c", "sleep 1000 & read never"]);
        command.stdin(std::process::Stdio::piped());
        // SAFETY: setsid(2) is async-signal-safe.
        #[expect(unsafe_code, reason = "the child leads a session before exec")]
        unsafe {
            command.pre_exec(|| Ok(setsid().map(drop)?));
        }
    });
    let member = wait_for_child(number);
    leader.kill().expect("our child");
    leader.wait().expect("our child");
    let stat = process::stat(member).expect("the process is alive");
    assert_eq!(stat.sid, number);
    member
}

/// Kills and reaps an orphan, so that its pid is free. Orphans are children of this process, the first of its namespace.
fn end_orphan(pid: i32) {
    kill(pid);
    wait_for("the orphan's exit", SOON, || {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Signaled(..)) => Some(()),
            Ok(_) => None,
            Err(error) => panic!("pid {pid} is not a child of this process: {error}"),
        }
    });
}

/// Fails if the foreign process has ended; then ends it.
fn assert_untouched(mut foreign: Child) {
    let ended = foreign.try_wait().expect("wait");
    assert!(ended.is_none(), "a foreign process has ended: {ended:?}");
    foreign.kill().expect("our child");
    foreign.wait().expect("our child");
}

#[track_caller]
fn wait_for_second_instance(daemon: &Stayd) {
    daemon.wait_service("s", "the next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
}

#[test]
#[ignore = "needs root"]
fn a_foreign_process_with_the_pid_of_a_claimed_main_process_is_left_alone() {
    alone_in_pid_namespace(|| {
        let mut first = Stayd::start(&service("sleep", ""));
        let left = pid(&first.wait_state("s", "running"));
        first.kill();
        end_orphan(left);
        let foreign = foreign_with_pid(left, |_| {});
        let second = first.restart();
        wait_for_second_instance(&second);
        assert_eq!(second.count("adopted"), 0);
        assert_untouched(foreign);
    });
}

#[test]
#[ignore = "needs root"]
fn a_foreign_process_with_the_pid_of_a_claimed_member_is_left_alone() {
    alone_in_pid_namespace(|| {
        let mut first = Stayd::start(&service("setsid sleep", ""));
        let left = pid(&first.wait_state("s", "running"));
        let child = wait_for_session_leader_below(left);
        let start_time = process::stat(child)
            .expect("the process is alive")
            .process
            .start_time;
        first.kill();
        forge(&first, |claim| {
            claim["members"] = serde_json::json!([{ "pid": child, "birth": start_time }]);
        });
        end_orphan(left);
        end_orphan(child);
        let foreign = foreign_with_pid(child, |_| {});
        let second = first.restart();
        wait_for_second_instance(&second);
        assert_untouched(foreign);
    });
}

/// A child of the instance lives on in a session of its own. The main process's pid has become the number of a foreign
/// session.
#[test]
#[ignore = "needs root"]
fn a_foreign_session_with_the_number_of_a_claimed_main_process_is_left_alone() {
    alone_in_pid_namespace(|| {
        let mut first = Stayd::start(&service("setsid sleep", ""));
        let left = pid(&first.wait_state("s", "running"));
        let child = wait_for_session_leader_below(left);
        first.kill();
        end_orphan(left);
        let foreign = foreign_session(left);
        let second = first.restart();
        wait_for_second_instance(&second);
        assert!(!is_alive(child), "the proven child is killed");
        assert!(is_alive(foreign), "{}", second.output());
        end_orphan(foreign);
    });
}

/// After adoption the tree has noticed that the instance's session has ended; then its number is reused.
#[test]
#[ignore = "needs root"]
fn a_foreign_session_with_the_number_of_an_ended_session_is_no_part_of_the_tree() {
    alone_in_pid_namespace(|| {
        let fixture = TreeFixture::new();
        let (first, _) = fixture.spawn("setsid sleep", |_| {});
        let Process {
            pid: number,
            start_time,
        } = first.process;
        let child = wait_for_session_leader_below(number);
        let successor = process::stat(child).expect("the process is alive").process;
        let mut tree = Tree::new_adopted(successor, number, start_time);
        kill(number);
        wait_for_exit(first);
        tree.update_members();
        let foreign = foreign_session(number);
        assert_eq!(tree.members().len(), 1, "only the successor");
        assert_eq!(kill_tree(&tree), NOTHING_LEFT);
        assert!(!is_alive(child));
        end_orphan(foreign);
    });
}

#[test]
#[ignore = "needs root"]
fn a_pid_that_is_reused_between_lookup_and_kill_is_not_signalled() {
    alone_in_pid_namespace(|| {
        let fixture = TreeFixture::new();
        let (main, tree) = fixture.spawn("sleep", |_| {});
        let seen = main.process;
        let opened = Handle::open(seen).expect("the process is alive");
        opened.signal(libc::SIGKILL).expect("the process is alive");
        wait_for_exit(main);
        // The kernel counts start times in ticks: a process started in the same tick could not be told apart.
        wait_until("a new process has a later start time", SOON, || {
            process::start_time_now() > seen.start_time
        });
        let foreign = foreign_with_pid(seen.pid, |_| {});
        assert!(
            opened.signal(libc::SIGKILL).is_err(),
            "a handle opened before the reuse"
        );
        assert!(Handle::open(seen).is_err(), "a handle opened afterwards");
        let adopted = Tree::new_adopted(seen, seen.pid, seen.start_time);
        for tree in [tree, adopted] {
            assert_eq!(tree.terminate(libc::SIGTERM), 0);
            assert_eq!(kill_tree(&tree), NOTHING_LEFT);
        }
        assert_untouched(foreign);
    });
}

/// Reaps every ended child; true when this process, the first of its namespace, has no child any more.
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
        const FILE: &str = "/proc/sys/kernel/pid_max";
        fs::write(FILE, PID_MAX.to_string()).expect("this test needs Linux 6.14");
        let max = fs::read_to_string(FILE).expect("pid_max");
        assert_eq!(
            max.trim(),
            PID_MAX.to_string(),
            "this test needs Linux 6.14"
        );
    }

    /// Hundreds of instances run beside foreign processes, and every pid is used several times.
    #[test]
    #[ignore = "needs root, and Linux 6.14 for a pid_max per pid namespace"]
    fn no_foreign_process_is_touched_where_pids_are_few() {
        alone_in_pid_namespace(|| {
            limit_pids();
            let config = service("setsid sleep", "")
                .replace("\"10ms\"", "\"0s\"")
                .replace(
                    "backoff",
                    "give_up = { exits = 1000, within = \"1s\" }\nbackoff",
                );
            let foreign: Vec<Child> = (0..FOREIGN_PROCESSES)
                .map(|_| {
                    let child = Command::new("sleep").arg("1000").spawn();
                    child.expect("a foreign process")
                })
                .collect();
            let mut daemon = Stayd::start(&config);
            let mut life = 0;
            while life < INSTANCES {
                let now = daemon.wait_service("s", "the next instance", |service| {
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
            foreign.into_iter().for_each(assert_untouched);
            wait_until("no process of the service is left", SOON, reap_all);
        });
    }
}
