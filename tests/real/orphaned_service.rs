//! An orphaned service: its process was left by an earlier stayd, and the service is no longer configured.

use super::support::daemon::{SOON, Stayd};
use super::support::service::{kill, pid, service};
use super::support::wait_until;
use serde_json::Value;
use std::time::Duration;

fn orphaned(daemon: &Stayd) -> Value {
    let status = daemon.client(&["status", "--json"]).out;
    let status: Value = serde_json::from_str(&status).expect("only JSON");
    status["daemon"]["forgotten"].clone()
}

#[test]
fn an_orphaned_service_is_shown_by_status_events_and_explain() {
    let first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite("[service.other]\ncommand = [\"sleep\", \"1000\"]\n");
    let second = first.kill_and_restart();
    second.wait_state("other", "running");
    let sentence =
        format!("pid {left} was started as life 1 of s, which is not in the configuration");
    assert!(second.output().contains(&sentence));

    let shown = orphaned(&second);
    assert_eq!(
        (&shown[0]["service"], &shown[0]["life"]),
        (&"s".into(), &1.into())
    );
    assert_eq!(shown[0]["pid"], left);
    let table = second.client(&["status"]).out;
    assert!(
        table.contains(&format!("left alone: {sentence}")),
        "{table}"
    );
    let events = second.events();
    let mut recorded = events.iter().filter(|event| event["kind"] == "forgotten");
    let event = recorded.next().expect("an event");
    assert_eq!(
        (&event["service"], &event["facts"]["pid"]),
        (&"s".into(), &left.into())
    );
    let explained = second.client(&["explain", &left.to_string()]).out;
    assert!(
        explained.contains("is no longer configured: stayd does not watch it"),
        "{explained}"
    );

    kill(left);
    wait_until("it has ended and is no longer shown", SOON, || {
        orphaned(&second).is_null()
    });
}

#[test]
fn a_reload_that_configures_the_service_again_adopts_it() {
    const OTHER: &str = "[service.other]\ncommand = [\"sleep\", \"1000\"]\n";
    let first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(OTHER);
    let second = first.kill_and_restart();
    second.wait_state("other", "running");
    assert_eq!(orphaned(&second)[0]["pid"], left);
    second.rewrite(&format!("{}{OTHER}", service("sleep", "")));
    second.signal(libc::SIGHUP);
    wait_until("it is no longer shown as orphaned", SOON, || {
        orphaned(&second).is_null()
    });
    assert_eq!(pid(&second.wait_state("s", "running")), left);
}

/// Otherwise the service would block when its FIFO is full.
#[test]
fn the_output_of_an_orphaned_service_is_still_read() {
    let chatty = "[service.s]\ncommand = [\"yes\"]\n[service.s.log]\nto = \"file\"\nmax_size = \"64KiB\"\nkeep = 1\n";
    let first = Stayd::start(chatty);
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite("[service.other]\ncommand = [\"sleep\", \"1000\"]\n");
    let second = first.kill_and_restart();
    second.wait_state("other", "running");
    let used = || stayd::sys::process::stat(left).expect("it lives").cpu;
    let then = used();
    wait_until("it continues to write", SOON, || {
        used() > then + Duration::from_millis(200)
    });
    kill(left);
}
