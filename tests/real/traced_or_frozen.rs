//! A silent service is not killed while it, or a worker of it, is traced or frozen.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, python_service, strace_process, wait_for_child};
use super::support::watchdog::{WithCanary, watched_service};
use super::support::{Freezer, free_port, http_get, test_service, wait_until};
use serde_json::Value;
use std::fs;
use std::process::Command;

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

/// A service that reports WATCHDOG=1 until the file DIR/wedge exists, if it obeys that file. Its probe needs no descriptor.
fn reporting_service(name: &str, wedge: &str) -> String {
    let script = format!(
        "tell('READY=1')\nwhile not os.path.exists('{wedge}'):\n  tell('WATCHDOG=1')\n  time.sleep(0.05)\nwait_file('never')"
    );
    let watchdog = "[service.s.watchdog]\nprobe = \"notify\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\n\
                    failures = 3\nbusy_grace = \"0s\"";
    python_service(&script, watchdog).replace("[service.s", &format!("[service.{name}"))
}

/// Without a descriptor the kernel's tables cannot be read: neither that a debugger stops the service, nor which processes
/// a tree has.
#[cfg(target_os = "linux")]
#[test]
fn without_a_free_descriptor_a_traced_service_is_not_killed_and_a_wedged_one_is() {
    let config = reporting_service("s", "DIR/never") + &reporting_service("canary", "DIR/wedge");
    let daemon = Stayd::start(&config);
    let [subject, canary] = ["s", "canary"].map(|name| {
        let alive = |service: &Value| service["probes"][0]["class"] == "alive";
        pid(&daemon.wait_service(name, "alive", alive))
    });
    let limit = OpenFilesLimit::none_free(daemon.pid());
    let tracer = Tracer::stop(subject);
    fs::write(daemon.dir().join("wedge"), "").expect("a file");
    wait_until("the wedged service is killed", SOON, || !is_alive(canary));
    assert!(is_alive(subject), "{}", daemon.output());
    drop(limit);
    daemon.wait_service("s", "void", |service| {
        service["probes"][0]["class"] == "void"
    });
    tracer.release();
    daemon.wait_service("s", "alive", |service| {
        service["probes"][0]["class"] == "alive"
    });
    assert_eq!(pid(&daemon.service("s")), subject);
}

/// A limit under which a process can open nothing, until it is dropped.
#[cfg(target_os = "linux")]
struct OpenFilesLimit {
    pid: i32,
    before: String,
}

#[cfg(target_os = "linux")]
impl OpenFilesLimit {
    fn none_free(pid: i32) -> Self {
        let shown = Command::new("prlimit")
            .args(["--nofile", "--noheadings", "--raw", "--output", "SOFT"])
            .args(["--pid", &pid.to_string()])
            .output()
            .expect("util-linux");
        let before = String::from_utf8(shown.stdout).expect("a number");
        let limit = Self {
            pid,
            before: before.trim().to_owned(),
        };
        let is_free =
            |number: &u32| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_err();
        let lowest = (0..).find(is_free).expect("a free number");
        limit.set(&lowest.to_string());
        limit
    }

    fn set(&self, soft: &str) {
        let status = Command::new("prlimit")
            .arg(format!("--nofile={soft}:"))
            .args(["--pid", &self.pid.to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

#[cfg(target_os = "linux")]
impl Drop for OpenFilesLimit {
    fn drop(&mut self) {
        self.set(&self.before);
    }
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
