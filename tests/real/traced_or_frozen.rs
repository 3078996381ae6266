//! A silent service is not killed while it, or a worker of it, is traced or frozen.

use super::support::daemon::{SOON, is_alive};
use super::support::service::{pid, strace_process, wait_for_child};
use super::support::watchdog::{WithCanary, watched_service};
use super::support::{Freezer, free_port, http_get, test_service, wait_until};

#[test]
fn a_traced_service_is_not_killed_until_its_tracer_ends() {
    let test = WithCanary::new("", |_| {});
    http_get(test.port, "/wedge").expect("the wedge");
    let mut tracer = strace_process(test.subject);
    test.wait_probe_class("void");
    test.assert_outlives_canary();
    tracer.kill().expect("released");
    tracer.wait().expect("strace");
    test.wait_killed();
}

#[test]
#[ignore = "needs root"]
fn a_frozen_service_is_not_killed_until_it_is_thawed() {
    let freezer = Freezer::new("service");
    let test = WithCanary::new("", |_| {});
    freezer.add_process(test.subject);
    freezer.freeze();
    test.wait_probe_class("void");
    test.assert_outlives_canary();
    freezer.thaw();
    test.wait_probe_class("alive");
    assert_eq!(pid(&test.daemon.service("s")), test.subject);
}

/// A service whose main process sleeps, while its child, in a session of its own, answers; and the child's pid.
fn with_worker() -> (WithCanary, i32) {
    let port = free_port();
    let config = watched_service("s", port, "", "")
        .replace("\"serve-query\"", "\"setsid\", \"serve-query\"");
    let test = WithCanary::of(port, &config, |_| {});
    let worker = wait_for_child(test.subject);
    (test, worker)
}

#[test]
fn a_traced_worker_is_not_killed_until_its_tracer_ends() {
    let (test, worker) = with_worker();
    http_get(test.port, "/wedge").expect("the wedge");
    let mut tracer = strace_process(worker);
    test.wait_probe_class("void");
    test.assert_outlives_canary();
    assert!(is_alive(worker));
    tracer.kill().expect("released");
    tracer.wait().expect("strace");
    test.wait_killed();
}

#[test]
#[ignore = "needs root"]
fn a_frozen_worker_is_not_killed_until_it_is_thawed() {
    let freezer = Freezer::new("worker");
    let (test, worker) = with_worker();
    freezer.add_process(worker);
    freezer.freeze();
    test.wait_probe_class("void");
    test.assert_outlives_canary();
    assert!(is_alive(worker));
    freezer.thaw();
    test.wait_probe_class("alive");
}

/// Otherwise a service that traces its own processes would never be killed.
#[test]
fn a_tracer_inside_the_services_own_tree_suppresses_no_kill() {
    let port = free_port();
    let test_service = format!("\"{}\"", test_service().display());
    let traced = format!("\"strace\", \"-f\", \"-o\", \"/dev/null\", {test_service}");
    let test = WithCanary::of(
        port,
        &watched_service("s", port, "", "").replace(&test_service, &traced),
        |_| {},
    );
    http_get(test.port, "/wedge").expect("the wedge");
    test.wait_killed();
}

/// gcore(1) stops the process with ptrace until the dump is written.
#[test]
fn a_healthy_service_that_is_stopped_for_a_dump_is_not_killed() {
    let test = WithCanary::new("", |_| {});
    let tracer = Tracer::stop(test.subject);
    test.wait_probe_class("void");
    let reason = test.daemon.service("s")["reason"].clone();
    assert!(
        reason
            .as_str()
            .is_some_and(|text| text.contains("not judged")),
        "{reason}"
    );
    test.assert_outlives_canary();
    tracer.release();
    test.wait_probe_class("alive");
    assert_eq!(pid(&test.daemon.service("s")), test.subject);
}

/// Stops a process as a debugger does. Only the thread that seized it can detach.
struct Tracer(i32);

#[expect(unsafe_code, reason = "ptrace(2)")]
impl Tracer {
    fn stop(pid: i32) -> Self {
        for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: numbers only, about a process of this test's.
            let result = unsafe { libc::ptrace(request, pid, 0, 0) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        }
        Self(pid)
    }

    fn release(self) {
        // PTRACE_DETACH fails until the tracee has stopped
        wait_until("the tracer detaches", SOON, || {
            // SAFETY: as above.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) == 0 }
        });
    }
}
