//! Sockets under load: the service is killed again and again, and no connection is refused.

use super::support::daemon::{SOON, Stayd};
use super::support::http::{Address, Clients, pid_at};
use super::support::{free_port, test_service, wait_for};

/// `make soak` sets more.
const SERVICE_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_KILLS", 60);
/// At once.
pub(super) const CLIENTS: usize = 6;

/// A service that serves what it is given, and is started again at once and for ever.
pub(super) fn service(sockets: &str, more: &str) -> String {
    format!(
        "[service.s]\ncommand = [\"{}\", \"serve-held\"]\nsockets = {sockets}\nbackoff = {{ min = \"0s\", max = \"1ms\" }}\n\
         give_up = {{ exits = 1000, within = \"1ms\" }}\n{more}\n[service.s.log]\nto = \"file\"\n",
        test_service().display()
    )
}

pub(super) fn times((name, few): (&str, usize)) -> usize {
    std::env::var(name).map_or(few, |text| text.parse().expect("a number"))
}

/// Another life than that of `old` answers.
#[track_caller]
pub(super) fn wait_for_another(place: &Address, old: Option<i32>) -> i32 {
    wait_for("another life answers", SOON, || {
        pid_at(place).filter(|pid| Some(*pid) != old)
    })
}

pub(super) fn kill(pid: i32) {
    let signal = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("kill");
}

fn killed_under_load(place: &Address, sockets: &str) {
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
fn no_connection_is_refused_while_the_service_is_killed_again_and_again() {
    let port = free_port();
    killed_under_load(&Address::Port(port), &format!("[\"127.0.0.1:{port}\"]"));
}

#[test]
fn nor_on_a_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    killed_under_load(&Address::Path(path.clone()), &format!("[{path:?}]"));
}
