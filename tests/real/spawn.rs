//! The spawn of `sys`: which descriptors, signal mask, session, environment and user a child gets, and how a failed start
//! is reported.

use crate::support::{
    Cgroup, SOON, TempDir, alone, output_of, plan, program, require_root, wait_for,
};
use stayd::sys::process::{self, Handle};
use stayd::sys::reaper::{self, Reaped, Status};
use stayd::sys::spawn::{Plan, Stage, User, spawn};
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};

#[test]
fn a_child_has_exactly_the_planned_descriptors() {
    alone(|| {
        // A descriptor that the parent left inheritable: dup(2) clears close-on-exec.
        let inheritable = nix::unistd::dup(std::io::stdin()).expect("dup");
        assert!(inheritable.as_raw_fd() > 2);
        let zero = File::open("/dev/zero").expect("zero");
        let same = zero.try_clone().expect("clone");
        let text = output_of("ls -l /proc/$$/fd", |plan| {
            plan.fds.extend([(3, zero.into()), (9, same.into())]);
        });
        let links: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.split_once(" -> "))
            .map(|(head, target)| (head.rsplit(' ').next().expect("a number"), target))
            .collect();
        let numbers: Vec<&str> = links.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, ["0", "1", "2", "3", "9"], "{text}");
        assert_eq!(links[0].1, "/dev/null");
        assert_eq!([links[3].1, links[4].1], ["/dev/zero"; 2]);
    });
}

#[test]
fn two_descriptors_that_exchange_their_numbers_are_not_mixed_up() {
    alone(|| {
        let zero = OwnedFd::from(File::open("/dev/zero").expect("zero"));
        let full = OwnedFd::from(File::open("/dev/full").expect("full"));
        let (low, high) = (zero.as_raw_fd(), full.as_raw_fd());
        assert!(low < high);
        // Each descriptor's number in the child is the other one's number in the parent.
        let script = format!("readlink /proc/$$/fd/{low} /proc/$$/fd/{high}");
        let text = output_of(&script, |plan| {
            plan.fds.extend([(low, full), (high, zero)]);
        });
        assert_eq!(text, "/dev/full\n/dev/zero\n");
    });
}

#[test]
fn a_child_has_the_default_signal_mask_and_dispositions_and_a_session_of_its_own() {
    alone(|| {
        let blocked = nix::sys::signal::SigSet::all();
        blocked.thread_set_mask().expect("all signals are blocked");
        let text = output_of("exec cat /proc/self/status /proc/self/stat", |_| {});
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        assert_eq!(value("SigBlk:"), Some("0000000000000000"));
        assert_eq!(
            value("SigIgn:"),
            Some("0000000000000000"),
            "Rust programs ignore SIGPIPE; a child must not"
        );
        let stat: Vec<&str> = text.lines().last().expect("stat").split(' ').collect();
        assert_eq!(
            [stat[4], stat[5]],
            [stat[0]; 2],
            "the child leads its process group and its session"
        );
    });
}

