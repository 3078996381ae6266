//! How instances of a service start and end: launchers that daemonize, ordered stops, crashes, restart policies, ports in
//! use, `before`, and the environment of a child.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, service};
use super::support::{free_port, http_get, replace_folder_with_file, test_service, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stayd::sys::process;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

#[test]
fn a_program_that_daemonizes_is_supervised_and_reported_with_advice() {
    let port = free_port();
    let probe = format!(
        "port = {port}\n[service.s.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\nbusy_grace = \"0s\""
    );
    let mut daemon = Stayd::start(&service(&format!("double-fork serve {port}"), &probe));
    let found = daemon.wait_state("s", "running");
    assert_eq!(found["life"], 1, "it was started once");
    assert_eq!(found["restarts"], 0);
    let reason = found["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("daemonizes itself") && reason.contains("foreground"),
        "{reason}"
    );
    let successor = pid(&found);
    assert!(is_alive(successor));
    assert_eq!(daemon.count("started"), 1);

    // the connection is closed without an answer when the process is killed
    let _ = http_get(port, "/wedge");
    wait_until(
        "the wedged successor is killed like any main process",
        SOON,
        || !is_alive(successor),
    );
    let again = daemon.wait_service("s", "its next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(
        !is_alive(pid(&again)),
        "an ordered stop leaves nothing of it"
    );
}

#[test]
fn an_ordered_stop_leaves_no_descendant() {
    let mut daemon = Stayd::start(&service(
        "ignore-term setsid ignore-term setsid ignore-term sleep",
        "",
    ));
    let main = pid(&daemon.wait_state("s", "running"));
    let tree = wait_tree(main, 3);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(tree.iter().all(|pid| !is_alive(*pid)), "{tree:?}");
}

#[test]
fn a_second_interrupt_forces_the_stop() {
    let config = service("ignore-term sleep", "").replace("300ms", "600s");
    let mut daemon = Stayd::start(&config);
    let main = pid(&daemon.wait_state("s", "running"));
    daemon.signal(libc::SIGINT);
    daemon.wait_state("s", "stopping");
    assert!(is_alive(main), "after the first one it has its grace");
    daemon.signal(libc::SIGINT);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!is_alive(main));
}

/// A file in the place of the claims' folder: not even root can write a claim.
#[test]
fn a_service_is_restarted_even_when_its_claim_cannot_be_written() {
    let daemon = Stayd::start(&service("sleep", ""));
    let first = pid(&daemon.wait_state("s", "running"));
    let claims = daemon.state_dir().join("claims");
    replace_folder_with_file(&claims);
    let signal = Signal::SIGKILL;
    kill(Pid::from_raw(first), signal).expect("kill");
    let next = daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert!(
        daemon.output().contains("cannot write the claim"),
        "{}",
        daemon.output()
    );
    fs::remove_file(&claims).expect("taken away");
    fs::create_dir(&claims).expect("a folder again");
    wait_until("the claim is written", SOON, || {
        let text = fs::read_to_string(claims.join("s.json")).unwrap_or_default();
        text.contains(&format!("\"pid\":{},", pid(&next)))
    });
}

#[test]
fn a_foreign_process_on_the_port_is_named_and_left_alone() {
    let foreign = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = foreign.local_addr().expect("an address").port();
    let daemon = Stayd::start(&service(
        &format!("serve {port}"),
        &format!("port = {port}"),
    ));
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    let this = process::stat(std::process::id().cast_signed()).expect("this test");
    let command = process::command_line(this.process.pid).expect("its command");
    let holder = format!(
        "port {port} is held by pid {} ({command}) of user ",
        this.process.pid
    );
    assert!(reason.starts_with(&holder), "{reason}");
    let (_, started) = reason.split_once(", started ").expect("when it started");
    let started = humantime::parse_rfc3339(&started[.."2026-01-01T00:00:00Z".len()]);
    let started_at = process::started_at(this.process);
    let apart = started_at.duration_since(started.expect("a time"));
    assert!(apart.expect("rounded down").as_secs() < 2, "{reason}");
    assert_eq!(daemon.count("started"), 0);
    drop(foreign);
    daemon.wait_state("s", "running");
}

