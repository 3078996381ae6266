//! Exits: each is heard once, by whoever waits for it.

use crate::support::{
    NOTHING_LEFT, SOON, TreeFixture, alone, kill, plan, program, wait_for_exit, wait_until,
};
use stayd::sys::process;
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::spawn;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

#[test]
fn item_44_the_exit_comes_from_wait_while_a_grandchild_holds_the_output() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (mut read, write) = std::io::pipe().expect("pipe");
        let (child, tree) = fixture.spawn("double-fork say held sleep", |plan| {
            plan.fds[1].1 = OwnedFd::from(write);
        });
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let mut line = [0; 5];
        std::io::Read::read_exact(&mut read, &mut line).expect("the grandchild's words");
        assert_eq!(&line, b"held\n");
        assert_eq!(fixture.alive().len(), 1);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

#[test]
fn a_child_is_never_overlooked_whatever_becomes_of_the_thread_that_has_spawned_it() {
    const ROUNDS: usize = 100;
    alone(|| {
        let fixture = TreeFixture::new();
        for _ in 0..ROUNDS {
            assert!(reaper::has_no_child());
            let plan = plan(&program("true"), &[], &fixture.dir.join("out"));
            let (tell, told) = std::sync::mpsc::channel();
            let begin = || spawn(plan).map(|child| child.process);
            let spawner = std::thread::spawn(move || tell.send(begin()));
            let process = told.recv().expect("told").expect("spawned");
            // the thread ends now, and hands its child on; the child ends, and is a zombie
            wait_until("nobody spawns any more", SOON, || {
                assert!(!reaper::has_no_child());
                spawner.is_finished()
            });
            wait_until("it has ended", SOON, || {
                assert!(!reaper::has_no_child());
                let stat = process::stat(process.pid).expect("not reaped yet");
                stat.state == process::State::Zombie
            });
            assert!(!reaper::has_no_child());
            assert_eq!(reaper::drain(2).len(), 1);
        }
        assert!(reaper::has_no_child());
    });
}

#[test]
fn item_94_five_hundred_exits_at_once_and_none_is_lost_or_stolen() {
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
        let heard = Mutex::new(Vec::new());
        let count = || heard.lock().expect("no panic").len();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    wait_until("every exit", SOON, || {
                        let ended = reaper::drain(64);
                        heard.lock().expect("no panic").extend(ended);
                        count() >= expected.len()
                    });
                });
            }
        });
        let heard = heard.into_inner().expect("no panic");
        assert!(heard.iter().all(|reaped| !reaped.in_flight));
        let mut heard: Vec<_> = heard
            .into_iter()
            .map(|reaped| (reaped.pid, reaped.status))
            .collect();
        heard.sort_by_key(|(pid, _)| *pid);
        expected.sort_by_key(|(pid, _)| *pid);
        assert_eq!(heard, expected);
    });
}
