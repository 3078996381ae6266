//! Sockets under load while stayd is killed: the next one has them again, from the service that lives on.

use super::sockets_load::{CLIENTS, kill, service, times, wait_for_another};
use super::support::daemon::{Stayd, is_alive};
use super::support::http::{Address, Clients};
use super::support::{free_port, require_root};
use stayd::sys::socket;

/// `make soak` sets more.
const STAYD_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_CRASHES", 8);

#[test]
#[ignore = "needs root"]
fn no_connection_is_refused_while_stayd_is_killed_and_its_service_after_it() {
    require_root(); // to take a descriptor from a process that is not a child
    let (port, crashes) = (free_port(), times(STAYD_KILLS));
    let place = Address::Port(port);
    let mut daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\"]"), ""));
    let mut pid = wait_for_another(&place, None);
    let clients = Clients::start(&place, CLIENTS);
    for attempt in 0..crashes {
        daemon = daemon.kill_and_restart();
        daemon.wait_service("s", "adopted", |service| service["ownership"] == "adopted");
        assert!(is_alive(pid), "it lives on");
        assert!(holds(&daemon, port), "round {attempt}: {}", daemon.output());
        kill(pid);
        pid = wait_for_another(&place, Some(pid));
    }
    clients.stop().assert_unbroken(crashes);
}

fn holds(daemon: &Stayd, port: u16) -> bool {
    let listeners = socket::listeners(port).expect("listed");
    assert_eq!(listeners.len(), 1, "one socket, whoever has it open");
    socket::holds_listener(daemon.pid(), &listeners[0]).expect("its descriptors")
}