#[test]
fn a_service_of_another_stayd_on_the_port_is_named_with_that_stayd() {
    let port = free_port();
    let config = service(&format!("serve {port}"), &format!("port = {port}"));
    let first = Stayd::start(&config);
    first.wait_state("s", "running");
    wait_until("it listens", SOON, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let second = Stayd::start(&config);
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    let supervisor = format!(", under the stayd with pid {}", first.pid());
    assert!(reason.contains(&supervisor), "{reason}");
}

#[test]
fn a_crash_loop_is_parked_with_its_reason() {
    let more = "give_up = { exits = 3, within = \"60s\" }";
    let daemon = Stayd::start(&service("exit 3", more));
    let parked = daemon.wait_state("s", "parked");
    assert_eq!(daemon.count("started"), 3);
    assert_eq!(parked["last_exit"]["code"], 3);
    let reason = parked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("gave up") && reason.contains("status 3"),
        "{reason}"
    );
    let incidents = daemon.client(&["incidents"]).out;
    assert_eq!(incidents.matches("crashed").count(), 3, "{incidents}");
    assert_eq!(incidents.matches("gave-up").count(), 1, "{incidents}");
}

#[test]
fn a_crash_is_an_incident_and_a_requested_restart_is_not() {
    let daemon = Stayd::start(&service("sleep", ""));
    let incidents = || daemon.client(&["incidents"]).out;
    daemon.wait_state("s", "running");
    assert_eq!(daemon.client(&["restart", "s"]).code, Some(0));
    let second = daemon.wait_state("s", "running");
    assert!(!incidents().contains("crashed"), "{}", incidents());
    kill(Pid::from_raw(pid(&second)), Signal::SIGABRT).expect("a signal");
    daemon.wait_service("s", "its next instance", |service| service["life"] == 3);
    let shown = incidents();
    assert!(
        shown.contains("crashed     was ended by SIGABRT"),
        "{shown}"
    );
    assert_eq!(daemon.client(&["stop", "s"]).code, Some(0));
    assert_eq!(incidents().matches("crashed").count(), 1, "{}", incidents());
}

#[test]
fn a_service_without_its_program_is_blocked_with_the_reason() {
    let config = "[service.s]\ncommand = [\"/nowhere/at/all\"]\n";
    let daemon = Stayd::start(config);
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("/nowhere/at/all") && reason.contains("there is no program"),
        "{reason}"
    );
}

#[test]
fn restart_policies_decide_whether_an_exit_is_followed_by_another_instance() {
    for (policy, code, restarts) in [
        ("never", 1, false),
        ("on-failure", 0, false),
        ("on-failure", 1, true),
    ] {
        let more = format!("restart = \"{policy}\"");
        let daemon = Stayd::start(&service(&format!("exit {code}"), &more));
        if restarts {
            daemon.wait_service("s", "another instance", |service| {
                service["life"].as_u64() > Some(1)
            });
        } else {
            daemon.wait_state("s", "stopped");
            assert_eq!(daemon.count("started"), 1);
        }
    }
}

