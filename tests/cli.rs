//! The program as scripts see it: exit statuses, what is on stdout and what on stderr.

#[path = "support/wait.rs"]
mod wait;

use serde_json::Value;
use stayd::sys::process::{Handle, stat};
use std::fs;
use std::io::{BufRead, BufReader, Read, pipe};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use wait::{TempDir, free_port, wait_for, wait_until};

const LONG: Duration = Duration::from_secs(30);
/// Nobody, on Debian and on a Mac's /etc/passwd alike not the user who runs tests.
const ANOTHER_UID: u32 = 65534;

fn stayd(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stayd"));
    command
        .args(words)
        .stdin(Stdio::null())
        .env_remove("STAYD_CONFIG")
        .current_dir("/");
    command
}

/// Runs it to its end: (status, stdout, stderr).
fn run(words: &[&str]) -> (i32, String, String) {
    told(stayd(words).output().expect("stayd starts"))
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("no signal"),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A daemon with a state folder of its own, stopped in order when dropped.
struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    /// One service, as the command line describes it.
    fn start(command: &[&str]) -> Self {
        let words: Vec<_> = ["--name", "test", "--"]
            .iter()
            .chain(command)
            .copied()
            .collect();
        Self::start_in(TempDir::new(), &words)
    }

    /// What a configuration describes.
    fn start_with(config: &str) -> Self {
        let folder = TempDir::new();
        let file = folder.path().join("test.toml");
        fs::write(&file, config).expect("written");
        Self::start_in(folder, &["-c", file.to_str().expect("UTF-8")])
    }

    fn start_in(folder: TempDir, words: &[&str]) -> Self {
        let mut command = stayd(&["--foreground", "--state-dir"]);
        command.arg(folder.path().join("state")).args(words);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("stayd starts");
        let daemon = Self { child, folder };
        wait_until("the daemon answers", LONG, || {
            daemon.ask(&["status"]).0 == 0
        });
        daemon
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn ask(&self, words: &[&str]) -> (i32, String, String) {
        let state = self.state();
        let all: Vec<_> = words
            .iter()
            .copied()
            .chain(["--state-dir", state.to_str().expect("UTF-8")])
            .collect();
        run(&all)
    }

    fn service(&self) -> Value {
        let (_, out, _) = self.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
        status["services"][0].clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let process = stat(self.child.id().try_into().expect("a pid"))
            .expect("it runs")
            .process;
        Handle::open(process)
            .and_then(|handle| handle.signal(15))
            .expect("SIGTERM");
        wait_for("the daemon ends", LONG, || {
            self.child.try_wait().expect("our child")
        });
    }
}

#[test]
fn help_and_version_are_done() {
    for words in [["--help"], ["--version"]] {
        let (status, out, err) = run(&words);
        assert_eq!((status, err.as_str()), (0, ""), "{words:?}");
        assert!(out.contains("stayd"), "{out}");
    }
}

#[test]
fn a_command_line_that_means_nothing_is_2() {
    for words in [
        &["statsu"][..],
        &["hold", "db"],
        &["--foreground", "status"],
        &[],
    ] {
        let (status, out, err) = run(words);
        assert_eq!((status, out.as_str()), (2, ""), "{words:?}");
        assert!(!err.is_empty());
    }
}

#[test]
fn nobody_there_is_3_and_says_how_to_start() {
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
            err.starts_with("stayd: no stayd is running here: nobody answers on "),
            "{err}"
        );
        assert!(err.contains("; start it with `stayd --foreground"), "{err}");
    }
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
    assert_eq!(run(&["probe", "gopher://127.0.0.1"]).0, 2);
}

#[test]
fn a_state_folder_that_cannot_be_is_71() {
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
fn a_wrong_configuration_is_78_with_place_and_cure() {
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

#[test]
fn wishes_wait_for_their_outcome() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let (status, out, err) = daemon.ask(&["stop", "sleep"]);
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (0, "sleep: stopped\n", "")
    );
    assert_eq!(daemon.service()["wanted"], "down");
    let (status, out, _) = daemon.ask(&["start", "sleep"]);
    assert_eq!(status, 0);
    assert!(out.starts_with("sleep: running as pid "), "{out}");
    let (status, out, _) = daemon.ask(&["restart", "sleep", "--no-wait"]);
    assert_eq!((status, out.as_str()), (0, "sleep: restart asked for\n"));
    wait_until("a third life", LONG, || daemon.service()["life"] == 3);
    let (status, out, err) = daemon.ask(&["restart", "nope", "sleep"]);
    assert_eq!(status, 2, "{err}");
    assert!(
        err.starts_with("stayd: cannot find a service called nope: there is sleep"),
        "{err}"
    );
    assert!(
        out.starts_with("sleep: running"),
        "the others are asked all the same: {out}"
    );
}

