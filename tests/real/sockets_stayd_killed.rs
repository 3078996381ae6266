//! Sockets under load while stayd is killed: the next stayd takes them over from the running service.

use super::sockets_service_killed::{CLIENTS, kill, service, times, wait_for_another};
use super::support::daemon::{Stayd, is_alive};
use super::support::http::{Address, Clients};
use super::support::{free_port, require_root};
use stayd::sys::socket;

/// The environment variable that says how often stayd is killed (`make soak` sets it), and how often without it.
const STAYD_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_CRASHES", 8);

/// Only root may take a descriptor from any process that is not its child (pidfd_getfd(2), ptrace(2)).
#[test]
#[ignore = "needs root"]
fn no_connection_is_refused_while_stayd_is_killed_and_then_its_service() {
    require_root();
    let (port, kills) = (free_port(), times(STAYD_KILLS));
    let place = Address::Port(port);
    let mut daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\"]"), ""));
    let mut pid = wait_for_another(&place, None);
    let clients = Clients::start(&place, CLIENTS);
    for nth in 0..kills {
        daemon = daemon.kill_and_restart();
        daemon.wait_service("s", "adopted", |service| service["ownership"] == "adopted");
        assert!(is_alive(pid), "the service outlives stayd");
        assert!(
            holds_listener(&daemon, port),
            "kill {nth}: {}",
            daemon.output()
        );
        kill(pid);
        pid = wait_for_another(&place, Some(pid));
    }
    clients.stop().assert_unbroken(kills);
}

/// Whether this stayd has the port's listening socket open; fails unless there is exactly one such socket.
fn holds_listener(daemon: &Stayd, port: u16) -> bool {
    let listeners = socket::listeners(port).expect("listed");
    assert_eq!(listeners.len(), 1, "stayd and the service share one socket");
    socket::holds_listener(daemon.pid(), &listeners[0]).expect("its descriptors")
}
