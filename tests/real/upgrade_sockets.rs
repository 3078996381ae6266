//! Held sockets while versions change: nobody who connects is refused.

use super::sockets_load::{CLIENTS, kill, service, wait_for_another};
use super::support::daemon::{SOON, Stayd};
use super::support::http::{Address, Clients, ask, pid_at};
use super::support::{free_port, wait_until};

/// Upgrades in a row, each followed by a kill of the service.
const UPGRADES: usize = 5;

#[track_caller]
fn upgrade(daemon: &Stayd) {
    let answer = daemon.client(&["upgrade"]);
    assert_eq!(answer.code, Some(0), "{answer:?}\n{}", daemon.output());
}

#[test]
fn item_90_no_connection_is_refused_over_upgrades_and_kills_after_them() {
    let port = free_port();
    let place = Address::Port(port);
    let daemon = Stayd::start_copied(&service(&format!("[\"127.0.0.1:{port}\"]"), ""));
    let mut pid = wait_for_another(&place, None);
    let clients = Clients::start(&place, CLIENTS);
    for _ in 0..UPGRADES {
        upgrade(&daemon);
        assert_eq!(pid_at(&place), Some(pid), "{}", daemon.output());
        kill(pid);
        pid = wait_for_another(&place, Some(pid));
    }
    clients.stop().assert_unbroken(UPGRADES);
}

/// Nobody but stayd has the socket then.
#[test]
fn item_90_who_waits_for_the_next_life_waits_through_an_upgrade() {
    let port = free_port();
    let place = Address::Port(port);
    let config = service(&format!("[\"127.0.0.1:{port}\"]"), "");
    let waits = config.replace("min = \"0s\", max = \"1ms\"", "min = \"3s\"");
    let daemon = Stayd::start_copied(&waits);
    let pid = wait_for_another(&place, None);
    kill(pid);
    daemon.wait_state("s", "backoff");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&place, "/"));
        upgrade(&daemon);
        assert_eq!(daemon.service("s")["state"], "backoff", "its wait goes on");
        wait_until("it is answered", SOON, || asking.is_finished());
        asking.join().expect("no panic").expect("answered");
    });
    assert_eq!(daemon.service("s")["life"], 2);
}
