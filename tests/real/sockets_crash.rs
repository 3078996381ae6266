//! Sockets under load while stayd is killed: the next one has them again, from the service that lives on.

use super::sockets_load::{CLIENTS, kill, service, times, wait_for_another};
use super::support::crowd::{Crowd, Place};
use super::support::daemon::{Stayd, is_alive};
use super::support::free_port;
use stayd::sys::socket;

/// `make soak` sets more.
const STAYD_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_CRASHES", 8);

/// Whether the system lets us take a descriptor from a process that is no child of ours.
fn may_fetch() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    nix::unistd::geteuid().is_root() || matches!(scope.trim(), "" | "0")
}

#[test]
fn no_connection_is_refused_while_stayd_is_killed_and_its_service_after_it() {
    if !may_fetch() {
        return println!("skipped: needs root, or a ptrace_scope of 0");
    }
    let (port, crashes) = (free_port(), times(STAYD_KILLS));
    let place = Place::Port(port);
    let mut daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\"]"), ""));
    let mut pid = wait_for_another(&place, None);
    let crowd = Crowd::at(&place, CLIENTS);
    for attempt in 0..crashes {
        daemon = daemon.killed_and_again();
        daemon.wait_service("s", "adopted", |service| service["ownership"] == "adopted");
        assert!(is_alive(pid), "it lives on");
        assert!(holds(&daemon, port), "round {attempt}: {}", daemon.said());
        kill(pid);
        pid = wait_for_another(&place, Some(pid));
    }
    crowd.disperse().assert_unbroken(crashes);
}

fn holds(daemon: &Stayd, port: u16) -> bool {
    let listeners = socket::listeners(port).expect("listed");
    assert_eq!(listeners.len(), 1, "one socket, whoever has it open");
    socket::holds_listener(daemon.pid(), &listeners[0]).expect("its descriptors")
}
