//! What suppresses the kill of a silent service for a while: its own use of CPU or of its disk, throttling by its CPU quota,
//! and an overload of the host by other processes.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::watchdog::watched_service;
use super::support::{free_port, http_get, test_service, wait_until};
use std::fs;
#[cfg(target_os = "linux")]
use std::fs::Permissions;
#[cfg(target_os = "linux")]
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};

/// Processes that use more CPU than the machine has, at the lowest priority so that other tests go on.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let spin = || {
            let mut command = Command::new("nice");
            command.args(["-n", "19"]).arg(test_service()).arg("spin");
            command.spawn().expect("nice")
        };
        Self((0..processors * 4).map(|_| spin()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for one in &mut self.0 {
            let _ = one.kill();
            let _ = one.wait();
        }
    }
}

fn is_suppressed(daemon: &Stayd, words: &str) -> bool {
    daemon.events().iter().any(|event| {
        event["kind"] == "spared"
            && event["message"]
                .as_str()
                .is_some_and(|text| text.contains(words))
    })
}

#[test]
fn an_overload_by_other_processes_suppresses_the_kill_until_it_ends() {
    let port = free_port();
    let config = watched_service("s", port, "", "")
        .replace("timeout = \"200ms\"", "timeout = \"400ms\"")
        .replace("busy_grace = \"0s\"", "busy_grace = \"2s\"");
    let daemon = Stayd::start(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    let load = Load::start();
    http_get(port, "/wedge").expect("the wedge");
    wait_until("the overload suppresses the kill", SOON, || {
        is_suppressed(&daemon, "the host is overloaded by others")
    });
    assert!(is_alive(subject));
    drop(load);
    wait_until("the wedged service is killed afterwards", SOON, || {
        !is_alive(subject)
    });
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn its_own_cpu_quota_suppresses_the_kill_for_the_busy_grace_and_is_named() {
    let group = super::support::Cgroup::with_cpu_quota("quota", 2000);
    let port = free_port();
    let config =
        watched_service("s", port, "", "").replace("busy_grace = \"0s\"", "busy_grace = \"3s\"");
    let handler = "    while self.path=='/spin': pass";
    let daemon = Stayd::start(&super::support::watchdog::with_python_handler(
        port, handler, &config,
    ));
    let subject = pid(&daemon.wait_state("s", "running"));
    group.add_process(subject);
    let asking = std::thread::spawn(move || http_get(port, "/spin"));
    wait_until("the quota suppresses the kill", SOON, || {
        is_suppressed(&daemon, "throttled by its own CPU quota")
    });
    assert!(is_alive(subject));
    wait_until("it is killed after the grace", SOON, || !is_alive(subject));
    let _ = asking.join();
}

/// Python code of a handler that works for ever on /spin, with `work` as its body.
fn spinning(work: &str) -> String {
    format!("    while self.path=='/spin': {work}")
}

/// Starts a service that works as `work` says on a request, and waits until stayd reports that it suppresses the kill because
/// the service is busy. The service must survive until then.
fn assert_busy(work: &str) {
    let port = free_port();
    let config =
        watched_service("s", port, "", "").replace("busy_grace = \"0s\"", "busy_grace = \"60s\"");
    let daemon = Stayd::start(&super::support::watchdog::with_python_handler(
        port,
        &spinning(work),
        &config,
    ));
    let subject = pid(&daemon.wait_state("s", "running"));
    let asking = std::thread::spawn(move || http_get(port, "/spin"));
    wait_until("the work suppresses the kill", SOON, || {
        is_suppressed(&daemon, "but busy") || !is_alive(subject)
    });
    assert!(is_alive(subject), "{}", daemon.output());
    drop(daemon);
    let _ = asking.join();
}

#[test]
fn cpu_that_is_used_by_short_child_processes_counts_as_work_of_the_service() {
    // Each child ends after a few milliseconds, so hardly any is running when stayd looks.
    assert_busy("os.system('i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done')");
}

#[cfg(target_os = "linux")]
#[test]
fn writes_through_a_mapped_file_count_as_work_of_the_service() {
    let dir = super::support::TempDir::new();
    let file = dir.join("mapped");
    // Some megabytes a second through page faults alone, and hardly any CPU.
    let work = format!(
        "f=open('{}','w+b');f.truncate(1<<20);m=__import__('mmap').mmap(f.fileno(),1<<20);[m.__setitem__(i,1) for i in \
         range(0,1<<20,4096)];m.flush();m.close();f.close();time.sleep(0.05)",
        file.display()
    );
    assert_busy(&work);
}

#[test]
fn an_answered_readiness_probe_does_not_hide_the_work_that_keeps_liveness_from_an_answer() {
    let dir = super::support::TempDir::new();
    let (port, flag) = (free_port(), dir.join("spin"));
    let config = watched_service("s", port, "", "")
        .replace("busy_grace = \"0s\"", "busy_grace = \"60s\"")
        + &format!("[service.s.ready]\nprobe = \"http://127.0.0.1:{port}/health\"\n");
    let handler = format!(
        "    while self.path=='/query' and os.path.exists('{}'): pass",
        flag.display()
    );
    let config = super::support::watchdog::with_python_handler(port, &handler, &config)
        .replace("\\nHTTPServer(", "\\nThreadingHTTPServer(");
    let daemon = Stayd::start(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    fs::write(&flag, "").expect("written");
    wait_until("the work suppresses the kill", SOON, || {
        is_suppressed(&daemon, "but busy") || !is_alive(subject)
    });
    assert!(is_alive(subject), "{}", daemon.output());
}

/// The kernel hides the I/O of a program that its user may not read, as of one with file capabilities.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn io_that_cannot_be_read_buys_the_busy_grace_and_is_named() {
    let port = free_port();
    let folder = super::support::TempDir::new();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("open to all");
    let program = folder.join("server");
    fs::copy(test_service(), &program).expect("copied");
    fs::set_permissions(&program, Permissions::from_mode(0o711)).expect("executable only");
    let config = watched_service("s", port, "", "")
        .replace(
            &test_service().display().to_string(),
            &program.display().to_string(),
        )
        .replace("busy_grace = \"0s\"", "busy_grace = \"3s\"");
    let daemon = Stayd::start_as_another_user(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    http_get(port, "/wedge").expect("the wedge");
    wait_until("the kill is suppressed", SOON, || {
        is_suppressed(&daemon, "its I/O cannot be read")
    });
    assert!(is_alive(subject), "{}", daemon.output());
    wait_until("it is killed after the grace", SOON, || !is_alive(subject));
}