#[test]
fn a_child_finds_its_pid_in_the_variables_that_are_meant_for_it_alone() {
    alone(|| {
        let text = output_of("echo $$ $LISTEN_PID $WATCHDOG_PID $OTHER $THIRD", |plan| {
            plan.env
                .extend([c"OTHER=@PID".into(), c"THIRD=x@PID".into()]);
            plan.pid_variables = vec![c"LISTEN_PID".into(), c"WATCHDOG_PID".into()];
        });
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words[0].parse::<i32>().is_ok(), "{text}");
        assert_eq!(words, [words[0], words[0], words[0], "@PID", "x@PID"]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_child_runs_as_another_user_and_its_parent_does_not() {
    require_root();
    alone(|| {
        let text = output_of("id -u; id -g; id -G", |plan| {
            plan.user = Some(User {
                uid: 12345,
                gid: 23456,
                groups: vec![23456, 34567],
            });
        });
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            ["12345", "23456", "23456", "34567"]
        );
        let pid = stayd::sys::identity::pid();
        assert!(process::threads(pid, 64).expect("ours").len() > 1);
        assert_eq!(stayd::sys::identity::euid(), 0);
    });
}

#[test]
fn a_failed_start_names_its_stage_and_reports_no_exit() {
    alone(|| {
        let dir = TempDir::new();
        let failing = |change: &dyn Fn(&mut Plan)| {
            let mut plan = plan(&program("sh"), &["-c", "true"], &dir.join("out"));
            change(&mut plan);
            let error = spawn(plan).expect_err("cannot start");
            (error.stage, error.errno)
        };
        let missing = || c"/does/not/exist".to_owned();
        assert_eq!(
            failing(&|plan| plan.program = vec![missing()]),
            (Stage::Exec, libc_enoent())
        );
        assert_eq!(
            failing(&|plan| plan.cwd = missing()),
            (Stage::Directory, libc_enoent())
        );
        assert_eq!(
            failing(&|plan| plan.program = vec![missing(), c"/etc/passwd".to_owned(), missing()]).0,
            Stage::Exec
        );
        assert_eq!(reaper::reap_exited(64), []);
        assert!(reaper::own_children().expect("ours").is_empty());
    });
}

fn libc_enoent() -> i32 {
    nix::errno::Errno::ENOENT as i32
}

#[test]
fn the_first_program_that_can_be_executed_is_started() {
    alone(|| {
        let text = output_of("echo ran", |plan| {
            plan.program.insert(0, c"/does/not/exist/sh".to_owned());
            plan.program.insert(1, c"/etc/passwd/sh".to_owned());
        });
        assert_eq!(text, "ran\n");
    });
}

#[test]
fn an_exit_before_the_caller_knows_the_pid_is_marked_spawn_pending() {
    alone(|| {
        let dir = TempDir::new();
        let child = spawn(plan(&program("true"), &[], &dir.join("out"))).expect("spawned");
        let early = wait_for("the child's exit", SOON, || reaper::reap_exited(8).pop());
        let expected = Reaped {
            pid: child.process.pid,
            status: Status::Code(0),
            spawn_pending: true,
        };
        assert_eq!(early, expected);
        drop(child.pending_spawn);
        let child = spawn(plan(&program("false"), &[], &dir.join("out"))).expect("spawned");
        drop(child.pending_spawn);
        let late = wait_for("the child's exit", SOON, || reaper::reap_exited(8).pop());
        let expected = Reaped {
            pid: child.process.pid,
            status: Status::Code(1),
            spawn_pending: false,
        };
        assert_eq!(late, expected);
    });
}

/// A frozen cgroup stops the child between clone and exec for as long as the test needs.
#[test]
#[ignore = "needs root"]
fn a_child_killed_before_exec_is_a_failed_start_and_reports_no_exit() {
    alone(|| {
        let cgroup = Cgroup::unified("before-exec");
        cgroup.set("cgroup.freeze", "1");
        let dir = TempDir::new();
        let mut plan = plan(&program("sleep"), &["60"], &dir.join("out"));
        plan.cgroup = Some(File::open(cgroup.path()).expect("cgroup").into());
        let spawning = std::thread::spawn(move || spawn(plan));
        let pid = wait_for("a child", SOON, || reaper::own_children().ok()?.pop());
        let stat = process::stat(pid).expect("the child");
        assert_eq!(stat.ppid, stayd::sys::identity::pid());
        assert_ne!(
            stat.sid, pid,
            "the child makes its session itself, after the freeze"
        );
        assert!(!spawning.is_finished(), "spawn waits for exec");
        let handle = Handle::open(stat.process).expect("the child");
        handle.signal(9).expect("killed");
        let error = spawning.join().expect("no panic").expect_err("no child");
        assert_eq!(
            (error.stage, error.errno),
            (Stage::Exec, nix::errno::Errno::EINTR as i32)
        );
        assert_eq!(reaper::reap_exited(64), []);
        assert!(reaper::own_children().expect("ours").is_empty());
    });
}
