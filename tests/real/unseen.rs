//! Lives that end completely while no stayd runs, and lives that have ended for good before it was killed.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{forge, kill, pid, service};
use super::support::wait_until;
use serde_json::Value;

const ONCE: &str = "restart = \"never\"";

/// A stayd that was killed while `config` ran, and its process after it.
fn both_killed(config: &str) -> Stayd {
    let mut first = Stayd::start(config);
    let left = pid(&first.wait_state("s", "running"));
    first.signal(libc::SIGKILL);
    first.wait();
    kill(left);
    wait_until("its process has gone", SOON, || !is_alive(left));
    first
}

#[test]
fn item_49_an_end_while_no_stayd_ran_is_told_once_and_runs_nothing_twice() {
    let second = both_killed(&service("sleep", ONCE)).restart();
    let stopped = second.wait_state("s", "stopped");
    let exit = &stopped["last_exit"];
    assert_eq!(
        (&exit["code"], &exit["signal"]),
        (&Value::Null, &Value::Null)
    );
    assert!(exit["at"].is_string(), "{stopped}");
    assert_eq!((second.count("started"), second.count("exited")), (1, 1));

    let third = second.kill_and_restart();
    let stopped = third.wait_state("s", "stopped");
    let reason = stopped["reason"].as_str().expect("text");
    assert!(reason.contains("restart = \"never\""), "{reason}");
    assert_eq!((third.count("started"), third.count("exited")), (1, 1));
    assert_eq!(third.client(&["start", "s"]).code, Some(0));
    assert_eq!(third.service("s")["life"], 2);
}

#[test]
fn item_49_an_end_while_no_stayd_ran_is_a_failure_where_failures_are_started_again() {
    for restart in ["always", "on-failure"] {
        let second = both_killed(&service("sleep", &format!("restart = \"{restart}\""))).restart();
        let next = second.wait_service("s", "its next life", |service| {
            service["state"] == "running" && service["life"] == 2
        });
        let exit = &next["last_exit"];
        assert_eq!(
            (&exit["code"], &exit["signal"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(second.count("exited"), 1, "{restart}");
    }
}

#[test]
fn what_has_run_to_its_end_is_not_run_again_after_a_crash_but_after_an_ordered_end() {
    let first = Stayd::start(&service("exit 0", ONCE));
    first.wait_state("s", "stopped");
    assert_eq!(first.count("started"), 1);
    let mut second = first.kill_and_restart();
    let stopped = second.wait_state("s", "stopped");
    let reason = stopped["reason"].as_str().expect("text");
    assert!(reason.contains("exited with status 0"), "{reason}");
    assert_eq!((second.count("started"), second.count("exited")), (1, 1));
    assert_eq!(second.stop().code(), Some(0));
    let third = second.restart();
    third.wait_service("s", "its second run", |service| {
        service["state"] == "stopped" && service["life"] == 2
    });
}

/// A restart was cut short, or no process ever came of the intent: neither is an end.
#[test]
fn a_life_that_was_to_be_replaced_or_never_began_is_followed_by_the_next() {
    for (what, keys) in [
        ("ending", &["ending"][..]),
        ("intent", &["pid", "birth", "first"]),
    ] {
        let first = both_killed(&service("sleep", ONCE));
        forge(&first, |claim| {
            for &key in keys {
                claim[key] = if key == "ending" {
                    true.into()
                } else {
                    Value::Null
                };
            }
        });
        let second = first.restart();
        second.wait_service("s", what, |service| {
            service["state"] == "running" && service["life"] == 2
        });
        assert_eq!(second.count("exited"), 0, "{what}");
    }
}

#[test]
fn after_a_reboot_everything_begins_anew() {
    let first = both_killed(&service("sleep", ONCE));
    forge(&first, |claim| claim["boot_id"] = "another boot".into());
    let second = first.restart();
    second.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
}
