//! The watchdog must not kill a service that is stopped or busy, or that stayd itself cannot judge.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, python_service};
use super::support::watchdog::{WithCanary, watched_service, with_python_handler};
use super::support::{free_port, http_get, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

#[test]
fn a_stopped_service_is_not_killed_where_stopped_is_held() {
    let test = WithCanary::new("stopped_is = \"held\"", |_| {});
    test.signal(Signal::SIGSTOP);
    test.wait_probe_class("void");
    test.assert_outlives_canary();
    test.signal(Signal::SIGCONT);
    test.wait_probe_class("alive");
    assert_eq!(pid(&test.daemon.service("s")), test.subject);
}

#[test]
fn a_stopped_service_is_killed_by_default() {
    let test = WithCanary::new("", |_| {});
    test.signal(Signal::SIGSTOP);
    test.wait_killed();
}

#[test]
fn attempts_that_stayd_itself_was_too_late_for_kill_nothing() {
    let test = WithCanary::new("", |_| {});
    for _ in 0..3 {
        test.daemon.signal(libc::SIGSTOP);
        // what is tested is lost time: the deadlines of all three attempts of a kill pass while stayd is stopped
        std::thread::sleep(Duration::from_secs(2));
        test.daemon.signal(libc::SIGCONT);
        test.wait_probe_class("alive");
    }
    assert_eq!(test.daemon.count("killed"), 0);
    test.assert_outlives_canary();
}

#[test]
fn a_silent_service_that_uses_cpu_is_killed_only_after_its_busy_grace() {
    let port = free_port();
    let config =
        watched_service("s", port, "", "").replace("busy_grace = \"0s\"", "busy_grace = \"3s\"");
    let config = with_python_handler(port, "    while self.path=='/spin': pass", &config);
    let daemon = Stayd::start(&config);
    let before = pid(&daemon.wait_state("s", "running"));
    let asking = std::thread::spawn(move || http_get(port, "/spin"));
    wait_until("its kill is suppressed", SOON, || {
        daemon.count("spared") > 0
    });
    assert!(is_alive(before));
    daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert!(!is_alive(before));
    let _ = asking.join();
}

#[cfg(target_os = "linux")]
#[test]
fn without_free_descriptors_stayd_has_no_verdict() {
    let test = WithCanary::new("", |_| {});
    let limit = |soft: &str| {
        let set = super::support::tool("prlimit")
            .args(["--pid", &test.daemon.pid().to_string()])
            .arg(format!("--nofile={soft}:"))
            .status();
        assert!(set.expect("prlimit").success());
    };
    let before =
        fs::read_to_string(format!("/proc/{}/limits", test.daemon.pid())).expect("its limits");
    let former_limit = before
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(3))
        .expect("its limit")
        .to_owned();
    limit("4");
    http_get(test.port, "/query").expect("it is healthy meanwhile");
    // without descriptors stayd answers no client: enough time for more failures than a kill needs
    std::thread::sleep(Duration::from_secs(3));
    limit(&former_limit);
    test.wait_probe_class("alive");
    let events = test.daemon.events();
    let said = |kind: &str, words: &str| {
        events.iter().any(|event| {
            event["service"] == "s"
                && event["kind"] == kind
                && event["message"]
                    .as_str()
                    .is_some_and(|said| said.contains(words))
        })
    };
    assert!(said("spared", "not judged (no-verdict)"), "{events:#?}");
    assert!(
        said("spared", "descriptor"),
        "the reason is stayd's own lack of descriptors: {events:#?}"
    );
    assert!(!said("verdict", "dead"), "{events:#?}");
    assert_eq!(test.daemon.count("killed"), 0);
    test.assert_outlives_canary();
}

/// Connects to the address of `url`, as a client of that proxy would.
fn http_get_from(url: &str) -> std::io::Result<()> {
    let address = url.trim_start_matches("http://");
    std::net::TcpStream::connect(address).map(drop)
}

#[test]
fn probes_ignore_a_proxy_in_the_environment() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    proxy.set_nonblocking(true).expect("non-blocking");
    let url = format!("http://{}", proxy.local_addr().expect("bound"));
    let test = WithCanary::new("", |command| {
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, &url);
        }
    });
    test.wait_probe_class("alive");
    test.assert_outlives_canary();
    let called = proxy.accept().expect_err("no connection to the proxy");
    assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock);
    http_get_from(&url).expect("the proxy can be reached");
    assert!(proxy.accept().is_ok());
}

#[test]
fn an_answer_from_a_process_outside_the_tree_is_no_verdict() {
    let port = free_port();
    let foreign = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let config = watched_service("s", port, "", "")
        .replacen(&format!("port = {port}\n"), "", 1)
        .replace(&format!("\"serve-query\", \"{port}\""), "\"sleep\"");
    let config = config.replace("backoff", "startup = { within = \"500ms\" }\nbackoff");
    let daemon = Stayd::start(&config);
    let us = format!("port {port} is answered by pid {}", std::process::id());
    // On a busy machine the search for the process takes longer than the first attempts.
    let found = daemon.wait_service("s", "judged, and the process named", |service| {
        service["probes"][0]["class"] == "no-verdict"
            && service["state"] == "unproven"
            && service["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains(&us))
    });
    assert_eq!(daemon.service("s")["pid"], found["pid"]);
    assert_eq!(daemon.count("killed"), 0);
    drop(foreign);
}

#[test]
fn a_locked_database_is_degraded_and_its_service_is_not_killed() {
    let script = "import sqlite3\nd=sqlite3.connect('DIR/state.db',isolation_level=None)\nd.execute('CREATE TABLE IF NOT EXISTS t(a)')\nopen('DIR/made','w')\nwait_file('lock')\nd.execute('BEGIN EXCLUSIVE')\nopen('DIR/locked','w')\nwait_file('unlock')\nd.execute('COMMIT')\nwait_file('never')";
    let daemon = Stayd::start(&python_service(
        script,
        "[service.s.watchdog]\nprobe = \"sqlite:DIR/state.db\"\ninterval = \"200ms\"\ntimeout = \"1s\"\nfailures = 2\nbusy_grace = \"0s\"",
    ));
    let is_class = |class: &str| {
        daemon.wait_service("s", class, |service| {
            service["probes"][0]["class"] == class && service["life"] == 1
        })
    };
    let before = is_class("alive");
    fs::write(daemon.dir().join("lock"), "").expect("a file");
    let locked = is_class("degraded");
    assert_eq!(pid(&locked), pid(&before));
    let holder = format!("is locked by the service itself (pid {}, ", pid(&before));
    let reason = locked["reason"].as_str().expect("a reason");
    assert!(reason.contains(&holder), "{reason}");
    fs::write(daemon.dir().join("unlock"), "").expect("a file");
    assert_eq!(pid(&is_class("alive")), pid(&before));
    assert_eq!(daemon.count("killed"), 0);
}
