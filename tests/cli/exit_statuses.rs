//! Each exit status and its message.

use crate::daemon::{Daemon, LONG, output_of, run, stayd};
use crate::wait::{TempDir, free_port, wait_until};
use serde_json::Value;
use stayd::sys::process::{Handle, State, stat};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The uid of a user that does not run the tests: the unprivileged user of most systems.
const ANOTHER_UID: u32 = 65534;

#[test]
fn help_and_version_exit_with_0() {
    for words in [["--help"], ["--version"]] {
        let (status, out, err) = run(&words);
        assert_eq!((status, err.as_str()), (0, ""), "{words:?}");
        assert!(out.contains("stayd"), "{out}");
    }
}

#[test]
fn a_usage_error_is_2() {
    for words in [
        &["statsu"][..],
        &["hold", "db"],
        &["--foreground", "status"],
        &[],
        &["--foreground", "--port", "0", "--", "true"],
        &["--foreground", "--env", "FOO", "--", "true"],
        &["--foreground", "--name", "../x", "--", "true"],
        &["--foreground", "--", ""],
        &["exec", "--port", "22x", "--", "true"],
    ] {
        let (status, out, err) = run(words);
        assert_eq!((status, out.as_str()), (2, ""), "{words:?}");
        assert!(!err.is_empty());
    }
}

#[test]
fn without_a_daemon_it_is_3_and_says_how_to_start_one() {
    let folder = TempDir::new();
    let state = folder.path().to_str().expect("UTF-8");
    for verb in [
        &["status"][..],
        &["stop", "db"],
        &["events"],
        &["why", "db", "--json"],
        &["logs"],
    ] {
        let words: Vec<_> = verb.iter().copied().chain(["--state-dir", state]).collect();
        let (status, out, err) = run(&words);
        assert_eq!((status, out.as_str()), (3, ""), "{verb:?}: {err}");
        assert!(
            err.starts_with("stayd: no stayd is running here: there is no answer on "),
            "{err}"
        );
        assert!(err.contains("; start it with `stayd --foreground"), "{err}");
    }
}

#[test]
fn a_missing_configuration_is_78_for_clients_too_and_is_named() {
    let folder = TempDir::new();
    let misspelt = folder.join("misspelt.toml");
    let file = misspelt.to_str().expect("UTF-8");
    let (status, out, err) = run(&["status", "-c", file]);
    assert_eq!((status, out.as_str()), (78, ""), "{err}");
    assert!(
        err.starts_with(&format!(
            "stayd: cannot read the configuration {file}: there is no such file"
        )),
        "{err}"
    );
    let by_variable = stayd(&["events"]).env("STAYD_CONFIG", file).output();
    let (status, _, err) = output_of(by_variable.expect("stayd starts"));
    assert_eq!(status, 78, "{err}");
    assert!(err.contains(file), "{err}");
}

#[test]
fn the_daemon_answers_clients_after_its_configuration_was_deleted() {
    let daemon = Daemon::start_with("[service.s]\ncommand = ['sleep', '1000']\n");
    let file = daemon.folder.join("test.toml");
    fs::remove_file(&file).expect("deleted");
    let (status, _, err) = daemon.ask(&["status", "-c", file.to_str().expect("UTF-8")]);
    assert_eq!(status, 0, "{err}");
}

#[test]
fn a_probe_is_0_1_or_4() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let open = format!("tcp://{}", listener.local_addr().expect("bound"));
    let (status, out, err) = run(&["probe", &open]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with(&format!("{open}: alive in ")), "{out}");
    let closed = format!("tcp://127.0.0.1:{}", free_port());
    let (status, out, _) = run(&["probe", &closed, "--json"]);
    assert_eq!(status, 1, "{out}");
    let answer: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
    assert_eq!(answer["class"], "dead");
    assert_eq!(run(&["probe", "exec:sh -c 'exit 4'"]).0, 4);
    assert_eq!(run(&["probe", "exec:/nonexistent"]).0, 4);
    assert_eq!(run(&["probe", "gopher://127.0.0.1"]).0, 2);
}

#[test]
fn a_probe_that_cannot_be_asked_is_4_and_says_why() {
    let (status, out, _) = run(&["probe", "notify"]);
    assert_eq!(status, 4, "{out}");
    assert!(out.contains("only the service itself"), "{out}");
    let (status, out, _) = run(&["probe", "sqlite:/etc/passwd"]);
    assert_eq!(status, 4, "{out}");
    assert!(out.contains("not a SQLite database"), "{out}");
}

