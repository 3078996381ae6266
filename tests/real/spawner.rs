//! The spawner starts children off the loop, reports each exit to its waiter and says why a start failed.

use crate::support::probing::{LONG, context, with_spawner};
use crate::support::{TempDir, alone, wait_until};
use stayd::act::spawn::launch::Launch;
use stayd::act::spawn::spawner::{ExecContext, Spawner};
use stayd::sys::reaper::{self, Reaped, Status};

fn launch(spawner: &Spawner, argv: &[&str]) -> Launch {
    Launch {
        argv: argv.iter().map(ToString::to_string).collect(),
        exec_context: context(spawner).exec_context,
        fds: Vec::new(),
        cgroup: None,
        command_token: None,
    }
}

#[test]
fn an_exit_reaches_its_waiter_even_when_the_child_ends_at_once() {
    alone(|| {
        with_spawner(async |spawner| {
            for code in 0..50 {
                let script = format!("exit {code}");
                let running = spawner
                    .start(launch(&spawner, &["sh", "-c", &script]), LONG)
                    .await
                    .expect("started");
                let status = tokio::time::timeout(LONG, running.exit).await;
                assert_eq!(status.expect("in time"), Ok(Status::Code(code)));
            }
        });
    });
}

#[test]
fn two_starts_run_at_the_same_time() {
    alone(|| {
        with_spawner(async |spawner| {
            let both = tokio::join!(
                spawner.start(launch(&spawner, &["sleep", "1000"]), LONG),
                spawner.start(launch(&spawner, &["true"]), LONG),
            );
            let (sleeping, ended) = (both.0.expect("started"), both.1.expect("started"));
            let status = tokio::time::timeout(LONG, ended.exit).await;
            assert_eq!(status.expect("in time"), Ok(Status::Code(0)));
            sleeping.handle.signal(libc::SIGKILL).expect("killed");
            let status = tokio::time::timeout(LONG, sleeping.exit).await;
            assert_eq!(status.expect("in time"), Ok(Status::Signal(libc::SIGKILL)));
        });
    });
}

#[test]
fn the_exit_of_a_process_that_the_spawner_did_not_start_is_handed_back() {
    let foreign = Reaped {
        pid: 77,
        status: Status::Code(1),
        spawn_pending: false,
    };
    assert_eq!(Spawner::new().reaped(foreign), Some(foreign));
}

#[test]
fn a_failed_start_names_its_cause() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let script = dir.join("script");
            std::fs::write(&script, "#!/no/such/interpreter\n").expect("written");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&script, mode).expect("executable");
            let script = script.display().to_string();
            let nowhere = ExecContext {
                cwd: "/no/such/folder".into(),
                ..context(&spawner).exec_context
            };
            let cases = [
                (launch(&spawner, &["no-such-program"]), "it is not in PATH"),
                (launch(&spawner, &[&script]), "interpreter"),
                (launch(&spawner, &["/etc/passwd"]), "Permission denied"),
                (
                    Launch {
                        exec_context: nowhere,
                        ..launch(&spawner, &["true"])
                    },
                    "enter /no/such/folder",
                ),
            ];
            for (launch, words) in cases {
                let failure = spawner.start(launch, LONG).await.expect_err("not started");
                assert!(failure.lasting, "{failure:?}");
                assert!(failure.message.contains(words), "{failure:?}");
            }
        });
    });
}

/// A start on a hanging disk is cancelled at its deadline; when the disk answers later, its child must not live.
#[test]
fn a_cancelled_start_leaves_no_process() {
    alone(|| {
        with_spawner(async |spawner| {
            for _ in 0..20 {
                let start = spawner.start(launch(&spawner, &["sleep", "1000"]), LONG);
                tokio::select! {
                    biased;
                    started = start => started.expect("started").handle.signal(libc::SIGKILL).expect("killed"),
                    () = std::future::ready(()) => {}
                }
            }
            wait_until("no child is left", LONG, || {
                reaper::reap_exited(64);
                reaper::own_children().is_ok_and(|left| left.is_empty())
            });
        });
    });
}

/// Making a thread costs more than the spawn, so the spawner keeps one.
#[test]
#[cfg(target_os = "linux")]
fn starts_one_after_the_other_use_one_thread() {
    const STARTS: usize = 20;
    let count_spawn_threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("our threads");
        let name_of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let names = tasks.filter_map(|task| name_of(task.ok()?).ok());
        names.filter(|name| name.trim() == "spawn").count()
    };
    alone(|| {
        with_spawner(async |spawner| {
            for _ in 0..STARTS {
                let running = spawner.start(launch(&spawner, &["true"]), LONG).await;
                let ended = tokio::time::timeout(LONG, running.expect("started").exit).await;
                assert_eq!(ended.expect("in time"), Ok(Status::Code(0)));
                assert_eq!(count_spawn_threads(), 1);
            }
        });
    });
}
