//! Sockets under load: the service is killed, stayd is killed, and no connection is refused.

use super::support::crowd::{Crowd, Place, pid_at};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{free_port, victim, wait_for};
use stayd::sys::socket;

/// `make soak` sets more.
const SERVICE_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_KILLS", 60);
/// The same for those of stayd.
const STAYD_KILLS: (&str, usize) = ("STAYD_SOAK_SOCKET_CRASHES", 8);
/// At once.
const CLIENTS: usize = 6;

/// A service that serves what it is given, and is started again at once and for ever.
pub(super) fn service(sockets: &str, more: &str) -> String {
    format!(
        "[service.s]\ncommand = [\"{}\", \"serve-held\"]\nsockets = {sockets}\nbackoff = {{ min = \"0s\", max = \"1ms\" }}\n\
         give_up = {{ exits = 1000, within = \"1ms\" }}\n{more}\n[service.s.log]\nto = \"file\"\n",
        victim().display()
    )
}

fn times((name, few): (&str, usize)) -> usize {
    std::env::var(name).map_or(few, |text| text.parse().expect("a number"))
}

/// Another life than that of `old` answers.
#[track_caller]
pub(super) fn wait_for_another(place: &Place, old: Option<i32>) -> i32 {
    wait_for("another life answers", SOON, || {
        pid_at(place).filter(|pid| Some(*pid) != old)
    })
}

pub(super) fn kill(pid: i32) {
    let signal = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("kill");
}

fn killed_under_load(place: &Place, sockets: &str) {
    let kills = times(SERVICE_KILLS);
    let daemon = Stayd::start(&service(sockets, ""));
    let mut pid = wait_for_another(place, None);
    let crowd = Crowd::at(place, CLIENTS);
    for _ in 0..kills {
        kill(pid);
        pid = wait_for_another(place, Some(pid));
    }
    crowd.disperse().assert_unbroken(kills);
    let service = daemon.service("s");
    assert!(
        service["restarts"].as_u64() >= Some(kills as u64),
        "{service}"
    );
}

#[test]
fn no_connection_is_refused_while_the_service_is_killed_again_and_again() {
    let port = free_port();
    killed_under_load(&Place::Port(port), &format!("[\"127.0.0.1:{port}\"]"));
}

#[test]
fn nor_on_a_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    killed_under_load(&Place::Path(path.clone()), &format!("[{path:?}]"));
}

/// Whether the system lets us take a descriptor from a process that is no child of ours.
#[cfg(target_os = "linux")]
fn may_fetch() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    nix::unistd::geteuid().is_root() || matches!(scope.trim(), "" | "0")
}

#[cfg(target_os = "linux")]
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
    for round in 0..crashes {
        daemon = daemon.killed_and_again();
        daemon.wait_service("s", "adopted", |service| service["ownership"] == "adopted");
        assert!(is_alive(pid), "it lives on");
        assert!(holds(&daemon, port), "round {round}: {}", daemon.said());
        kill(pid);
        pid = wait_for_another(&place, Some(pid));
    }
    crowd.disperse().assert_unbroken(crashes);
}

#[cfg(target_os = "linux")]
fn holds(daemon: &Stayd, port: u16) -> bool {
    let listeners = socket::listeners(port).expect("listed");
    assert_eq!(listeners.len(), 1, "one socket, whoever has it open");
    socket::holds_listener(daemon.pid(), &listeners[0]).expect("its descriptors")
}