#[test]
fn missing_programs_and_folders_are_warnings_with_their_place() {
    let folder = TempDir::new();
    let file = folder.path().join("x.toml");
    fs::write(folder.path().join("plain"), "no program").expect("written");
    let probe = "watchdog = { probe = 'exec:./plain' }\n";
    let text = format!(
        "[service.a]\ncommand = ['/nonexistent']\ncwd = 'nowhere'\nenv_file = '.env'\n{probe}\
         [service.b]\ncommand = ['no-such-program-anywhere']\n{probe}\
         [service.c]\ncommand = ['./made-by-before']\nbefore = ['sh', '-c', 'make']\n{probe}sockets = ['./none/s.sock']\n"
    );
    fs::write(&file, text).expect("written");
    let file = file.to_str().expect("UTF-8");
    let (status, out, err) = run(&["config", "check", "-c", file]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for (place, part) in [
        ("2:1", "cannot run `/nonexistent`: it does not exist"),
        ("3:1", "nowhere: it does not exist; create it"),
        ("4:1", ".env: cannot read the env_file: no such file"),
        ("7:1", "`no-such-program-anywhere`: it is not in PATH"),
        (
            "13:1",
            "none: it does not exist; create it, or correct `sockets`",
        ),
        ("8:14", "plain is not executable; chmod +x it"),
    ] {
        let reported = out
            .lines()
            .any(|line| line.contains(&format!("{file}:{place}: ")) && line.contains(part));
        assert!(reported, "{place} {part} in\n{out}");
    }
    assert!(!out.contains("made-by-before"), "{out}");
    assert!(out.ends_with("warnings\n"), "{out}");
}

#[test]
fn a_command_that_cannot_start_is_78_with_one_line() {
    let folder = TempDir::new();
    let state = folder.path().join("state");
    let state = state.to_str().expect("UTF-8");
    for (words, cause) in [
        (
            &["--", "/nonexistent"][..],
            "`/nonexistent`: it does not exist",
        ),
        (&["--", "/etc/passwd"], "/etc/passwd is not executable"),
        (
            &["--cwd", "/nowhere", "--", "sleep", "9"],
            "/nowhere: it does not exist",
        ),
    ] {
        let all = [&["--foreground", "--state-dir", state], words].concat();
        let (status, out, err) = run(&all);
        assert_eq!((status, out.as_str()), (78, ""), "{err}");
        assert!(err.contains(cause) && err.lines().count() == 1, "{err}");
    }
}

#[test]
fn an_impossible_state_folder_is_71() {
    let (status, out, err) = run(&[
        "--foreground",
        "--state-dir",
        "/dev/null/x",
        "--",
        "sleep",
        "1000",
    ]);
    assert_eq!((status, out.as_str()), (71, ""), "{err}");
    assert!(err.contains("--state-dir"), "{err}");
}

#[test]
fn a_wrong_configuration_is_78_with_place_and_correction() {
    let folder = TempDir::new();
    let file = folder.path().join("x.toml");
    fs::write(&file, "[service.db]\ncomand = [\"sleep\", \"1\"]\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    for words in [&["--foreground"][..], &["render", "systemd"]] {
        let words: Vec<_> = words.iter().copied().chain(["-c", file]).collect();
        let (status, out, err) = run(&words);
        assert_eq!((status, out.as_str()), (78, ""), "{words:?}");
        assert!(
            err.contains(&format!("{file}:2:")) && err.contains("command"),
            "{err}"
        );
    }
    let (status, out, err) = run(&["config", "check", "--json", "-c", file]);
    assert_eq!((status, err.as_str()), (78, ""));
    let findings: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
    let findings = findings["findings"].as_array().expect("a list");
    let here = findings.iter().find(|finding| finding["line"] == 2);
    assert_eq!(here.expect("the misspelt key")["level"], "error", "{out}");
}

#[test]
fn a_second_daemon_is_75_and_names_the_first() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let (status, _, err) = daemon.ask(&["--foreground", "--name", "test"]);
    assert_eq!(status, 2, "options of a service need a command: {err}");
    let state = daemon.state();
    let state = state.to_str().expect("UTF-8");
    let (status, out, err) = run(&[
        "--foreground",
        "--state-dir",
        state,
        "--name",
        "test",
        "--",
        "sleep",
        "1000",
    ]);
    assert_eq!((status, out.as_str()), (75, ""), "{err}");
    assert!(err.contains(&format!("pid {}", daemon.child.id())), "{err}");
}

/// A copy of the program that another user can execute.
fn program_for_all_users(folder: &Path) -> PathBuf {
    let program = folder.join("stayd");
    fs::copy(env!("CARGO_BIN_EXE_stayd"), &program).expect("copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable by all");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("open to all");
    program
}

#[test]
#[ignore = "needs root"]
fn another_user_is_3_if_no_stayd_uses_a_private_folder() {
    assert_eq!(stayd::sys::identity::euid(), 0, "this test needs root");
    let place = TempDir::new();
    let program = program_for_all_users(place.path());
    let state = place.join("state");
    let ask = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).arg("--state-dir").arg(&state);
        command.stdin(Stdio::null()).current_dir("/");
        let output = command.uid(ANOTHER_UID).gid(ANOTHER_UID).output();
        output_of(output.expect("stayd starts"))
    };
    fs::create_dir(&state).expect("made");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("private");
    for words in [&["status"][..], &["stop", "db"], &["logs"]] {
        let (status, out, err) = ask(words);
        assert_eq!((status, out.as_str()), (3, ""), "{words:?}: {err}");
    }
    // What a killed stayd leaves: a socket on which no process listens.
    drop(UnixListener::bind(state.join("control.sock")).expect("bound"));
    let (status, _, err) = ask(&["status"]);
    assert_eq!(status, 3, "{err}");
    assert!(err.contains("no stayd is running here"), "{err}");
    fs::remove_file(state.join("control.sock")).expect("removed");
    let _listening = UnixListener::bind(state.join("control.sock")).expect("bound");
    assert_eq!(ask(&["status"]).0, 77);
}

