//! Sockets under a real systemd: its store keeps them when everybody is killed, and those of a .socket unit are used.

use super::sockets_load::{service, wait_for_another};
use super::support::http::{Address, Clients, pid_at};
use super::systemd_unit::{Installed, stayd};
use crate::support::{SystemdContainer, free_port, wait_until};
use std::fs;
use std::net::TcpStream;
use std::time::Duration;

/// Generous: several boxes share a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// Times that both stayd and the service are killed.
const CRASHES: usize = 5;

/// A unit whose service serves what it is given on this port.
fn installed(port: u16, more: &str) -> (Installed, Address) {
    let unit = Installed::new("");
    let config = service(&format!("[\"127.0.0.1:{port}\"]"), more);
    let text = format!("name = \"boxed\"\n{config}");
    fs::write(unit.systemd.path("/etc/stayd/stayd.toml"), text).unwrap();
    (unit, Address::Port(port))
}

/// SIGKILL to stayd and to its service, as the machine's memory killer might do it.
fn kill_both(systemd: &SystemdContainer, stayd: &str) {
    systemd.done(&["kill", "-KILL", stayd]);
    systemd.done(&["pkill", "-KILL", "-f", "serve-held"]);
}

fn kept(unit: &Installed) -> String {
    unit.systemd
        .property("stayd.service", "NFileDescriptorStore")
}

#[test]
#[ignore = "needs root"]
fn the_store_keeps_a_socket_when_stayd_and_its_service_are_killed_together() {
    let port = free_port();
    let (unit, place) = installed(port, "");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let mut pid = wait_for_another(&place, None);
    wait_until("it is in the store", SOON, || kept(&unit) == "1");
    let clients = Clients::start(&place, 4);
    for _ in 0..CRASHES {
        kill_both(&unit.systemd, &unit.main_pid());
        pid = wait_for_another(&place, Some(pid));
    }
    unit.systemd
        .done(&["systemctl", "restart", "stayd.service"]);
    wait_for_another(&place, Some(pid));
    clients.stop().assert_unbroken(CRASHES);
    assert_eq!(kept(&unit), "1", "nothing piles up");

    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
#[ignore = "needs root"]
fn a_stopped_service_is_taken_out_of_the_store() {
    let port = free_port();
    let (unit, place) = installed(port, "");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    wait_for_another(&place, None);
    wait_until("it is in the store", SOON, || kept(&unit) == "1");
    let client = |verb| {
        unit.systemd
            .done(&[stayd(), verb, "s", "-c", "/etc/stayd/stayd.toml"]);
    };
    client("stop");
    wait_until("it is out of the store", SOON, || kept(&unit) == "0");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    client("start");
    wait_for_another(&place, None);
    wait_until("it is in the store again", SOON, || kept(&unit) == "1");

    // Nobody declares it any more: what the store gives back is closed there, too.
    let text = "name = \"boxed\"\n[service.other]\ncommand = [\"sleep\", \"1000\"]\n";
    fs::write(unit.systemd.path("/etc/stayd/stayd.toml"), text).unwrap();
    kill_both(&unit.systemd, &unit.main_pid());
    wait_until("it is out of the store for good", SOON, || {
        unit.journal().contains("no service has it in `sockets`") && kept(&unit) == "0"
    });
    wait_until("it is refused", SOON, || {
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
    assert_eq!(kept(&unit), "0", "its unit has it");
    let clients = Clients::start(&place, 4);
    kill_both(&unit.systemd, &unit.main_pid());
    let second = wait_for_another(&place, Some(first));

    let client = |verb| {
        unit.systemd
            .done(&[stayd(), verb, "s", "-c", "/etc/stayd/stayd.toml"]);
    };
    client("stop");
    drop(TcpStream::connect(("127.0.0.1", port)).expect("systemd goes on listening"));
    client("start");
    wait_for_another(&place, Some(second));
    clients.stop().assert_unbroken(2);
    assert!(pid_at(&place).is_some());
}
