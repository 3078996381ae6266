//! The reaper reports the exit of each child exactly once.

use crate::support::{
    NOTHING_LEFT, SOON, TreeFixture, alone, kill, plan, program, wait_for_exit, wait_until,
};
use stayd::sys::process;
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::spawn;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

#[test]
fn an_exit_is_known_while_a_grandchild_still_holds_the_output() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (mut read, write) = std::io::pipe().expect("pipe");
        let (child, tree) = fixture.spawn("double-fork say held sleep", |plan| {
            plan.fds[1].1 = OwnedFd::from(write);
        });
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let mut line = [0; 5];
        std::io::Read::read_exact(&mut read, &mut line).expect("the grandchild's line");
        assert_eq!(&line, b"held\n");
        assert_eq!(fixture.alive().len(), 1);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

#[test]
fn has_no_child_sees_a_child_while_the_thread_that_spawned_it_ends() {
    const CHILDREN: usize = 100;
    alone(|| {
        let fixture = TreeFixture::new();
        for _ in 0..CHILDREN {
            assert!(reaper::has_no_child());
            let plan = plan(&program("true"), &[], &fixture.dir.join("out"));
            let (sender, receiver) = std::sync::mpsc::channel();
            let start = || spawn(plan).map(|child| child.process);
            let spawning = std::thread::spawn(move || sender.send(start()));
            let process = receiver.recv().expect("sent").expect("spawned");
            // The thread ends and the kernel moves its child to another thread; the child ends and becomes a zombie.
            wait_until("the spawning thread has ended", SOON, || {
                assert!(!reaper::has_no_child());
                spawning.is_finished()
            });
            wait_until("the child has ended", SOON, || {
                assert!(!reaper::has_no_child());
                let stat = process::stat(process.pid).expect("not reaped yet");
                stat.state == process::State::Zombie
            });
            assert!(!reaper::has_no_child());
            assert_eq!(reaper::reap_exited(2).len(), 1);
        }
        assert!(reaper::has_no_child());
    });
}

#[test]
fn of_five_hundred_exits_at_once_none_is_lost_or_reported_twice() {
    const CHILDREN: i32 = 500;
    alone(|| {
        let fixture = TreeFixture::new();
        let (gate, opener) = std::io::pipe().expect("pipe");
        let mut expected = Vec::new();
        for number in 0..CHILDREN {
            let code = number % 200;
            let script = format!("read line; exit {code}");
            let mut plan = plan(&program("sh"), &["-c", &script], &fixture.dir.join("out"));
            plan.fds[0].1 = gate.try_clone().expect("gate").into();
            let child = spawn(plan).expect("spawned");
            expected.push((child.process.pid, Status::Code(code)));
        }
        drop(opener);
        let reported = Mutex::new(Vec::new());
        let count = || reported.lock().expect("no panic").len();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    wait_until("every exit is reported", SOON, || {
                        let ended = reaper::reap_exited(64);
                        reported.lock().expect("no panic").extend(ended);
                        count() >= expected.len()
                    });
                });
            }
        });
        let reported = reported.into_inner().expect("no panic");
        assert!(reported.iter().all(|reaped| !reaped.spawn_pending));
        let mut reported: Vec<_> = reported
            .into_iter()
            .map(|reaped| (reaped.pid, reaped.status))
            .collect();
        reported.sort_by_key(|(pid, _)| *pid);
        expected.sort_by_key(|(pid, _)| *pid);
        assert_eq!(reported, expected);
    });
}
