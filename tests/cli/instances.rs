//! Several instances of one user: which of them a verb means.

use crate::daemon::{LONG, output_of};
use crate::wait::{TempDir, wait_for, wait_until};
use serde_json::Value;
use stayd::sys::identity;
use stayd::sys::process::{Handle, stat};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The uid of a user that does not run the tests: the unprivileged user of most systems.
const ANOTHER_UID: u32 = 65534;

/// A user with a home folder of its own, and the stayds that it has started. Root's state folder is always the same, so the
/// tests of root use another user.
struct User {
    home: TempDir,
    program: PathBuf,
    daemons: Vec<Child>,
}

impl User {
    fn new() -> Self {
        let home = TempDir::new();
        let program = home.join("stayd");
        // With cp(1): a child that this process forks meanwhile would inherit a file that is open for writing.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_stayd"))
            .arg(&program)
            .status();
        assert!(copied.expect("cp").success());
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        if identity::euid() == 0 {
            std::os::unix::fs::chown(home.path(), Some(ANOTHER_UID), None).expect("chown");
        }
        Self {
            home,
            program,
            daemons: Vec::new(),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .current_dir("/")
            .stdin(Stdio::null());
        if identity::euid() == 0 {
            command.uid(ANOTHER_UID).gid(ANOTHER_UID);
        }
        command
    }

    /// Starts an instance with these services, each of which sleeps.
    fn start(&mut self, instance: &str, services: &[&str]) {
        let file = self.home.join(&format!("{instance}.toml"));
        let sections = services
            .iter()
            .map(|name| format!("[service.{name}]\ncommand = ['sleep', '1000']\n"));
        let text: String = sections.collect();
        fs::write(&file, format!("name = '{instance}'\n{text}")).expect("written");
        let mut command = self.command(&["--foreground", "-c", file.to_str().expect("UTF-8")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.daemons.push(child.expect("stayd starts"));
        wait_until("the daemon answers", LONG, || {
            self.ask(&["status", "--name", instance]).0 == 0
        });
    }

    fn ask(&self, words: &[&str]) -> (i32, String, String) {
        output_of(self.command(words).output().expect("stayd starts"))
    }

    fn states(&self, instance: &str) -> Vec<String> {
        let (_, out, err) = self.ask(&["status", "--name", instance, "--json"]);
        let status: Value = serde_json::from_str(&out).expect(&err);
        let services = status["services"].as_array().expect("a list");
        let state = |service: &Value| service["state"].as_str().expect("text").to_owned();
        services.iter().map(state).collect()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let process = stat(daemon.id().try_into().expect("a pid"))
                .expect("it runs")
                .process;
            Handle::open(process)
                .and_then(|handle| handle.signal(15))
                .expect("SIGTERM");
            wait_for("the daemon ends", LONG, || {
                daemon.try_wait().expect("our child")
            });
        }
    }
}

#[test]
fn status_lists_all_instances_of_the_user_and_each_verb_takes_a_name() {
    let mut user = User::new();
    user.start("one", &["db"]);
    let (status, out, _) = user.ask(&["status", "--json"]);
    let alone: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
    assert_eq!((status, &alone["daemon"]["name"]), (0, &"one".into()));

    user.start("two", &["web", "db"]);
    let (status, out, err) = user.ask(&["status"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    let heads: Vec<_> = out
        .lines()
        .filter(|line| line.contains("  stayd "))
        .collect();
    assert!(
        heads[0].starts_with("one ") && heads[1].starts_with("two "),
        "{out}"
    );
    let (_, out, _) = user.ask(&["status", "web"]);
    assert!(out.starts_with("two ") && !out.contains("one "), "{out}");
    let (status, _, err) = user.ask(&["status", "nope"]);
    assert_eq!(status, 2);
    assert!(err.contains("there is db, web, db"), "{err}");
    for words in [&["status", "--json"][..], &["status", "--all", "--json"]] {
        let (_, out, _) = user.ask(words);
        let list: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
        let instances = list["instances"].as_array().expect("a list");
        let names: Vec<_> = instances
            .iter()
            .map(|each| &each["daemon"]["name"])
            .collect();
        assert!(
            names.contains(&&"one".into()) && names.contains(&&"two".into()),
            "{out}"
        );
        assert_eq!(list["schema"], 1);
    }

    let (status, _, err) = user.ask(&["stop", "db"]);
    assert_eq!(status, 2, "{err}");
    assert!(
        err.contains("cannot choose between the instances one, two: name one with --name NAME"),
        "{err}"
    );
    let (status, out, err) = user.ask(&["stop", "db", "--name", "two"]);
    assert_eq!((status, out.as_str()), (0, "db: stopped\n"), "{err}");
    assert_eq!(user.states("two"), ["running", "stopped"]);
    for verb in [
        &["logs"][..],
        &["events"],
        &["incidents"],
        &["why", "db"],
        &["reload", "db"],
        &["release", "db"],
        &["restart", "db"],
        &["explain", "1"],
        &["runtime", "ls"],
    ] {
        let words = [verb, &["--name", "one"]].concat();
        let (status, _, err) = user.ask(&words);
        assert_eq!(status, 0, "{words:?}: {err}");
    }
    let (status, _, err) = user.ask(&["status", "--name", "three"]);
    assert_eq!(status, 3, "{err}");
    let (status, _, err) = user.ask(&["status", "--name", "../one"]);
    assert_eq!(status, 2, "{err}");
}

#[test]
fn all_services_of_an_instance_are_stopped_and_started_together() {
    let mut user = User::new();
    user.start("one", &["a", "b", "c"]);
    let (status, out, err) = user.ask(&["stop", "--all"]);
    assert_eq!(
        (status, out.as_str()),
        (0, "a: stopped\nb: stopped\nc: stopped\n"),
        "{err}"
    );
    let (status, out, err) = user.ask(&["start", "--all"]);
    assert_eq!((status, out.lines().count()), (0, 3), "{err}");
    assert_eq!(user.states("one"), ["running"; 3]);
    let (status, out, err) = user.ask(&["restart", "--all", "--no-wait"]);
    assert_eq!((status, out.lines().count()), (0, 3), "{err}");
    let (status, _, err) = user.ask(&["stop"]);
    assert_eq!(status, 2);
    assert!(
        err.contains("give --all for all of them. To end stayd itself"),
        "{err}"
    );
}