#[test]
fn a_wish_that_does_not_come_true_is_1_with_the_reason() {
    let program = TempDir::new();
    let script = program.path().join("serve");
    fs::write(&script, "#!/bin/sh\nexec sleep 1000\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    let daemon = Daemon::start(&[script.to_str().expect("UTF-8")]);
    fs::remove_file(&script).expect("removed");
    let (status, out, err) = daemon.ask(&["restart", "serve"]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    assert!(err.starts_with("stayd: cannot restart serve: "), "{err}");
    assert_eq!(
        daemon.ask(&["status"]).0,
        1,
        "what is wanted up and is not makes status a no"
    );
}

#[test]
fn holds_are_shown_until_they_are_released() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let (status, out, _) = daemon.ask(&["hold", "sleep", "--for", "30m", "--reason", "a backup"]);
    assert_eq!(status, 0);
    assert!(out.contains("no kills (a backup)"), "{out}");
    assert_eq!(daemon.service()["hold"]["reason"], "a backup");
    assert!(daemon.ask(&["status"]).1.contains("more: a backup"));
    let (status, _, err) = daemon.ask(&["hold", "sleep", "--for", "ever", "--reason", "x"]);
    assert_eq!(status, 2, "{err}");
    assert_eq!(daemon.ask(&["release", "sleep"]).0, 0);
    assert_eq!(daemon.service()["hold"], Value::Null);
}

/// Writes a line with its number every few milliseconds, more of them than one file may hold.
const TALKER: &str =
    "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; exec sleep 1000";

/// The lines of a stream that may fall silent.
fn lines_of(stream: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    lines
}

#[test]
fn logs_are_shown_and_followed_through_rotation() {
    let daemon = Daemon::start_with(
        "[service.talker]\ncommand = [\"sh\", \"-c\", \"TALKER\"]\nlog = { to = \"file\", max_size = \"4KiB\", keep = 50 }\n"
            .replace("TALKER", TALKER).as_str(),
    );
    wait_until("the last line", LONG, || {
        daemon.ask(&["logs", "-n", "1"]).1 == "line 3000\n"
    });
    let (status, out, _) = daemon.ask(&["logs", "talker", "-n", "2"]);
    assert_eq!((status, out.as_str()), (0, "line 2999\nline 3000\n"));
    let mut follower = stayd(&["logs", "-f", "-n", "1", "--state-dir"])
        .arg(daemon.state())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = lines_of(follower.stdout.take().expect("piped"));
    let next = || lines.recv_timeout(LONG).expect("a line in time");
    assert_eq!(next(), "line 3000", "now it follows");
    assert_eq!(daemon.ask(&["restart", "talker"]).0, 0);
    for number in 1..=3000 {
        assert_eq!(
            next(),
            format!("line {number}"),
            "none lost, doubled or torn"
        );
    }
    follower.kill().expect("SIGKILL");
    follower.wait().expect("reaped");
}

#[test]
fn what_goes_into_a_pipe_has_no_colour_and_json_stands_alone() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    for verb in [
        &["status"][..],
        &["events"],
        &["why", "sleep"],
        &["incidents"],
        &["config", "schema"],
    ] {
        let (status, out, err) = daemon.ask(verb);
        assert_eq!((status, err.as_str()), (0, ""), "{verb:?}");
        assert!(!out.contains('\x1b'), "{verb:?}: {out}");
        let words: Vec<_> = verb.iter().copied().chain(["--json"]).collect();
        let (status, out, err) = daemon.ask(&words);
        assert_eq!((status, err.as_str()), (0, ""), "{verb:?}");
        serde_json::from_str::<Value>(&out).expect("JSON alone on stdout");
    }
}

#[test]
fn item_92_a_reader_that_has_gone_ends_it_quietly() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut child = stayd(&["config", "schema"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut err = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut err)
        .expect("read");
    let status = wait_for("it ends", LONG, || child.try_wait().expect("our child"));
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
}

/// A program that another user can reach, wherever this one was built.
fn program_for_all(folder: &Path) -> PathBuf {
    let program = folder.join("stayd");
    fs::copy(env!("CARGO_BIN_EXE_stayd"), &program).expect("copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable by all");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("open to all");
    program
}

#[test]
fn item_99_another_user_is_77_at_the_door_and_behind_it() {
    if stayd::sys::identity::euid() != 0 {
        println!("skipped: only root can ask as another user");
        return;
    }
    let daemon = Daemon::start(&["sleep", "1000"]);
    let place = TempDir::new();
    let program = program_for_all(place.path());
    let ask = |words: &[&str]| {
        let mut command = Command::new(&program);
        let state = daemon.state();
        command
            .args(words)
            .arg("--state-dir")
            .arg(state)
            .stdin(Stdio::null())
            .current_dir("/");
        told(
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
        "the folder keeps it out: {err}"
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
            "its credentials keep it out: {err}"
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
