//! `stayd exec`: it becomes the command, or says in a sentence why it cannot.

use super::sockets_service_killed::wait_for_another;
use crate::support::http::Address;
use crate::support::{TempDir, free_port, test_service};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// `stayd exec WORDS`, as a unit's main process would be started.
fn exec(words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_stayd"))
        .arg("exec")
        .args(words)
        .env("NOTIFY_SOCKET", "/run/systemd/notify")
        .env("STAYD_SUPERVISOR", "launchd:x")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The exit code, stdout and stderr.
fn outcome(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn it_becomes_the_command_and_keeps_pid_notify_socket_and_environment() {
    let script = "echo $$ $NOTIFY_SOCKET ${STAYD_SUPERVISOR-none} $A $PWD; grep SigIgn /proc/self/status; exit 7";
    let child = exec(&["--env", "A=b", "--cwd", "/", "--", "sh", "-c", script]);
    let pid = child.id();
    let (code, stdout, stderr) = outcome(child);
    assert_eq!(code, Some(7), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], format!("{pid} /run/systemd/notify none b /"));
    let ignored = u64::from_str_radix(lines[1].rsplit('\t').next().unwrap(), 16).unwrap();
    let sigpipe = 1 << (libc::SIGPIPE - 1);
    assert_eq!(ignored & sigpipe, 0, "SIGPIPE has its default action");
}

#[test]
fn its_own_sockets_come_after_the_inherited_ones() {
    let (given, port) = (free_port(), free_port());
    let socket = format!("127.0.0.1:{port}");
    let test_service = test_service().display().to_string();
    // As an OS supervisor does: this process inherits the first socket.
    let inner = format!(
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=given; exec {} exec --socket {socket} -- {test_service} serve-held",
        env!("CARGO_BIN_EXE_stayd"),
    );
    let outer = [
        "--socket",
        &format!("127.0.0.1:{given}"),
        "--",
        "sh",
        "-c",
        &inner,
    ];
    let mut child = exec(&outer);
    let pid = i32::try_from(child.id()).unwrap();
    for port in [given, port] {
        assert_eq!(wait_for_another(&Address::Port(port), None), pid);
    }
    let (code, _, stderr) = outcome(exec(&["--socket", &socket, "--", "true"]));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains(&format!("{socket} is taken by test_service (pid {pid})")),
        "{stderr}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_failed_preflight_ends_with_a_sentence_and_its_exit_code() {
    let dir = TempDir::new();
    let file = dir.join("plain");
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    let plain = file.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let tries: [(&[&str], i32, &str); 4] = [
        (&["--", "no-such-program"], 78, "no no-such-program in PATH"),
        (&["--", plain], 77, "chmod +x"),
        (&["--port", &port, "--", "true"], 1, "is taken by real"),
        (&["--"], 2, "command"),
    ];
    for (words, code, sentence) in tries {
        let (ended, stdout, stderr) = outcome(exec(words));
        assert_eq!(ended, Some(code), "{words:?}: {stderr}");
        assert!(stderr.contains(sentence), "{words:?}: {stderr}");
        assert_eq!(stdout, "");
    }
}

#[test]
fn with_a_runtime_it_runs_from_the_copy_and_later_without_the_source() {
    let dir = TempDir::new();
    let source = dir.join("app");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("run.sh"), "echo $PWD $STAYD_PACKAGE_ROOT $0\n").unwrap();
    let state = dir.join("state");
    let words = |more: &str| {
        let words = format!(
            "--state-dir {} --runtime {} --env X={{runtime}}/x -- /bin/sh -c {more}",
            state.display(),
            source.display()
        );
        words.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let run = || {
        let mut words = words("@");
        *words.last_mut().unwrap() = "echo $X; exec sh {runtime}/run.sh".to_owned();
        outcome(exec(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let (code, stdout, stderr) = run();
    assert_eq!(code, Some(0), "{stderr}");
    let mut lines = stdout.lines();
    let root = lines.next().unwrap().strip_suffix("/x").unwrap().to_owned();
    assert!(
        root.starts_with(&state.join("runtime").display().to_string()),
        "{root}"
    );
    assert_eq!(lines.next(), Some(&*format!("{root} {root} {root}/run.sh")));
    std::fs::remove_dir_all(&source).unwrap();
    let (code, again, stderr) = run();
    assert_eq!((code, again), (Some(0), stdout));
    assert!(
        stderr.contains("using the last good runtime instead"),
        "{stderr}"
    );
}

#[test]
fn with_a_runtime_the_advice_names_a_file_of_the_source() {
    let dir = TempDir::new();
    let source = dir.join("app");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("run.sh"), "#!/bin/sh\n").unwrap();
    let (state, from) = (dir.join("state"), source.display().to_string());
    let words = ["--runtime", &from, "--", "{runtime}/run.sh"];
    let (code, _, stderr) = outcome(exec(
        &[&["--state-dir", state.to_str().unwrap()], &words[..]].concat(),
    ));
    assert_eq!(code, Some(77), "{stderr}");
    let advice = format!("`chmod +x {from}/run.sh`");
    assert!(stderr.contains(&advice), "{stderr}");
}
