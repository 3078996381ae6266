//! Instances that end while no stayd runs, or that ended for good before stayd was killed: what the next stayd does.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{forge, kill, pid, service};
use super::support::wait_until;
use serde_json::Value;

const ONCE: &str = "restart = \"never\"";

/// Starts a stayd with this configuration, kills it and then its service, and returns the dead stayd.
fn both_killed(config: &str) -> Stayd {
    let mut first = Stayd::start(config);
    let main = pid(&first.wait_state("s", "running"));
    first.kill();
    kill(main);
    wait_until("the service has ended", SOON, || !is_alive(main));
    first
}

#[test]
fn an_exit_while_no_stayd_ran_is_recorded_once_and_a_service_that_runs_once_stays_stopped() {
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
fn an_exit_while_no_stayd_ran_counts_as_a_failure_and_is_restarted() {
    for restart in ["always", "on-failure"] {
        let second = both_killed(&service("sleep", &format!("restart = \"{restart}\""))).restart();
        let next = second.wait_service("s", "the next instance", |service| {
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
fn a_service_that_ran_once_is_not_run_again_after_a_crash_of_stayd_but_after_its_ordered_stop() {
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
    third.wait_service("s", "the second run", |service| {
        service["state"] == "stopped" && service["life"] == 2
    });
}

/// stayd was killed during a restart, or before the process was started. Neither is an exit of the service.
#[test]
fn an_instance_that_was_being_replaced_or_never_started_is_followed_by_the_next_one() {
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
fn after_a_reboot_a_service_that_runs_once_is_started() {
    let first = both_killed(&service("sleep", ONCE));
    forge(&first, |claim| claim["boot_id"] = "another boot".into());
    let second = first.restart();
    second.wait_service("s", "the next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
}
