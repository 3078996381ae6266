//! Sockets under load while stayd is killed: the next stayd takes them over from the running service.

use super::sockets_service_killed::{CLIENTS, kill, service, times, wait_for_another};
use super::support::crowd::{Crowd, Place};
use super::support::daemon::{Stayd, is_alive};
use super::support::free_port;
use stayd::sys::socket;

/// The environment variable that says how often stayd is killed (`make soak` sets it), and how often without it.
const STAYD_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_CRASHES", 8);

/// Whether this user may take a descriptor from a process that is not its child (pidfd_getfd(2), ptrace(2)).
fn may_take_descriptors() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    nix::unistd::geteuid().is_root() || matches!(scope.trim(), "" | "0")
}

#[test]
fn no_connection_is_refused_while_stayd_is_killed_and_then_its_service() {
    if !may_take_descriptors() {
        return println!("skipped: needs root, or a ptrace_scope of 0");
    }
    let (port, kills) = (free_port(), times(STAYD_KILLS));
    let place = Place::Port(port);
    let mut daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\"]"), ""));
    let mut pid = wait_for_another(&place, None);
    let crowd = Crowd::at(&place, CLIENTS);
    for nth in 0..kills {
        daemon = daemon.killed_and_again();
        daemon.wait_service("s", "adopted", |service| service["ownership"] == "adopted");
        assert!(is_alive(pid), "the service outlives stayd");
        assert!(
            holds_listener(&daemon, port),
            "kill {nth}: {}",
            daemon.said()
        );
        kill(pid);
        pid = wait_for_another(&place, Some(pid));
    }
    crowd.disperse().assert_unbroken(kills);
}

/// Whether this stayd has the port's listening socket open; fails unless there is exactly one such socket.
fn holds_listener(daemon: &Stayd, port: u16) -> bool {
    let listeners = socket::listeners(port).expect("listed");
    assert_eq!(listeners.len(), 1, "stayd and the service share one socket");
    socket::holds_listener(daemon.pid(), &listeners[0]).expect("its descriptors")
}
