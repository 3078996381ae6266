//! The one spawn: what a child gets, and what becomes of a child that cannot start.

use crate::support::{
    Cgroup, SOON, TempDir, alone, output_of, plan, program, require_root, wait_for, wait_for_exit,
    wait_until,
};
use stayd::sys::process::{self, Handle};
use stayd::sys::reaper::{self, Reaped, Status};
use stayd::sys::spawn::{Plan, Stage, User, spawn};
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};

#[test]
fn item_96_a_childs_descriptors_are_exactly_the_declared_ones() {
    alone(|| {
        // one that a careless parent left inheritable; dup(2) clears close-on-exec
        let careless = nix::unistd::dup(std::io::stdin()).expect("dup");
        assert!(careless.as_raw_fd() > 2);
        let zero = File::open("/dev/zero").expect("zero");
        let again = zero.try_clone().expect("clone");
        let text = output_of("ls -l /proc/$$/fd", |plan| {
            plan.fds.extend([(3, zero.into()), (9, again.into())]);
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
fn descriptors_whose_numbers_cross_are_not_mixed_up() {
    alone(|| {
        let zero = OwnedFd::from(File::open("/dev/zero").expect("zero"));
        let full = OwnedFd::from(File::open("/dev/full").expect("full"));
        let (low, high) = (zero.as_raw_fd(), full.as_raw_fd());
        assert!(low < high);
        // each one's place in the child is the other's place here
        let script = format!("readlink /proc/$$/fd/{low} /proc/$$/fd/{high}");
        let text = output_of(&script, |plan| {
            plan.fds.extend([(low, full), (high, zero)]);
        });
        assert_eq!(text, "/dev/full\n/dev/zero\n");
    });
}

#[test]
fn mask_and_dispositions_are_the_default_ones_and_the_session_is_its_own() {
    alone(|| {
        let blocked = nix::sys::signal::SigSet::all();
        blocked.thread_set_mask().expect("mask");
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
            "rust ignores SIGPIPE; a child must not"
        );
        let stat: Vec<&str> = text.lines().last().expect("stat").split(' ').collect();
        assert_eq!(
            [stat[4], stat[5]],
            [stat[0]; 2],
            "group and session are its own"
        );
    });
}

#[test]
fn the_childs_own_pid_is_put_into_its_environment() {
    alone(|| {
        let text = output_of("echo $$ $LISTEN_PID $WATCHDOG_PID $OTHER", |plan| {
            for entry in [c"LISTEN_PID=@PID", c"WATCHDOG_PID=@PID", c"OTHER=x@PID"] {
                plan.env.push(entry.to_owned());
            }
        });
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, [words[0], words[0], words[0], "x@PID"]);
    });
}

#[test]
#[ignore = "needs root"]
fn the_user_of_a_child_is_not_the_user_of_its_parent() {
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
fn a_child_that_cannot_start_is_named_by_its_step_and_nobody_hears_of_its_exit() {
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
        assert_eq!(reaper::drain(64), []);
        assert!(process::own_children().expect("ours").is_empty());
    });
}

fn libc_enoent() -> i32 {
    nix::errno::Errno::ENOENT as i32
}

#[test]
fn the_first_candidate_that_runs_is_taken() {
    alone(|| {
        let text = output_of("echo ran", |plan| {
            plan.program.insert(0, c"/does/not/exist/sh".to_owned());
            plan.program.insert(1, c"/etc/passwd/sh".to_owned());
        });
        assert_eq!(text, "ran\n");
    });
}

#[test]
fn an_exit_before_the_caller_knows_the_pid_is_called_in_flight() {
    alone(|| {
        let dir = TempDir::new();
        let child = spawn(plan(&program("true"), &[], &dir.join("out"))).expect("spawned");
        let early = wait_for("its exit", SOON, || reaper::drain(8).pop());
        let expected = Reaped {
            pid: child.process.pid,
            status: Status::Code(0),
            in_flight: true,
        };
        assert_eq!(early, expected);
        drop(child.flight);
        let child = spawn(plan(&program("false"), &[], &dir.join("out"))).expect("spawned");
        drop(child.flight);
        let late = wait_for("its exit", SOON, || reaper::drain(8).pop());
        let expected = Reaped {
            pid: child.process.pid,
            status: Status::Code(1),
            in_flight: false,
        };
        assert_eq!(late, expected);
    });
}

#[test]
fn item_42_a_group_of_one_or_our_own_is_never_signalled() {
    let refused = |pid: i32| {
        let start_time = process::stat(pid).map_or(0, |stat| stat.process.start_time);
        let process = process::Process { pid, start_time };
        Handle::open(process).expect_err("refused").kind()
    };
    for pid in [
        -1,
        0,
        1,
        stayd::sys::identity::pid(),
        -stayd::sys::identity::pid(),
    ] {
        assert_eq!(refused(pid), std::io::ErrorKind::InvalidInput, "{pid}");
    }
}

#[test]
fn a_handle_is_refused_for_a_number_with_another_birth() {
    alone(|| {
        let dir = TempDir::new();
        let child = spawn(plan(&program("sleep"), &["60"], &dir.join("out"))).expect("spawned");
        let mut later = child.process;
        later.start_time += 1;
        assert_eq!(
            Handle::open(later).expect_err("another").kind(),
            std::io::ErrorKind::NotFound
        );
        let handle = Handle::open(child.process).expect("itself");
        handle.signal(9).expect("killed");
        assert_eq!(wait_for_exit(child), Status::Signal(9));
        wait_until("the handle says that it has gone", SOON, || {
            handle.signal(0).is_err()
        });
        assert_eq!(
            handle.signal(9).expect_err("gone").kind(),
            std::io::ErrorKind::NotFound
        );
    });
}

/// Each is a chance for a list of children to be read while it changes.
#[cfg(target_os = "linux")]
const THREADS_ENDED: usize = 500;
/// Each thread ends a little later than the one before, so that some end at the worst moment.
#[cfg(target_os = "linux")]
const SPINS: usize = 100;

/// A frozen cgroup holds the child between clone and exec for as long as we like.
#[test]
#[ignore = "needs root"]
fn item_43_a_child_killed_before_exec_is_no_child_and_nobody_hears_of_its_exit() {
    alone(|| {
        let cgroup = Cgroup::unified("before-exec");
        cgroup.set("cgroup.freeze", "1");
        let dir = TempDir::new();
        let mut plan = plan(&program("sleep"), &["60"], &dir.join("out"));
        plan.cgroup = Some(File::open(cgroup.path()).expect("cgroup").into());
        let spawning = std::thread::spawn(move || spawn(plan));
        let unborn = wait_for("a child", SOON, || process::own_children().ok()?.pop());
        let stat = process::stat(unborn).expect("the child");
        assert_eq!(stat.ppid, stayd::sys::identity::pid());
        assert_ne!(stat.sid, unborn, "only the child makes its session");
        assert!(
            !spawning.is_finished(),
            "there is nothing to kill before exec is reported"
        );
        let handle = Handle::open(stat.process).expect("the child");
        handle.signal(9).expect("killed");
        let error = spawning.join().expect("no panic").expect_err("no child");
        assert_eq!(
            (error.stage, error.errno),
            (Stage::Exec, nix::errno::Errno::EINTR as i32)
        );
        assert_eq!(reaper::drain(64), []);
        assert!(process::own_children().expect("ours").is_empty());
    });
}
/// The kernel hands a thread's children on when it ends: from a list that is yet to be read to one that was read.
#[test]
#[cfg(target_os = "linux")]
fn item_51_no_child_is_missed_while_the_threads_that_made_them_end() {
    alone(|| {
        let dir = TempDir::new();
        for attempt in 0..THREADS_ENDED {
            let plan = plan(&program("sleep"), &["60"], &dir.join("out"));
            let (told, born) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let child = spawn(plan).expect("spawned");
                told.send((nix::unistd::gettid(), child))
                    .expect("a listener");
                (0..attempt * SPINS).for_each(|_| std::hint::spin_loop());
            });
            let (mother, child) = born.recv().expect("a child");
            let mother = std::path::PathBuf::from(format!("/proc/self/task/{mother}"));
            while mother.exists() {
                let listed = process::own_children().expect("ours");
                assert_eq!(listed, [child.process.pid]);
            }
            Handle::open(child.process)
                .expect("it")
                .signal(9)
                .expect("killed");
            assert_eq!(wait_for_exit(child), Status::Signal(9));
        }
    });
}
