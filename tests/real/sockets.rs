//! `sockets`: what a service gets, when they are closed, and who else may have the address.

use super::sockets_load::{kill, service, wait_for_another};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::http::{Address, ask, pid_at};
use super::support::{free_port, require_root, test_service, wait_until};
use stayd::sys::process;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

fn listening(port: u16, more: &str) -> (Address, String) {
    let config = service(&format!("[\"127.0.0.1:{port}\"]"), more);
    (Address::Port(port), config)
}

#[test]
fn item_96_a_service_gets_its_sockets_its_claim_and_no_other_and_its_helpers_get_none() {
    let port = free_port();
    let show = |file| {
        let script = format!("{{ ls -l /proc/$$/fd; env; }} > DIR/{file}");
        serde_json::to_string(&["sh", "-c", &script]).expect("JSON")
    };
    let sockets = format!("[\"127.0.0.1:{port}\", \"DIR/s.sock\"]");
    let more = format!("before = {}", show("before"));
    let daemon = Stayd::start(&service(&sockets, &more));
    let path = Address::Path(daemon.dir().join("s.sock"));
    let pid = wait_for_another(&Address::Port(port), None);
    assert_eq!(pid_at(&path), Some(pid));

    let mut open = process::open_files(pid, 100).expect("its descriptors");
    open.sort_by_key(|file| file.fd);
    let numbers: Vec<i32> = open.iter().map(|file| file.fd).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "{open:?}");
    for (name, value) in [
        ("LISTEN_FDS", "2"),
        ("LISTEN_FDNAMES", "s:s"),
        ("LISTEN_PID", &pid.to_string()),
        ("STAYD_CLAIM_FD", "5"),
    ] {
        let found = process::environment_value(pid, name).expect("its environment");
        assert_eq!(found.as_deref(), Some(value), "{name}");
    }
    let before = fs::read_to_string(daemon.dir().join("before")).expect("it has looked");
    assert!(
        before.contains("STAYD_SERVICE=s")
            && !before.contains("socket:")
            && !before.contains("LISTEN_"),
        "{before}"
    );
}

#[test]
fn a_stop_refuses_connections_and_a_start_takes_them_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let port = free_port();
    let daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\", {path:?}]"), ""));
    let places = [Address::Port(port), Address::Path(path.clone())];
    let first = wait_for_another(&places[0], None);
    assert_eq!(pid_at(&places[1]), Some(first));
    let mode = fs::metadata(&path).expect("its file").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);

    assert_eq!(daemon.client(&["stop", "s"]).code, Some(0));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    wait_until("its file is removed", SOON, || !path.exists());
    assert_eq!(daemon.client(&["start", "s"]).code, Some(0));
    for place in &places {
        wait_for_another(place, Some(first));
    }
    drop(daemon);
    assert!(!path.exists(), "an ordered end leaves no file");
}

#[test]
fn what_a_child_shuts_down_listens_again_for_the_next_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let port = free_port();
    let _daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\", {path:?}]"), ""));
    for place in [Address::Port(port), Address::Path(path)] {
        let pid = wait_for_another(&place, None);
        let _ = ask(&place, "/shutdown");
        wait_until("it refuses", SOON, || ask(&place, "/").is_err());
        kill(pid);
        wait_for_another(&place, Some(pid));
    }
}

#[test]
fn a_stranger_on_the_address_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("bound").port();
    let unix = UnixListener::bind(&path).expect("a path");
    let ours = std::process::id().to_string();
    for (address, stranger) in [
        (
            format!("127.0.0.1:{port}"),
            Box::new(tcp) as Box<dyn std::any::Any>,
        ),
        (path.display().to_string(), Box::new(unix)),
    ] {
        let daemon = Stayd::start(&service(&format!("[{address:?}]"), ""));
        let blocked = daemon.wait_state("s", "blocked");
        let reason = blocked["reason"].as_str().expect("a reason");
        assert!(
            reason.contains(&format!("the socket {address} is held by pid {ours} "))
                && reason.contains("left alone"),
            "{reason}"
        );
        drop(stranger);
        daemon.wait_state("s", "running");
    }
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let daemon = Stayd::start_with(&service("[\"DIR/s.sock\"]", ""), |command| {
        let folder = command.get_current_dir().expect("its folder");
        fs::write(folder.join("s.sock"), "precious").expect("a file");
    });
    daemon.wait_state("s", "blocked");
    let file = daemon.dir().join("s.sock");
    assert_eq!(fs::read(file).expect("still there"), b"precious");
}

