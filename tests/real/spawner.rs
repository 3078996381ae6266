//! The nursery: starts off the loop, and each exit to the one who waits for it.

use crate::support::probing::{LONG, context, with_spawner};
use crate::support::{TempDir, alone, wait_until};
use stayd::act::spawn::launch::Launch;
use stayd::act::spawn::spawner::{Spawner, Surroundings};
use stayd::sys::process;
use stayd::sys::reaper::{self, Reaped, Status};

fn launch(spawner: &Spawner, argv: &[&str]) -> Launch {
    Launch {
        argv: argv.iter().map(ToString::to_string).collect(),
        surroundings: context(spawner).surroundings,
        fds: Vec::new(),
        cgroup: None,
        mark: None,
    }
}

#[test]
fn each_exit_goes_to_its_waiter_however_early_it_comes() {
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
fn starts_go_on_side_by_side() {
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
fn item_94_a_stranger_is_handed_back() {
    let stranger = Reaped {
        pid: 77,
        status: Status::Code(1),
        in_flight: false,
    };
    assert_eq!(Spawner::new().reaped(stranger), Some(stranger));
}

#[test]
fn what_cannot_start_is_named_with_its_cure() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let script = dir.join("script");
            std::fs::write(&script, "#!/no/such/interpreter\n").expect("written");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&script, mode).expect("executable");
            let script = script.display().to_string();
            let nowhere = Surroundings {
                cwd: "/no/such/folder".into(),
                ..context(&spawner).surroundings
            };
            let cases = [
                (launch(&spawner, &["no-such-program"]), "it is not in PATH"),
                (launch(&spawner, &[&script]), "interpreter"),
                (launch(&spawner, &["/etc/passwd"]), "Permission denied"),
                (
                    Launch {
                        surroundings: nowhere,
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

/// What a hanging disk leaves is a start that nobody waits for any more; its child must not live.
#[test]
fn a_start_that_is_given_up_leaves_no_process() {
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
                reaper::drain(64);
                process::own_children().is_ok_and(|left| left.is_empty())
            });
        });
    });
}

/// Making a thread costs more than the spawn, so it is kept.
#[test]
#[cfg(target_os = "linux")]
fn one_start_after_the_other_takes_one_thread() {
    const ROUNDS: usize = 20;
    let spawners = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("our threads");
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let names = tasks.filter_map(|task| name(task.ok()?).ok());
        names.filter(|name| name.trim() == "spawn").count()
    };
    alone(|| {
        with_spawner(async |spawner| {
            for _ in 0..ROUNDS {
                let running = spawner.start(launch(&spawner, &["true"]), LONG).await;
                let ended = tokio::time::timeout(LONG, running.expect("started").exit).await;
                assert_eq!(ended.expect("in time"), Ok(Status::Code(0)));
                assert_eq!(spawners(), 1);
            }
        });
    });
}
