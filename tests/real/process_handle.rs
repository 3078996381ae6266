//! Handles on processes: a handle is opened only for the process that is meant, and signals no other one.

use crate::support::{SOON, TempDir, alone, plan, program, wait_for_exit, wait_until};
use stayd::sys::process::{self, Handle};
use stayd::sys::reaper::Status;
use stayd::sys::spawn::spawn;

#[test]
fn a_handle_is_refused_for_pid_1_our_own_process_and_every_group() {
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
fn a_handle_is_refused_for_another_start_time_and_for_an_ended_process() {
    alone(|| {
        let dir = TempDir::new();
        let child = spawn(plan(&program("sleep"), &["60"], &dir.join("out"))).expect("spawned");
        let mut later = child.process;
        later.start_time += 1;
        assert_eq!(
            Handle::open(later).expect_err("another process").kind(),
            std::io::ErrorKind::NotFound
        );
        let handle = Handle::open(child.process).expect("the child");
        handle.signal(9).expect("killed");
        assert_eq!(wait_for_exit(child), Status::Signal(9));
        wait_until("the handle refuses a signal", SOON, || {
            handle.signal(0).is_err()
        });
        assert_eq!(
            handle.signal(9).expect_err("ended").kind(),
            std::io::ErrorKind::NotFound
        );
    });
}
