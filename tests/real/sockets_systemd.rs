//! Sockets under a real systemd: its fd store keeps them when stayd and the service are killed together, and stayd uses
//! the sockets of a .socket unit.

use super::sockets_service_killed::{service, wait_for_another};
use super::support::http::{Address, Clients, pid_at};
use super::systemd_unit::{Installed, SOON, stayd};
use crate::support::{SystemdContainer, free_port, wait_until};
use std::fs;
use std::net::TcpStream;

/// How often stayd and the service are killed together.
const KILLS: usize = 5;

/// Installs a unit whose service answers HTTP on the socket of this port.
fn installed(port: u16, more: &str) -> (Installed, Address) {
    let unit = Installed::new("");
    let config = service(&format!("[\"127.0.0.1:{port}\"]"), more);
    let text = format!("name = \"boxed\"\n{config}");
    fs::write(unit.systemd.path("/etc/stayd/stayd.toml"), text).unwrap();
    (unit, Address::Port(port))
}

/// Kills stayd and its service, as the kernel's OOM killer might.
fn kill_both(systemd: &SystemdContainer, stayd: &str) {
    systemd.done(&["kill", "-KILL", stayd]);
    systemd.done(&["pkill", "-KILL", "-f", "serve-held"]);
}

/// How many sockets systemd keeps for the unit in its fd store.
fn stored(unit: &Installed) -> String {
    unit.systemd
        .property("stayd.service", "NFileDescriptorStore")
}

#[test]
#[ignore = "needs root"]
fn the_fd_store_keeps_a_socket_when_stayd_and_its_service_are_killed_together() {
    let port = free_port();
    let (unit, place) = installed(port, "");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let mut pid = wait_for_another(&place, None);
    wait_until("the socket is in the fd store", SOON, || {
        stored(&unit) == "1"
    });
    let clients = Clients::start(&place, 4);
    for _ in 0..KILLS {
        kill_both(&unit.systemd, &unit.main_pid());
        pid = wait_for_another(&place, Some(pid));
    }
    unit.systemd
        .done(&["systemctl", "restart", "stayd.service"]);
    wait_for_another(&place, Some(pid));
    clients.stop().assert_unbroken(KILLS);
    assert_eq!(stored(&unit), "1", "the socket is stored once");

    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
#[ignore = "needs root"]
fn the_socket_of_a_stopped_or_removed_service_is_taken_out_of_the_fd_store() {
    let port = free_port();
    let (unit, place) = installed(port, "");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    wait_for_another(&place, None);
    wait_until("the socket is in the fd store", SOON, || {
        stored(&unit) == "1"
    });
    let client = |verb| {
        unit.systemd
            .done(&[stayd(), verb, "s", "-c", "/etc/stayd/stayd.toml"]);
    };
    client("stop");
    wait_until("the socket is out of the fd store", SOON, || {
        stored(&unit) == "0"
    });
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    client("start");
    wait_for_another(&place, None);
    wait_until("the socket is in the fd store again", SOON, || {
        stored(&unit) == "1"
    });

    // No service of the new configuration has the socket: stayd closes it and takes it out of the fd store.
    let text = "name = \"boxed\"\n[service.other]\ncommand = [\"sleep\", \"1000\"]\n";
    fs::write(unit.systemd.path("/etc/stayd/stayd.toml"), text).unwrap();
    kill_both(&unit.systemd, &unit.main_pid());
    wait_until("the unused socket is out of the fd store", SOON, || {
        unit.journal().contains("no service has it in `sockets`") && stored(&unit) == "0"
    });
    wait_until("connections are refused", SOON, || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
}

#[test]
#[ignore = "needs root"]
fn the_socket_of_a_socket_unit_is_used_and_outlives_a_stop() {
    let port = free_port();
    let (unit, place) = installed(port, "user = \"nobody\"");
    let socket = format!("[Socket]\nListenStream=127.0.0.1:{port}\n");
    unit.systemd.add_unit("stayd.socket", &socket);
    unit.systemd.done(&["systemctl", "start", "stayd.socket"]);
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let first = wait_for_another(&place, None);
    assert_eq!(stored(&unit), "0", "the .socket unit holds the socket");
    let clients = Clients::start(&place, 4);
    kill_both(&unit.systemd, &unit.main_pid());
    let second = wait_for_another(&place, Some(first));

    let client = |verb| {
        unit.systemd
            .done(&[stayd(), verb, "s", "-c", "/etc/stayd/stayd.toml"]);
    };
    client("stop");
    drop(TcpStream::connect(("127.0.0.1", port)).expect("systemd still listens"));
    client("start");
    wait_for_another(&place, Some(second));
    clients.stop().assert_unbroken(2);
    assert!(pid_at(&place).is_some());
}
