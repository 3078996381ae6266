//! The `exec:` probe: real commands that hang, fork and talk.

use crate::support::probing::{
    LONG, SHORT, assert_dead, assert_no_verdict, context, probe, with_spawner,
};
use crate::support::{TempDir, TreeFixture, alone, wait_until};
use stayd::act::probe::Prober;
use stayd::act::spawn::spawner::Spawner;
use stayd::config::Target;
use stayd::decide::event::Answer;
use stayd::sys::{process, reaper};
use std::time::Duration;

fn command(spawner: &Spawner, script: &str) -> Prober {
    let argv = ["sh", "-c", script].map(Into::into).to_vec();
    Prober::new(&probe(Target::Exec(argv)), context(spawner))
}

#[test]
fn an_exit_status_is_an_answer_with_the_last_line_of_the_output() {
    alone(|| {
        with_spawner(async |spawner| {
            let ask = async |script: &str| command(&spawner, script).ask(LONG).await;
            assert_eq!(ask("exit 0").await, Answer::Alive);
            let failed = ask("echo first; echo 'no quorum' >&2; exit 1").await;
            assert_dead(&failed, &["ended with 1: no quorum"]);
            for code in [4, 126, 127] {
                let answer = ask(&format!("echo so; exit {code}")).await;
                assert_no_verdict(&answer, &[&format!("ended with {code}"), "so"]);
            }
            assert_dead(&ask("kill -SEGV $$").await, &["killed by signal 11"]);
            let flood = ask("yes | head -c 3000000; echo done; exit 1").await;
            assert_dead(&flood, &["done"]);
            let missing = Target::Exec(vec!["no-such-program-here".into()]);
            let answer = Prober::new(&probe(missing), context(&spawner))
                .ask(LONG)
                .await;
            assert_no_verdict(&answer, &["cannot start no-such-program-here", "PATH"]);
        });
    });
}

#[test]
fn item_28_a_command_that_hangs_and_forks_is_killed_whole_and_reaped() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper");
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let pids = dir.join("pids");
            let file = pids.display();
            // A child, one in a session of its own, and one whose parent has gone as well.
            let script = format!(
                "echo working; sleep 1000 & echo $! >>{file}; setsid sh -c 'echo $$ >>{file}; sleep 1000' & \
                 (setsid sh -c 'echo $$ >>{file}; sleep 1000' &) ; echo $$ >>{file}; wait; sleep 1000"
            );
            let mut hanging = command(&spawner, &script);
            for attempt in 1..=2 {
                let asked_at = tokio::time::Instant::now();
                let answer = hanging.ask(SHORT).await;
                assert_dead(&answer, &["did not end within 300 ms", "working"]);
                assert!(asked_at.elapsed() < SHORT + Duration::from_secs(2));
                let started = std::fs::read_to_string(&pids).expect("pids");
                let started: Vec<i32> = started
                    .lines()
                    .map(|pid| pid.parse().expect("a pid"))
                    .collect();
                assert_eq!(started.len(), 4 * attempt);
                wait_until("all of them are reaped", LONG, || {
                    reaper::drain(64);
                    started.iter().all(|pid| process::stat(*pid).is_err())
                });
            }
        });
    });
}

/// What can be of a tree: living parents, sessions of their own, orphans that have closed every descriptor.
const WILD: [&str; 3] = [
    "children 3 sleep",
    "setsid children 2 sleep",
    "double-fork close-fds children 2 sleep",
];

#[test]
fn item_28_many_commands_that_fork_leave_and_never_answer_are_each_ended_whole() {
    alone(|| {
        let fixture = TreeFixture::new();
        let wild = WILD.map(|words| format!("{} {words} &", fixture.program.display()));
        let script = format!("{} wait; sleep 1000", wild.join(" "));
        with_spawner(async |spawner| {
            let mut probers: Vec<Prober> = (0..8).map(|_| command(&spawner, &script)).collect();
            for _ in 0..2 {
                let mut attempts = tokio::task::JoinSet::new();
                let local = tokio::task::LocalSet::new();
                for mut prober in std::mem::take(&mut probers) {
                    attempts.spawn_local_on(
                        async move {
                            let answer = prober.ask(LONG / 4).await; // they all start at once
                            (prober, answer)
                        },
                        &local,
                    );
                }
                local.await;
                while let Some(attempt) = attempts.join_next().await {
                    let (prober, answer) = attempt.expect("no panic");
                    assert_dead(&answer, &["did not end"]);
                    probers.push(prober);
                }
            }
            // Not blocking: what the kills reap is heard meanwhile.
            let ended = async {
                while !fixture.alive().is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let ended = tokio::time::timeout(LONG, ended).await;
            assert!(ended.is_ok(), "left alive: {:?}", fixture.alive());
        });
    });
}

#[test]
fn a_command_that_leaves_a_child_behind_has_answered_and_its_child_is_killed() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper");
        with_spawner(async |spawner| {
            let mut leaving = command(&spawner, "sleep 1000 & exit 0");
            let asked_at = tokio::time::Instant::now();
            assert_eq!(leaving.ask(LONG).await, Answer::Alive);
            assert!(
                asked_at.elapsed() < LONG / 2,
                "exit comes from wait, not from the pipe"
            );
            wait_until("nothing is left", LONG, || {
                reaper::drain(64);
                process::own_children().is_ok_and(|left| left.is_empty())
            });
        });
    });
}

#[test]
fn a_round_that_is_given_up_leaves_nothing_behind() {
    alone(|| {
        with_spawner(async |spawner| {
            let mut hanging = command(&spawner, "sleep 1000");
            let given_up = tokio::time::timeout(SHORT, hanging.ask(LONG)).await;
            assert!(given_up.is_err());
            wait_until("the command is gone", LONG, || {
                reaper::drain(64);
                process::own_children().is_ok_and(|left| left.is_empty())
            });
        });
    });
}
