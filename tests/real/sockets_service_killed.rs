//! Sockets under load while the service is killed: stayd holds them, so that no connection is refused.

use super::support::daemon::{SOON, Stayd};
use super::support::http::{Address, Clients, pid_at};
use super::support::{free_port, test_service, wait_for};

/// The environment variable that says how often the service is killed (`make soak` sets it), and how often without it.
const SERVICE_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_KILLS", 60);
/// How many clients connect at the same time.
pub(super) const CLIENTS: usize = 6;

/// The configuration of a service that answers HTTP on these sockets; it is restarted at once and without limit.
pub(super) fn service(sockets: &str, more: &str) -> String {
    format!(
        "[service.s]\ncommand = [\"{}\", \"serve-held\"]\nsockets = {sockets}\nbackoff = {{ min = \"0s\", max = \"1ms\" }}\n\
         give_up = {{ exits = 1000, within = \"1ms\" }}\n{more}\n[service.s.log]\nto = \"file\"\n",
        test_service().display()
    )
}

/// The number in this environment variable, or the default.
pub(super) fn times((name, default): (&str, usize)) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Waits until an instance with another pid than `old` answers, and returns its pid.
#[track_caller]
pub(super) fn wait_for_another(place: &Address, old: Option<i32>) -> i32 {
    wait_for("another instance answers", SOON, || {
        pid_at(place).filter(|pid| Some(*pid) != old)
    })
}

pub(super) fn kill(pid: i32) {
    let signal = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("kill");
}

/// Kills the service many times while clients connect to `place`, and fails if a connection is refused.
fn assert_no_refusal_under_kills(place: &Address, sockets: &str) {
    let kills = times(SERVICE_KILLS);
    let daemon = Stayd::start(&service(sockets, ""));
    let mut pid = wait_for_another(place, None);
    let clients = Clients::start(place, CLIENTS);
    for _ in 0..kills {
        kill(pid);
        pid = wait_for_another(place, Some(pid));
    }
    clients.stop().assert_unbroken(kills);
    let service = daemon.service("s");
    assert!(
        service["restarts"].as_u64() >= Some(kills as u64),
        "{service}"
    );
}

#[test]
fn no_connection_to_a_port_is_refused_while_the_service_is_killed_repeatedly() {
    let port = free_port();
    assert_no_refusal_under_kills(&Address::Port(port), &format!("[\"127.0.0.1:{port}\"]"));
}

#[test]
fn no_connection_to_a_unix_socket_is_refused_while_the_service_is_killed_repeatedly() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    assert_no_refusal_under_kills(&Address::Path(path.clone()), &format!("[{path:?}]"));
}
