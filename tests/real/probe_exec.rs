//! The `exec:` probe runs real commands that hang, fork and write output.

#[cfg(target_os = "linux")]
use crate::support::hung_mount::HungMount;
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

/// A prober that runs this shell script.
fn command(spawner: &Spawner, script: &str) -> Prober {
    let argv = ["sh", "-c", script].map(Into::into).to_vec();
    Prober::new(&probe(Target::Exec(argv)), context(spawner))
}

#[test]
fn the_answer_is_the_exit_status_with_the_last_line_of_the_output() {
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
fn a_command_that_hangs_is_killed_with_its_whole_tree_and_reaped() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper");
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let pids = dir.join("pids");
            let file = pids.display();
            // A child, a child in a session of its own, and an orphan in a session of its own.
            let script = format!(
                "echo working; sleep 1000 & echo $! >>{file}; setsid sh -c 'echo $$ >>{file}; sleep 1000' & \
                 (setsid sh -c 'echo $$ >>{file}; sleep 1000' &) ; echo $$ >>{file}; wait; sleep 1000"
            );
            let mut hanging = command(&spawner, &script);
            for attempt in 1..=2 {
                let answer = tokio::time::timeout(LONG, hanging.ask(SHORT)).await;
                let answer = answer.expect("the attempt ends at its own deadline");
                assert_dead(&answer, &["did not end within 300 ms", "working"]);
                let started = std::fs::read_to_string(&pids).expect("pids");
                let started: Vec<i32> = started
                    .lines()
                    .map(|pid| pid.parse().expect("a pid"))
                    .collect();
                assert_eq!(started.len(), 4 * attempt);
                wait_until("all of them are reaped", LONG, || {
                    reaper::reap_exited(64);
                    started.iter().all(|pid| process::stat(*pid).is_err())
                });
            }
        });
    });
}

/// A command that hangs in the kernel on `hung` while that is mounted, and else ends with status 0.
#[cfg(target_os = "linux")]
fn reading(spawner: &Spawner, hung: &HungMount) -> Prober {
    command(
        spawner,
        &format!("stat {}/file; exit 0", hung.path().display()),
    )
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn a_command_that_sigkill_cannot_end_gives_no_verdict_of_its_own_kind() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper");
        let place = TempDir::new();
        let hung = HungMount::uninterruptible_at(&place.join("hung"));
        with_spawner(async |spawner| {
            let mut stuck = reading(&spawner, &hung);
            for _ in 0..2 {
                let answer = stuck.ask(SHORT).await;
                assert_no_verdict(
                    &answer,
                    &["the probe command cannot be ended", "(stat)", "state D"],
                );
            }
            drop(hung);
            wait_until_alive(&mut stuck).await;
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn a_second_command_asks_while_the_first_cannot_be_ended() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper");
        let place = TempDir::new();
        let hung = HungMount::uninterruptible_at(&place.join("hung"));
        let answers = place.join("answers");
        let script = format!(
            "if [ -e {0} ]; then exit 0; fi; touch {0}; stat {1}/file",
            answers.display(),
            hung.path().display()
        );
        with_spawner(async |spawner| {
            let mut probe = command(&spawner, &script);
            assert_no_verdict(&probe.ask(SHORT).await, &["cannot be ended"]);
            wait_until_alive(&mut probe).await;
            assert_eq!(probe.ask(SHORT).await, Answer::Alive, "also the next one");
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn a_command_that_is_started_late_because_of_the_last_one_is_not_dead_at_the_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    alone(|| {
        reaper::become_subreaper().expect("a subreaper");
        let place = TempDir::new();
        let hung = HungMount::uninterruptible_at(&place.join("hung"));
        let script = format!(
            "if [ -e {0} ]; then exec sleep 1000; fi; touch {0}; stat {1}/file",
            place.join("asked").display(),
            hung.path().display()
        );
        with_spawner(async |spawner| {
            let mut probe = command(&spawner, &script);
            assert_no_verdict(&probe.ask(SHORT).await, &["cannot be ended"]);
            let release = std::thread::spawn(move || {
                // what is tested is time that the last command takes from the next one
                std::thread::sleep(TIMEOUT * 3 / 4);
                drop(hung);
            });
            assert_no_verdict(&probe.ask(TIMEOUT).await, &["stayd itself needed"]);
            release.join().expect("released");
            assert_dead(&probe.ask(SHORT).await, &["did not end within"]);
        });
    });
}

#[cfg(target_os = "linux")]
async fn wait_until_alive(prober: &mut Prober) {
    let asked = async { while prober.ask(SHORT).await != Answer::Alive {} };
    let asked = tokio::time::timeout(LONG, asked).await;
    assert!(asked.is_ok(), "no attempt was answered in {LONG:?}");
}

/// Trees of three shapes: living parents, children in sessions of their own, orphans that have closed every descriptor.
const TREES: [&str; 3] = [
    "children 3 sleep",
    "setsid children 2 sleep",
    "double-fork close-fds children 2 sleep",
];

#[test]
fn many_hanging_commands_at_once_are_each_killed_with_their_whole_tree() {
    alone(|| {
        let fixture = TreeFixture::new();
        let trees = TREES.map(|words| format!("{} {words} &", fixture.program.display()));
        let script = format!("{} wait; sleep 1000", trees.join(" "));
        with_spawner(async |spawner| {
            let mut probers: Vec<Prober> = (0..8).map(|_| command(&spawner, &script)).collect();
            for _ in 0..2 {
                let mut attempts = tokio::task::JoinSet::new();
                let local = tokio::task::LocalSet::new();
                for mut prober in std::mem::take(&mut probers) {
                    attempts.spawn_local_on(
                        async move {
                            let answer = prober.ask(LONG / 4).await; // time for all of them to start at once
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
            // Poll without blocking the runtime: it has to handle the exits of the killed processes meanwhile.
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
fn a_command_that_exits_has_answered_although_its_child_holds_the_output_and_the_child_is_killed() {
    alone(|| {
        reaper::become_subreaper().expect("a subreaper");
        with_spawner(async |spawner| {
            let mut leaving = command(&spawner, "sleep 1000 & exit 0");
            // The child holds the pipe for longer than the attempt may take: the exit is known from wait(2) alone.
            assert_eq!(leaving.ask(LONG).await, Answer::Alive);
            wait_until("no child is left", LONG, || {
                reaper::reap_exited(64);
                reaper::own_children().is_ok_and(|left| left.is_empty())
            });
        });
    });
}

#[test]
fn a_cancelled_attempt_leaves_no_process_behind() {
    alone(|| {
        with_spawner(async |spawner| {
            let mut hanging = command(&spawner, "sleep 1000");
            let cancelled = tokio::time::timeout(SHORT, hanging.ask(LONG)).await;
            assert!(cancelled.is_err());
            wait_until("the command is gone", LONG, || {
                reaper::reap_exited(64);
                reaper::own_children().is_ok_and(|left| left.is_empty())
            });
        });
    });
}
