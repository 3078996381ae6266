//! Services that fall silent together because of the host are not killed one after the other.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::watchdog::watched_service;
use super::support::{free_port, http_get, wait_until};

#[test]
fn three_services_that_fall_silent_at_once_are_not_killed_although_a_fourth_was_not_asked_since() {
    let names = ["a", "b", "c"];
    let ports = names.map(|_| free_port());
    let slow = watched_service("slow", free_port(), "", "")
        .replace("interval = \"200ms\"", "interval = \"10m\"");
    let fast: String = names
        .iter()
        .zip(ports)
        .map(|(name, port)| {
            watched_service(name, port, "", "").replace("interval = \"200ms\"", "interval = \"1s\"")
        })
        .collect();
    let daemon = Stayd::start(&(slow + &fast));
    daemon.wait_state("slow", "running");
    let pids = names.map(|name| pid(&daemon.wait_state(name, "running")));
    for port in ports {
        http_get(port, "/wedge").expect("the wedge");
    }
    let suppressed = |name: &str| {
        daemon.events().iter().any(|event| {
            event["kind"] == "spared"
                && event["service"] == name
                && event["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("fell silent at once"))
        })
    };
    wait_until(
        "each kill is due and suppressed, or one is carried out",
        SOON,
        || names.iter().all(|name| suppressed(name)) || daemon.count("killed") > 0,
    );
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
    assert!(pids.iter().all(|pid| is_alive(*pid)));
}