#[test]
#[ignore = "needs root"]
fn another_user_is_77_because_of_the_folder_and_because_of_its_credentials() {
    assert_eq!(stayd::sys::identity::euid(), 0, "this test needs root");
    let daemon = Daemon::start(&["sleep", "1000"]);
    let place = TempDir::new();
    let program = program_for_all_users(place.path());
    let ask = |words: &[&str]| {
        let mut command = Command::new(&program);
        let state = daemon.state();
        command
            .args(words)
            .arg("--state-dir")
            .arg(state)
            .stdin(Stdio::null())
            .current_dir("/");
        output_of(
            command
                .uid(ANOTHER_UID)
                .gid(ANOTHER_UID)
                .output()
                .expect("stayd starts"),
        )
    };
    let (status, out, err) = ask(&["status"]);
    assert_eq!(
        (status, out.as_str()),
        (77, ""),
        "the folder denies access: {err}"
    );
    for (path, mode) in [(daemon.folder.path(), 0o755), (&daemon.state(), 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("opened");
    }
    let socket = daemon.state().join("control.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("opened");
    for words in [
        &["status"][..],
        &["stop", "sleep"],
        &["hold", "sleep", "--for", "1h", "--reason", "x"],
    ] {
        let (status, out, err) = ask(words);
        assert_eq!(
            (status, out.as_str()),
            (77, ""),
            "the daemon rejects its credentials: {err}"
        );
        assert!(
            err.contains("only the owner, root and the control group may"),
            "{err}"
        );
    }
    let service = daemon.service();
    assert_eq!(
        (&service["state"], &service["hold"]),
        (&Value::from("running"), &Value::Null)
    );
}

#[test]
fn a_stopped_stayd_is_71_at_once_with_the_way_to_continue_it() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let pid = i32::try_from(daemon.child.id()).expect("a pid");
    let handle = Handle::open(stat(pid).expect("it runs").process).expect("a handle");
    handle.signal(libc::SIGSTOP).expect("stopped");
    let is_stopped = || stat(pid).is_ok_and(|stat| stat.state == State::Stopped);
    wait_until("it is stopped", LONG, is_stopped);
    for words in [&["status"][..], &["stop", "sleep"], &["logs", "sleep"]] {
        let (status, out, err) = daemon.ask(words);
        assert_eq!((status, out.as_str()), (71, ""), "{err}");
        assert!(err.contains(&format!("kill -CONT {pid}")), "{err}");
    }
    handle.signal(libc::SIGCONT).expect("continued");
    wait_until("it answers", LONG, || daemon.ask(&["status"]).0 == 0);
}

#[test]
fn a_stayd_that_cannot_be_reached_is_not_taken_for_none() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let socket = daemon.state().join("control.sock");
    // stayd does not replace what is not a socket.
    fs::remove_file(&socket).expect("removed");
    fs::create_dir(&socket).expect("a folder");
    let (status, _, err) = daemon.ask(&["status"]);
    assert_eq!(status, 71, "{err}");
    assert!(
        err.contains(&format!("pid {}", daemon.child.id())) && err.contains("nothing answers"),
        "{err}"
    );
    fs::remove_dir(&socket).expect("removed");
    wait_until("it answers", LONG, || daemon.ask(&["status"]).0 == 0);
}

#[test]
#[ignore = "needs root"]
fn a_configuration_of_another_user_is_78_unless_it_is_named() {
    const OWNER: u32 = 12_345;
    let folder = TempDir::new();
    let file = folder.join("stayd.toml");
    fs::write(&file, "[service.a]\ncommand = [\"true\"]\n").expect("written");
    let check = |more: &[&str]| {
        let mut command = stayd(&["config", "check"]);
        command.args(more).current_dir(folder.path());
        command.uid(ANOTHER_UID).gid(ANOTHER_UID).env("HOME", "/");
        output_of(command.output().expect("stayd starts"))
    };
    for (path, mode) in [(folder.path(), 0o755), (file.as_path(), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("readable");
    }
    assert_eq!(check(&[]).0, 0, "a file of root");
    std::os::unix::fs::chown(&file, Some(OWNER), None).expect("given away");
    let (status, _, err) = check(&[]);
    assert_eq!(status, 78, "{err}");
    assert!(
        err.contains("belongs to user 12345") && err.contains("-c "),
        "{err}"
    );
    assert_eq!(check(&["-c", "stayd.toml"]).0, 0, "it is named");
}
