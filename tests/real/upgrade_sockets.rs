//! Sockets during an upgrade: stayd holds them throughout, so that no connection is refused.

use super::sockets_service_killed::{CLIENTS, kill, service, wait_for_another};
use super::support::daemon::{SOON, Stayd};
use super::support::http::{Address, Clients, ask, pid_at};
use super::support::{free_port, wait_until};

/// How many upgrades are made, each followed by a kill of the service.
const UPGRADES: usize = 5;

#[track_caller]
fn upgrade(daemon: &Stayd) {
    let answer = daemon.client(&["upgrade"]);
    assert_eq!(answer.code, Some(0), "{answer:?}\n{}", daemon.output());
}

#[test]
fn no_connection_is_refused_over_upgrades_with_kills_of_the_service_between_them() {
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

/// During the backoff only stayd has the socket.
#[test]
fn a_client_that_waits_for_the_next_instance_is_answered_after_an_upgrade() {
    let port = free_port();
    let place = Address::Port(port);
    let config = service(&format!("[\"127.0.0.1:{port}\"]"), "");
    let with_backoff = config.replace("min = \"0s\", max = \"1ms\"", "min = \"3s\"");
    let daemon = Stayd::start_copied(&with_backoff);
    let pid = wait_for_another(&place, None);
    kill(pid);
    daemon.wait_state("s", "backoff");
    std::thread::scope(|scope| {
        let client = scope.spawn(|| ask(&place, "/"));
        upgrade(&daemon);
        let state = daemon.service("s")["state"].clone();
        assert_eq!(state, "backoff", "the backoff goes on");
        wait_until("the client is answered", SOON, || client.is_finished());
        client.join().expect("no panic").expect("an answer");
    });
    assert_eq!(daemon.service("s")["life"], 2);
}