#[test]
fn a_port_that_is_held_for_the_service_is_its_own() {
    let port = free_port();
    let probe = format!(
        "port = {port}\n[service.s.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
         busy_grace = \"0s\""
    );
    let (place, config) = listening(port, &probe);
    let daemon = Stayd::start(&config);
    let healthy = daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    assert_eq!(
        healthy["life"], 1,
        "nothing waits for a port to be free: {healthy}"
    );
    let first = pid_at(&place).expect("it answers");
    // One that hangs is killed, though its socket takes connections as before.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first),
        nix::sys::signal::Signal::SIGSTOP,
    )
    .expect("stopped");
    wait_for_another(&place, Some(first));
    daemon.wait_service("s", "healthy again", |service| {
        service["healthy"] == true && service["life"] == 2
    });
}

#[test]
fn item_46_a_held_port_does_not_say_who_daemonized() {
    let port = free_port();
    let config = service(
        &format!("[\"127.0.0.1:{port}\"]"),
        &format!("port = {port}"),
    )
    .replace("\"serve-held\"", "\"double-fork\", \"sleep\"");
    let daemon = Stayd::start(&config);
    let found = daemon.wait_service("s", "daemonized", |service| {
        service["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("daemonizes itself"))
    });
    let reason = found["reason"].as_str().expect("a reason");
    assert!(
        !reason.contains("listen") && !reason.contains("port"),
        "{reason}"
    );
    let successor = i32::try_from(found["pid"].as_i64().expect("a pid")).expect("a pid");
    assert!(is_alive(successor));
    assert_eq!(found["life"], 1, "no respawn storm");
}

#[test]
fn what_the_next_stayd_cannot_take_over_is_said_and_bound_anew() {
    let port = free_port();
    let config = service(&format!("[\"127.0.0.1:{port}\"]"), "");
    let first = Stayd::start(&config.replace("\"serve-held\"", "\"close-fds\", \"sleep\""));
    let left = first.wait_state("s", "running");
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "stayd holds it"
    );
    let second = first.kill_and_restart();
    let adopted = second.wait_service("s", "adopted", |service| service["ownership"] == "adopted");
    assert_eq!(adopted["pid"], left["pid"]);
    let sentence = format!("cannot hold its socket 127.0.0.1:{port} over the end of this life");
    wait_until("it is said", SOON, || second.output().contains(&sentence));
    let why = second.client(&["why", "s"]);
    assert!(why.out.contains(&sentence), "{why:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());

    kill(i32::try_from(adopted["pid"].as_i64().expect("a pid")).expect("a pid"));
    wait_until("it is bound anew", SOON, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

#[test]
fn a_path_that_somebody_has_removed_is_bound_anew_for_the_next_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let daemon = Stayd::start(&service(&format!("[{path:?}]"), ""));
    daemon.wait_state("s", "running");
    fs::remove_file(&path).expect("it was there");
    let answer = daemon.client(&["restart", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let place = Address::Path(path);
    let main = super::support::service::pid(&daemon.wait_state("s", "running"));
    wait_until("it answers there", SOON, || pid_at(&place) == Some(main));
}

#[test]
#[ignore = "needs root"]
fn a_path_belongs_to_the_services_user() {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("open");
    let path = folder.path().join("s.sock");
    let config = service(&format!("[{path:?}]"), "user = \"nobody\"");
    let _daemon = Stayd::start(&config.replace("\"serve-held\"", "\"sleep\""));
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("looked up")
        .expect("a user");
    wait_until("it is nobody's", SOON, || {
        fs::metadata(&path).is_ok_and(|meta| meta.uid() == nobody.uid.as_raw())
    });
}

#[test]
fn a_command_line_gives_sockets_too() {
    let port = free_port();
    let daemon = Stayd::start_with("", |command| {
        let folder = command.get_current_dir().expect("its folder").to_owned();
        *command = std::process::Command::new(super::support::daemon::binary());
        command
            .args([
                "--foreground",
                "--socket",
                &format!("127.0.0.1:{port}"),
                "--state-dir",
            ])
            .arg(folder.join("state"))
            .arg("--")
            .arg(test_service())
            .arg("serve-held")
            .current_dir(folder);
    });
    wait_for_another(&Address::Port(port), None);
    drop(daemon);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
