//! `sockets`: which sockets a service gets, when stayd closes and binds them, and what it does when the address is taken.

use super::sockets_service_killed::{kill, service, wait_for_another};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::http::{Address, ask, pid_at};
use super::support::{free_port, require_root, test_service, wait_until};
use stayd::sys::process;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

#[test]
fn a_service_inherits_its_sockets_and_claim_only_and_its_before_command_no_socket() {
    let port = free_port();
    let script = "{ ls -l /proc/$$/fd; env; } > DIR/before";
    let argv = serde_json::to_string(&["sh", "-c", script]).expect("JSON is TOML here");
    let sockets = format!("[\"127.0.0.1:{port}\", \"DIR/s.sock\"]");
    let daemon = Stayd::start(&service(&sockets, &format!("before = {argv}")));
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
    let before = fs::read_to_string(daemon.dir().join("before")).expect("its output");
    assert!(
        before.contains("STAYD_SERVICE=s")
            && !before.contains("socket:")
            && !before.contains("LISTEN_"),
        "{before}"
    );
}

#[test]
fn connections_are_refused_after_a_stop_and_accepted_after_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let port = free_port();
    let daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\", {path:?}]"), ""));
    let places = [Address::Port(port), Address::Path(path.clone())];
    let first = wait_for_another(&places[0], None);
    assert_eq!(pid_at(&places[1]), Some(first));
    let mode = fs::metadata(&path)
        .expect("the socket's file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o666);

    assert_eq!(daemon.client(&["stop", "s"]).code, Some(0));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    wait_until("the socket's file is removed", SOON, || !path.exists());
    assert_eq!(daemon.client(&["start", "s"]).code, Some(0));
    for place in &places {
        wait_for_another(place, Some(first));
    }
    drop(daemon);
    assert!(!path.exists(), "an ordered end leaves no file");
}

#[test]
fn a_socket_that_an_instance_shut_down_listens_again_for_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let port = free_port();
    let _daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\", {path:?}]"), ""));
    for place in [Address::Port(port), Address::Path(path)] {
        let pid = wait_for_another(&place, None);
        let _ = ask(&place, "/shutdown");
        wait_until("connections are refused", SOON, || {
            ask(&place, "/").is_err()
        });
        kill(pid);
        wait_for_another(&place, Some(pid));
    }
}

#[test]
fn a_foreign_listener_on_the_address_blocks_the_service_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("bound").port();
    let unix = UnixListener::bind(&path).expect("a path");
    let ours = std::process::id().to_string();
    for (address, foreign) in [
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
                && reason.contains("does not touch it"),
            "{reason}"
        );
        drop(foreign);
        daemon.wait_state("s", "running");
    }
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let daemon = Stayd::start_with(&service("[\"DIR/s.sock\"]", ""), |command| {
        let folder = command.get_current_dir().expect("its folder");
        fs::write(folder.join("s.sock"), "content").expect("a file");
    });
    daemon.wait_state("s", "blocked");
    let file = daemon.dir().join("s.sock");
    assert_eq!(fs::read(file).expect("the file"), b"content");
}

#[test]
fn a_held_socket_counts_as_the_services_own_listener_for_its_probe() {
    let port = free_port();
    let probe = format!(
        "port = {port}\n[service.s.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
         busy_grace = \"0s\""
    );
    let place = Address::Port(port);
    let daemon = Stayd::start(&service(&format!("[\"127.0.0.1:{port}\"]"), &probe));
    let healthy = daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    assert_eq!(
        healthy["life"], 1,
        "the start does not wait until the port is free: {healthy}"
    );
    let first = pid_at(&place).expect("the service answers");
    // A stopped service is killed, although the socket that stayd holds still accepts connections.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first),
        nix::sys::signal::Signal::SIGSTOP,
    )
    .expect("kill");
    wait_for_another(&place, Some(first));
    daemon.wait_service("s", "healthy again", |service| {
        service["healthy"] == true && service["life"] == 2
    });
}

#[test]
fn the_successor_of_a_daemonized_launcher_is_not_recognized_by_a_held_port() {
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
    assert_eq!(found["life"], 1, "the service is not started again");
}

#[test]
fn a_socket_that_the_next_stayd_cannot_take_over_is_reported_and_bound_for_the_next_instance() {
    let port = free_port();
    let config = service(&format!("[\"127.0.0.1:{port}\"]"), "");
    let first = Stayd::start(&config.replace("\"serve-held\"", "\"close-fds\", \"sleep\""));
    let running = first.wait_state("s", "running");
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "stayd holds the socket"
    );
    let second = first.kill_and_restart();
    let adopted = second.wait_service("s", "adopted", |service| service["ownership"] == "adopted");
    assert_eq!(adopted["pid"], running["pid"]);
    let sentence =
        format!("cannot hold its socket 127.0.0.1:{port} beyond the end of this instance");
    wait_until("the loss of the socket is logged", SOON, || {
        second.output().contains(&sentence)
    });
    let why = second.client(&["why", "s"]);
    assert!(why.out.contains(&sentence), "{why:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());

    kill(i32::try_from(adopted["pid"].as_i64().expect("a pid")).expect("a pid"));
    wait_until("the socket is bound again", SOON, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

#[test]
fn a_socket_whose_file_was_removed_is_bound_again_for_the_next_instance() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let daemon = Stayd::start(&service(&format!("[{path:?}]"), ""));
    daemon.wait_state("s", "running");
    fs::remove_file(&path).expect("the socket's file is removed");
    let answer = daemon.client(&["restart", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let place = Address::Path(path);
    let main = super::support::service::pid(&daemon.wait_state("s", "running"));
    wait_until("the next instance answers there", SOON, || {
        pid_at(&place) == Some(main)
    });
}

#[test]
#[ignore = "needs root"]
fn the_file_of_a_unix_socket_belongs_to_the_services_user() {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the mode is set");
    let path = folder.path().join("s.sock");
    let config = service(&format!("[{path:?}]"), "user = \"nobody\"");
    let _daemon = Stayd::start(&config.replace("\"serve-held\"", "\"sleep\""));
    let user = nix::unistd::User::from_name("nobody")
        .expect("the user database")
        .expect("a user named nobody");
    wait_until("the file belongs to the service's user", SOON, || {
        fs::metadata(&path).is_ok_and(|meta| meta.uid() == user.uid.as_raw())
    });
}

#[test]
fn a_socket_given_on_the_command_line_is_held_while_stayd_runs() {
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
