//! What an earlier stayd has left of a service that is not configured any more.

use super::adoption::{kill, pid, service};
use super::support::daemon::{SOON, Stayd};
use super::support::wait_until;
use serde_json::Value;
use std::time::Duration;

fn forgotten(daemon: &Stayd) -> Value {
    let told = daemon.client(&["status", "--json"]).out;
    let told: Value = serde_json::from_str(&told).expect("JSON alone");
    told["daemon"]["forgotten"].clone()
}

#[test]
fn a_process_of_a_service_that_is_not_configured_any_more_is_shown_where_people_look() {
    let first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite("[service.other]\ncommand = [\"sleep\", \"1000\"]\n");
    let second = first.killed_and_again();
    second.wait_state("other", "running");
    let sentence =
        format!("pid {left} was started as life 1 of s, which is not in the configuration");
    assert!(second.said().contains(&sentence));

    let shown = forgotten(&second);
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
    let mut told = events.iter().filter(|event| event["kind"] == "forgotten");
    let told = told.next().expect("an event");
    assert_eq!(
        (&told["service"], &told["facts"]["pid"]),
        (&"s".into(), &left.into())
    );
    let explained = second.client(&["explain", &left.to_string()]).out;
    assert!(
        explained.contains("is no longer configured: stayd does not watch it"),
        "{explained}"
    );

    kill(left);
    wait_until("it has ended, and is shown no more", SOON, || {
        forgotten(&second).is_null()
    });
}

#[test]
fn a_service_that_is_configured_again_is_forgotten_no_more() {
    const OTHER: &str = "[service.other]\ncommand = [\"sleep\", \"1000\"]\n";
    let first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite(OTHER);
    let second = first.killed_and_again();
    second.wait_state("other", "running");
    assert_eq!(forgotten(&second)[0]["pid"], left);
    second.rewrite(&format!("{}{OTHER}", service("sleep", "")));
    second.signal(libc::SIGHUP);
    wait_until("it is known again", SOON, || forgotten(&second).is_null());
    assert_eq!(pid(&second.wait_state("s", "running")), left);
}

/// Otherwise it would stop at the line for which its FIFO has no room.
#[test]
fn what_a_forgotten_service_writes_is_still_read() {
    let chatty = "[service.s]\ncommand = [\"yes\"]\n[service.s.log]\nto = \"file\"\nmax_size = \"64KiB\"\nkeep = 1\n";
    let first = Stayd::start(chatty);
    let left = pid(&first.wait_state("s", "running"));
    first.rewrite("[service.other]\ncommand = [\"sleep\", \"1000\"]\n");
    let second = first.killed_and_again();
    second.wait_state("other", "running");
    let used = || stayd::sys::process::stat(left).expect("it lives").cpu;
    let then = used();
    wait_until("it works on", SOON, || {
        used() > then + Duration::from_millis(200)
    });
    kill(left);
}