#[test]
fn before_runs_before_each_start_and_its_failure_blocks() {
    let more = "before = [\"sh\", \"-c\", \"echo ready >> DIR/before\"]";
    let daemon = Stayd::start(&service("sleep", more));
    daemon.wait_state("s", "running");
    let restarted = daemon.client(&["restart", "s"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let ran = fs::read_to_string(daemon.dir().join("before")).expect("it ran");
    assert_eq!(ran, "ready\nready\n");

    let daemon = Stayd::start(&service("sleep", "before = [\"sh\", \"-c\", \"exit 7\"]"));
    let blocked = daemon.wait_state("s", "blocked");
    assert!(
        blocked["reason"]
            .as_str()
            .expect("a reason")
            .contains("status 7"),
        "{blocked}"
    );
}

#[test]
fn a_process_that_a_server_without_port_and_probe_leaves_behind_does_not_replace_it() {
    let daemon = Stayd::start(
        "[service.s]\ncommand = [\"sh\", \"-c\", \"sleep 7777 & echo $! >> DIR/left; exec sleep 2\"]\nbackoff = { min = \"10ms\" }\n",
    );
    daemon.wait_service("s", "its second instance", |service| service["life"] == 2);
    let left = fs::read_to_string(daemon.dir().join("left")).expect("pids");
    let first = left.lines().next().expect("a pid").parse().expect("a pid");
    assert!(!is_alive(first), "{first} is left");
    assert_eq!(daemon.count("daemonized"), 0);
}

#[test]
fn the_umask_of_stayd_does_not_reach_its_services() {
    let show = |name: &str| {
        format!(
            "[service.{name}]\ncommand = [\"sh\", \"-c\", \"umask > DIR/{name}.tmp; mv DIR/{name}.tmp DIR/{name}; exec sleep 1000000\"]\n"
        )
    };
    let config = show("usual") + &show("strict") + "umask = \"007\"\n";
    let daemon = Stayd::start_with(&config, |command| {
        let mut masked = Command::new("sh");
        masked
            .args(["-c", "umask 077; exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().expect("its folder"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        *command = masked;
    });
    for (name, umask) in [("usual", "0022\n"), ("strict", "0007\n")] {
        daemon.wait_state(name, "running");
        let file = daemon.dir().join(name);
        wait_until("it has shown its umask", SOON, || file.exists());
        assert_eq!(fs::read_to_string(file).expect("written"), umask);
    }
}

#[test]
fn before_that_hangs_is_killed_at_the_end_of_the_startup_budget_and_named() {
    let more = "before = [\"sh\", \"-c\", \"echo $$ >> DIR/before; exec sleep 1000\"]\n\
                startup = { within = \"1s\" }";
    let daemon = Stayd::start(&service("sleep", more));
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("`before` (sh) did not end within 1 s"),
        "{blocked}"
    );
    let pids = fs::read_to_string(daemon.dir().join("before")).expect("it ran");
    let first = pids.lines().next().expect("a pid").parse().expect("a pid");
    assert!(!is_alive(first), "{first} is left");
}

#[test]
fn a_child_gets_its_configured_environment_and_none_of_stayds_own() {
    let show = "env | sort > DIR/env; ls -l /proc/self/fd | sed 's/.* \\([0-9]*\\) -> /\\1 /' > DIR/fds; exec sleep 1000000";
    let config = format!(
        "[service.s]\ncommand = [\"sh\", \"-c\", {}]\nenv = {{ GREETING = \"hello\", MARK = \"@PID\" }}\nlog = {{ to = \"file\" }}\n",
        serde_json::to_string(show).expect("JSON")
    );
    let daemon = Stayd::start_with(&config, |command| {
        command
            .env("INVOCATION_ID", "1")
            .env("LISTEN_FDS", "3")
            .env("WATCHDOG_USEC", "1");
    });
    daemon.wait_state("s", "running");
    let file = daemon.dir().join("fds");
    wait_until("the child has written its environment", SOON, || {
        file.exists()
    });
    let env = fs::read_to_string(daemon.dir().join("env")).expect("the environment");
    for wanted in [
        "GREETING=hello",
        "MARK=@PID",
        "STAYD_SERVICE=s",
        "STAYD_LIFE=1",
        "STAYD_TOKEN=",
        "STAYD_PID=",
        "STAYD_CLAIM_FD=3",
        "PATH=",
    ] {
        assert!(
            env.lines().any(|line| line.starts_with(wanted)),
            "{wanted} in {env}"
        );
    }
    for own in [
        "INVOCATION_ID",
        "LISTEN_FDS",
        "WATCHDOG_USEC",
        "NOTIFY_SOCKET",
    ] {
        assert!(!env.contains(own), "{own} in {env}");
    }
    wait_until(
        "it has the descriptors 0 to 3 and the one of ls",
        SOON,
        || {
            let fds = fs::read_to_string(&file).expect("the descriptors");
            let numbers: Vec<&str> = fds
                .lines()
                .filter_map(|line| line.split(' ').next())
                .filter(|word| !word.is_empty())
                .collect();
            ["0", "1", "2", "3"].iter().all(|fd| numbers.contains(fd)) && !numbers.contains(&"5")
        },
    );
    let claim: Value = serde_json::from_slice(
        &fs::read(daemon.state_dir().join("claims/s.json")).expect("a claim"),
    )
    .expect("JSON");
    let claim = claim.get("claim").unwrap_or(&claim);
    assert_eq!(claim["pid"], daemon.service("s")["pid"]);
    assert_eq!(claim["life"], 1);
}

#[test]
fn a_wedged_service_is_restarted_alone() {
    let (first, second) = (free_port(), free_port());
    let table = |name: &str, port: u16| {
        format!(
            "[service.{name}]\ncommand = [\"{}\", \"serve-query\", \"{port}\"]\nport = {port}\n[service.{name}.watchdog]\nprobe = \
             \"http://127.0.0.1:{port}/query\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\nbusy_grace = \"0s\"\n",
            test_service().display()
        )
    };
    let daemon = Stayd::start(&(table("a", first) + &table("b", second)));
    daemon.wait_state("a", "running");
    let other = daemon.wait_state("b", "running");
    http_get(first, "/wedge").expect("the wedge");
    daemon.wait_service("a", "its second instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert_eq!(pid(&daemon.service("b")), pid(&other));
}

/// Waits until the main process and its descendants are `count` processes, and returns them.
fn wait_tree(main: i32, count: usize) -> Vec<i32> {
    let mut tree = Vec::new();
    wait_until("the tree is complete", SOON, || {
        tree = vec![main];
        let mut at = 0;
        while at < tree.len() {
            tree.extend(process::children(tree[at]).unwrap_or_default());
            at += 1;
        }
        tree.len() == count
    });
    tree
}

#[test]
fn a_request_survives_a_kill_of_stayd_right_after_its_answer() {
    let mut daemon = Stayd::start(&service("sleep", ""));
    daemon.wait_state("s", "running");
    for request in ["stop", "start", "stop", "start", "stop"] {
        let answer = daemon.client(&[request, "s", "--no-wait"]);
        daemon.signal(libc::SIGKILL);
        assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
        daemon = daemon.kill_and_restart();
        let wanted = if request == "stop" { "down" } else { "up" };
        assert_eq!(daemon.service("s")["wanted"], wanted, "{request}");
    }
}

#[test]
fn a_child_that_a_server_leaves_behind_does_not_become_the_main_process() {
    let port = free_port();
    let script = format!(
        "sleep 1000000 & exec python3 -c 'import socket, time; s = socket.create_server((\"127.0.0.1\", {port})); time.sleep(2)'"
    );
    let command = serde_json::to_string(&["sh", "-c", &script]).expect("TOML too");
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = {command}\nport = {port}\nbackoff = {{ min = '10ms' }}\n"
    ));
    let first = daemon.wait_state("s", "running");
    let left = wait_tree(pid(&first), 2)[1];
    daemon.wait_service("s", "its second instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert!(!is_alive(left), "it was ended with its instance");
}

#[test]
fn a_preparation_that_hangs_is_ended_at_the_startup_budget() {
    let before = "before = [\"sh\", \"-c\", \"echo $$ > DIR/before; exec sleep 76542\"]\nstartup = { within = \"1s\" }";
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n{before}\n"
    ));
    daemon.wait_state("s", "blocked");
    let hung = fs::read_to_string(daemon.dir().join("before")).expect("it ran");
    let hung: i32 = hung.trim().parse().expect("a pid");
    wait_until("its process is ended", SOON, || {
        !is_alive(hung) || daemon.count("started") > 0
    });
    assert_eq!(daemon.count("started"), 0);
}
