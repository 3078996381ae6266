//! System calls that the seccomp profile of a container refuses, or that an older kernel does not have.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{descendants, kill, pid, service, wait_for_child};
use super::support::{alone, output_of, seccomp, wait_until};
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// How profiles and older kernels refuse a call.
const REFUSALS: [i32; 2] = [libc::EPERM, libc::ENOSYS];
/// Without these stayd has no handle for a process that it did not start itself, and signals by pid.
const PIDFD_CALLS: [libc::c_long; 3] = [
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
];
/// stayd can send no signal at all.
const SIGNAL_CALLS: [libc::c_long; 2] = [libc::SYS_pidfd_send_signal, libc::SYS_kill];

/// A stayd for which these calls fail.
fn start_without(config: &str, numbers: &'static [libc::c_long], errno: i32) -> Stayd {
    Stayd::start_with(config, |command| {
        seccomp::refuse_in(command, numbers, errno);
    })
}

/// More descriptors than one reading of the list returns, some of them beyond a gap.
fn open_many() -> Vec<OwnedFd> {
    let null = File::open("/dev/null").expect("null");
    let copy = |above| {
        let fd = fcntl(&null, FcntlArg::F_DUPFD(above)).expect("a descriptor");
        // SAFETY: the descriptor is new.
        #[expect(unsafe_code, reason = "a descriptor that a child would inherit")]
        unsafe {
            OwnedFd::from_raw_fd(fd)
        }
    };
    let far = (500..600).map(copy);
    (10..200).map(copy).chain(far).collect()
}

#[test]
fn a_child_gets_only_its_descriptors_where_close_range_is_refused() {
    alone(|| {
        let _many = open_many();
        seccomp::refuse(libc::SYS_close_range, libc::EPERM);
        let zero = File::open("/dev/zero").expect("zero");
        let text = output_of("ls /proc/$$/fd", |plan| plan.fds.push((30, zero.into())));
        let mut numbers: Vec<&str> = text.split_whitespace().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, ["0", "1", "2", "30"]);
    });
}

#[test]
fn a_stop_ends_the_whole_tree_where_pidfds_are_refused() {
    for errno in REFUSALS {
        let daemon = start_without(&service("children 2 setsid sleep", ""), &PIDFD_CALLS, errno);
        let main = pid(&daemon.wait_state("s", "running"));
        let child = wait_for_child(main);
        let answer = daemon.client(&["stop", "s"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(!is_alive(main) && !is_alive(child), "errno {errno}");
    }
}

#[test]
fn the_end_of_an_adopted_process_is_seen_where_pidfds_are_refused() {
    let mut first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.kill();
    let second = first.next_with(|command| {
        seccomp::refuse_in(command, &PIDFD_CALLS, libc::EPERM);
    });
    let second = second.wait_until_open();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (left, &"adopted".into())
    );
    kill(left);
    second.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    let answer = second.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

#[test]
fn a_kill_that_the_system_refuses_is_called_so() {
    let daemon = start_without(&service("sleep", ""), &SIGNAL_CALLS, libc::EPERM);
    let main = pid(&daemon.wait_state("s", "running"));
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let reason = daemon.service("s")["reason"].to_string();
    assert!(is_alive(main));
    assert!(
        reason.contains(
            "SIGKILL has not ended 1 of its processes, because the system refused the signal"
        ),
        "{reason}"
    );
    assert!(!reason.contains("state D"), "{reason}");
    assert_eq!(descendants(main), [0; 0]);
    kill(main);
    daemon.wait_state("s", "stopped");
}

/// Without waitid(2) nothing is reaped, and no kill would end.
#[test]
fn stayd_does_not_start_where_it_cannot_wait_for_children() {
    let mut daemon = Stayd::start_at_once_with(&service("sleep", ""), |command| {
        seccomp::refuse_in(command, &[libc::SYS_waitid], libc::EPERM);
    });
    assert_eq!(daemon.wait().code(), Some(77));
    let output = daemon.output();
    assert!(
        output.contains("cannot wait for child processes: waitid(2) is refused"),
        "{output}"
    );
}

#[test]
fn lost_output_names_the_refused_call() {
    let daemon = start_without(
        &service("write-lines 10 sleep", ""),
        &[libc::SYS_splice],
        libc::ENOSYS,
    );
    wait_until("the log names it", SOON, || {
        daemon.output().contains("splice(2) is refused")
    });
}
