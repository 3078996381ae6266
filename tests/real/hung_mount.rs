//! Files on a file system that never answers: a service's env_file, and its program.

use crate::support::daemon::Stayd;
use crate::support::hung_mount::HungMount;
use crate::support::{SOON, TempDir, program, require_root, wait_until};
use stayd::sys::process;
use std::fs;
use std::time::{Duration, Instant};

/// stayd stops waiting for a file after 2 s; the rest is for a busy machine. A client that waits longer has waited for the
/// file system. The client itself gives up after 20 s.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs root"]
fn an_env_file_on_a_hung_mount_blocks_only_its_own_service() {
    require_root();
    let mounts = TempDir::new();
    let hung = HungMount::at(&mounts.join("hung"));
    let env_file = hung.path().join("env");
    let stayd = Stayd::start(&format!(
        "name = 'x'\n[service.hung]\ncommand = ['sh', '-c', 'echo A is $A; exec sleep 1000']\nenv_file = '{}'\n\
         [service.other]\ncommand = ['sleep', '1000']\n",
        env_file.display()
    ));
    wait_until("the other service runs", SOON, || {
        stayd.service("other")["state"] == "running"
    });
    wait_until("the service with the env_file is blocked", SOON, || {
        let asked = Instant::now();
        let service = stayd.service("hung");
        assert!(asked.elapsed() < ANSWER_MAX, "the loop hung with the file");
        service["state"] == "blocked"
            && service["reason"].as_str().is_some_and(|reason| {
                reason.contains(&env_file.display().to_string()) && reason.contains("no answer")
            })
    });
    drop(hung);
    fs::write(&env_file, "A=1\n").expect("what was below the mount");
    wait_until(
        "it starts by itself when the file can be read",
        SOON,
        || stayd.service("hung")["state"] == "running",
    );
    wait_until("it has what is in the file", SOON, || {
        stayd.client(&["logs", "hung"]).out.contains("A is 1\n")
    });
}

#[test]
#[ignore = "needs root"]
fn a_program_on_a_hung_mount_does_not_delay_status() {
    require_root();
    let place = TempDir::new();
    let current = place.join("current");
    fs::create_dir(place.join("v1")).expect("a folder");
    std::os::unix::fs::symlink("v1", &current).expect("a link");
    fs::copy(program("sleep"), place.join("v1/serve")).expect("a program");
    let stayd = Stayd::start(&format!(
        "name = 'x'\n[service.s]\ncommand = ['{}/serve', '1000']\n",
        current.display()
    ));
    let running = stayd.wait_state("s", "running");
    let _hung = HungMount::at(&place.join("hung"));
    fs::remove_file(&current).expect("removed");
    std::os::unix::fs::symlink("hung", &current).expect("a link");
    let assert_answers = || {
        let asked = Instant::now();
        let shown = stayd.service("s");
        assert!(
            asked.elapsed() < ANSWER_MAX,
            "the status waits for the disk"
        );
        assert_eq!(
            (&shown["pid"], &shown["runtime"]),
            (&running["pid"], &serde_json::Value::Null)
        );
    };
    wait_until("a helper hangs in the file system", SOON, || {
        assert_answers();
        process::children(stayd.pid())
            .expect("its children")
            .into_iter()
            .any(waits_for_fuse)
    });
    assert_answers();
}

/// Whether a thread of this process waits for the server of a FUSE file system.
fn waits_for_fuse(pid: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("wchan")).ok())
        .any(|place| place.contains("request_wait_answer") || place.contains("fuse"))
}
