//! The incident stayd exists for: the port is open, /health is 200, the query is silent, SIGTERM is ignored.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{free_port, http_get, victim, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

fn clinic(port: u16) -> String {
    format!(
        r#"
[service.clinic]
command = ["{victim}", "ignore-term", "clinic", "{port}"]
port = {port}
stop = {{ grace = "200ms" }}
backoff = {{ min = "10ms" }}
[service.clinic.watchdog]
probe = "http://127.0.0.1:{port}/query"
interval = "300ms"
timeout = "300ms"
failures = 3
busy_grace = "0s"
[service.clinic.log]
to = "file"
"#,
        victim = victim().display()
    )
}

fn pid(service: &Value) -> i32 {
    i32::try_from(service["pid"].as_i64().expect("a pid")).expect("a pid")
}

#[test]
fn items_31_32_and_35_a_silent_query_behind_a_healthy_face_is_killed_and_answers_again() {
    let port = free_port();
    let daemon = Stayd::start(&clinic(port));
    let before = daemon.wait_state("clinic", "running");
    assert_eq!(before["healthy"], true);

    let wedged_at = Instant::now();
    http_get(port, "/wedge").expect("the wedge");
    assert!(
        http_get(port, "/health")
            .expect("health")
            .contains("200 OK"),
        "its face is healthy"
    );
    wait_until("the wedged process is gone", SOON, || {
        !is_alive(pid(&before))
    });
    let took = wedged_at.elapsed();
    // max(interval, timeout) × failures + timeout + 1 s: the bound that people may rely on.
    assert!(
        took < Duration::from_millis(300 * 3 + 300 + 1000),
        "killed after {took:?}"
    );

    let after = daemon.wait_service("clinic", "answering again", |service| {
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
    assert!(reason.ends_with(", using no CPU"), "{reason}");
    let why = daemon.client(&["why", "clinic"]);
    assert_eq!(why.code, Some(0), "{why:?}");
    assert!(why.out.contains(reason), "{why:?}");
}

#[test]
fn law_3_a_probe_that_never_had_an_answer_kills_nobody() {
    let port = free_port();
    let config = clinic(port).replace("/query", ":wrong").replace(
        &format!("http://127.0.0.1:{port}:wrong"),
        &format!("tcp://127.0.0.1:{}", free_port()),
    );
    let config = config.replace("stop =", "startup = { within = \"500ms\" }\nstop =");
    let daemon = Stayd::start(&config);
    let found = daemon.wait_state("clinic", "unproven");
    let spared = |event: &Value| event["kind"] == "spared";
    wait_until("the watchdog has said why it spares it", SOON, || {
        daemon.events().iter().any(spared)
    });
    assert_eq!(pid(&daemon.service("clinic")), pid(&found));
    assert_eq!(daemon.count("killed"), 0);
    assert!(
        found["reason"]
            .as_str()
            .expect("a reason")
            .contains("is the probe right?"),
        "{found}"
    );
}

#[test]
fn shadow_mode_records_and_kills_nobody() {
    let port = free_port();
    let daemon =
        Stayd::start(&clinic(port).replace("failures = 3", "failures = 2\nmode = \"shadow\""));
    let before = daemon.wait_state("clinic", "running");
    http_get(port, "/wedge").expect("the wedge");
    wait_until("the shadow has spoken", SOON, || {
        daemon.events().iter().any(|event| {
            event["message"]
                .as_str()
                .is_some_and(|said| said.contains("would have killed"))
        })
    });
    assert_eq!(pid(&daemon.service("clinic")), pid(&before));
}

#[test]
fn items_16_and_17_a_hold_kills_nobody_and_its_release_arms_again() {
    let port = free_port();
    let daemon = Stayd::start(&clinic(port));
    let before = daemon.wait_state("clinic", "running");
    let held = daemon.client(&["hold", "clinic", "--for", "10m", "--reason", "backup"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    http_get(port, "/wedge").expect("the wedge");
    wait_until("the hold has spared it", SOON, || {
        daemon.events().iter().any(|event| {
            event["message"]
                .as_str()
                .is_some_and(|said| said.contains("held (backup)"))
        })
    });
    assert_eq!(pid(&daemon.service("clinic")), pid(&before));
    let released = daemon.client(&["release", "clinic"]);
    assert_eq!(released.code, Some(0), "{released:?}");
    wait_until("the wedge is killed once released", SOON, || {
        !is_alive(pid(&before))
    });
}

#[test]
fn a_stop_ends_a_service_that_ignores_the_signal_and_leaves_nothing() {
    let port = free_port();
    let mut daemon = Stayd::start(&clinic(port));
    let before = daemon.wait_state("clinic", "running");
    let stopped = daemon.client(&["stop", "clinic"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(!is_alive(pid(&before)));
    assert_eq!(daemon.service("clinic")["state"], "stopped");
    let started = daemon.client(&["start", "clinic"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let again = daemon.wait_state("clinic", "running");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!is_alive(pid(&again)), "an ordered end leaves nothing");
}
