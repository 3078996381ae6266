//! A wedged service whose port is open and whose /health is 200, while its query hangs and it ignores SIGTERM.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::{free_port, http_get, test_service, wait_until};
use serde_json::Value;

fn server(port: u16) -> String {
    format!(
        r#"
[service.server]
command = ["{program}", "ignore-term", "serve-query", "{port}"]
port = {port}
stop = {{ grace = "200ms" }}
backoff = {{ min = "10ms" }}
[service.server.watchdog]
probe = "http://127.0.0.1:{port}/query"
interval = "300ms"
timeout = "300ms"
failures = 3
busy_grace = "0s"
[service.server.log]
to = "file"
"#,
        program = test_service().display()
    )
}

#[test]
fn a_service_with_a_silent_query_and_good_health_is_killed_and_answers_again() {
    let port = free_port();
    let daemon = Stayd::start(&server(port));
    let before = daemon.wait_state("server", "running");
    assert_eq!(before["healthy"], true);

    http_get(port, "/wedge").expect("the wedge");
    assert!(
        http_get(port, "/health")
            .expect("health")
            .contains("200 OK"),
        "its health is good"
    );
    wait_until("the wedged process is killed", SOON, || {
        !is_alive(pid(&before))
    });

    let after = daemon.wait_service("server", "answering again", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert_ne!(pid(&before), pid(&after));
    assert!(
        http_get(port, "/query")
            .expect("the query")
            .contains("200 OK")
    );
    assert_eq!(after["restarts"], 1);
    assert_eq!(after["last_exit"]["signal"], "KILL");
    let reason = after["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("killed: no answer to GET /query in 3 probes ("),
        "{reason}"
    );
    assert!(reason.contains(", using no CPU; last: "), "{reason}");
    let why = daemon.client(&["why", "server"]);
    assert_eq!(why.code, Some(0), "{why:?}");
    assert!(why.out.contains(reason), "{why:?}");
}

#[test]
fn a_probe_that_never_succeeded_kills_nothing() {
    let port = free_port();
    let config = server(port).replace("/query", ":wrong").replace(
        &format!("http://127.0.0.1:{port}:wrong"),
        &format!("tcp://127.0.0.1:{}", free_port()),
    );
    let config = config.replace("stop =", "startup = { within = \"500ms\" }\nstop =");
    let daemon = Stayd::start(&config);
    let found = daemon.wait_state("server", "unproven");
    let is_suppressed = |event: &Value| event["kind"] == "spared";
    wait_until("the suppressed kill is recorded", SOON, || {
        daemon.events().iter().any(is_suppressed)
    });
    assert_eq!(pid(&daemon.service("server")), pid(&found));
    assert_eq!(daemon.count("killed"), 0);
    assert!(
        found["reason"]
            .as_str()
            .expect("a reason")
            .contains("check whether the probe is right"),
        "{found}"
    );
}

#[test]
fn shadow_mode_records_the_kill_and_does_not_carry_it_out() {
    let port = free_port();
    let daemon =
        Stayd::start(&server(port).replace("failures = 3", "failures = 2\nmode = \"shadow\""));
    let before = daemon.wait_state("server", "running");
    http_get(port, "/wedge").expect("the wedge");
    wait_until("the kill is recorded", SOON, || {
        daemon.events().iter().any(|event| {
            event["message"]
                .as_str()
                .is_some_and(|text| text.contains("would have killed"))
        })
    });
    assert_eq!(pid(&daemon.service("server")), pid(&before));
}

#[test]
fn a_hold_suppresses_the_kill_until_it_is_released() {
    let port = free_port();
    let daemon = Stayd::start(&server(port));
    let before = daemon.wait_state("server", "running");
    let held = daemon.client(&["hold", "server", "--for", "10m", "--reason", "backup"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    http_get(port, "/wedge").expect("the wedge");
    wait_until("the hold suppresses the kill", SOON, || {
        daemon.events().iter().any(|event| {
            event["message"]
                .as_str()
                .is_some_and(|text| text.contains("held (backup)"))
        })
    });
    assert_eq!(pid(&daemon.service("server")), pid(&before));
    let released = daemon.client(&["release", "server"]);
    assert_eq!(released.code, Some(0), "{released:?}");
    wait_until("it is killed after the release", SOON, || {
        !is_alive(pid(&before))
    });
}

#[test]
fn a_stop_ends_a_service_that_ignores_sigterm() {
    let port = free_port();
    let mut daemon = Stayd::start(&server(port));
    let before = daemon.wait_state("server", "running");
    let stopped = daemon.client(&["stop", "server"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(!is_alive(pid(&before)));
    assert_eq!(daemon.service("server")["state"], "stopped");
    let started = daemon.client(&["start", "server"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let again = daemon.wait_state("server", "running");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!is_alive(pid(&again)), "an ordered stop leaves nothing");
}
