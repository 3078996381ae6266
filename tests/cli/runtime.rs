//! `stayd runtime …` in simple cases: output, exit statuses and the progress bar.

use crate::daemon::{LONG, run, stayd};
use crate::wait::{TempDir, wait_for, wait_until};
use serde_json::{Value, json};
use stayd::sys::process::{age, stat};
use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

/// The progress bar appears within this time: after half a second, and a margin.
const BAR_APPEARS_WITHIN: Duration = Duration::from_secs(2);

/// A configuration with one service that has a runtime and one that has none, and no daemon.
struct Setup {
    folder: TempDir,
}

impl Setup {
    fn new() -> Self {
        let folder = TempDir::new();
        let config = "name = 'test'\n[service.web]\ncommand = ['{runtime}/serve']\n\
                      [service.web.runtime]\nsource = 'source'\n[service.db]\ncommand = ['sleep', '9']\n";
        fs::write(folder.join("test.toml"), config).expect("written");
        fs::create_dir(folder.join("source")).expect("a source");
        fs::write(folder.join("source/serve"), "#!/bin/sh\n").expect("written");
        Self { folder }
    }

    fn ask(&self, words: &[&str]) -> (i32, String, String) {
        let path = |name| self.folder.join(name).to_str().expect("UTF-8").to_owned();
        let (config, state) = (path("test.toml"), path("state"));
        let common = ["-c", &config, "--state-dir", &state];
        run(&[&["runtime"], words, &common[..]].concat())
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let (status, out, err) = self.ask(&[words, &["--json"]].concat());
        let output = serde_json::from_str(&out);
        (
            status,
            output.unwrap_or_else(|_| panic!("JSON alone on stdout: {out}{err}")),
        )
    }
}

#[test]
fn without_runtimes_the_verbs_say_so_and_create_nothing() {
    let setup = Setup::new();
    for verb in ["ls", "verify"] {
        let (status, out, err) = setup.ask(&[verb]);
        assert_eq!((status, err.as_str()), (0, ""), "{verb}");
        assert!(out.starts_with("there is no runtime in /"), "{out}");
        assert_eq!(
            setup.json(&[verb]),
            (0, json!({ "schema": 1, "runtimes": [] }))
        );
    }
    let (status, out, _) = setup.ask(&["gc"]);
    assert_eq!((status, out.as_str()), (0, "nothing is freed\n"));
    assert!(!setup.folder.join("state").exists());
}

#[test]
fn a_service_without_a_runtime_is_a_usage_error() {
    let setup = Setup::new();
    for verb in ["import", "rollback", "verify"] {
        let (status, out, err) = setup.ask(&[verb, "db"]);
        assert_eq!((status, out.as_str()), (2, ""), "{verb}: {err}");
        assert!(
            err.contains("it has none; add [service.db.runtime]"),
            "{err}"
        );
        let (status, _, err) = setup.ask(&[verb, "nope"]);
        assert_eq!(status, 2, "{verb}: {err}");
        assert!(err.contains("services with a runtime: web"), "{err}");
    }
    let (status, _, err) = setup.ask(&["rollback", "web"]);
    assert_eq!(status, 1, "there is no earlier runtime: {err}");
    assert!(err.starts_with("stayd: cannot roll web back: "), "{err}");
}

#[test]
fn an_import_needs_no_daemon_and_the_other_verbs_show_it() {
    let setup = Setup::new();
    let (status, out, err) = setup.ask(&["import", "web"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.starts_with("web: imported 1 file, 10 B\n"), "{out}");
    assert!(
        out.ends_with("  the service runs from it when stayd starts it\n"),
        "{out}"
    );
    let (status, output) = setup.json(&["import", "web"]);
    assert_eq!(
        (status, &output["copied"]),
        (0, &Value::Null),
        "the copy exists already"
    );
    let fingerprint = output["fingerprint"].as_str().expect("one");
    let (status, output) = setup.json(&["ls"]);
    let one = &output["runtimes"][0];
    assert_eq!((status, &one["fingerprint"]), (0, &json!(fingerprint)));
    assert_eq!(
        (&one["files"], &one["bytes"], &one["pids"]),
        (&json!(1), &json!(10), &json!([]))
    );
    assert!(
        one["made_at"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{output}"
    );
    let web = json!({
        "name": "web", "running": false, "newest": true, "good": false, "imported": true, "refused": null,
    });
    assert_eq!(one["services"], json!([web]));
    let (status, output) = setup.json(&["verify", "web"]);
    let verified = &output["runtimes"][0];
    assert_eq!((status, &verified["whole"]), (0, &json!(true)));
    assert_eq!(
        (&verified["altered"], &verified["error"]),
        (&json!([]), &Value::Null)
    );
    let (status, output) = setup.json(&["gc"]);
    assert_eq!((status, &output["freed_bytes"]), (0, &json!(0)));
    assert_eq!(output["kept"][0]["why"], "it is one of the newest of web");
    fs::remove_dir_all(setup.folder.join("source")).expect("removed");
    let (status, _, err) = setup.ask(&["import", "web"]);
    assert_eq!(status, 71, "{err}");
    assert!(
        err.contains("source") && err.ends_with("; nothing is imported\n"),
        "{err}"
    );
}

#[test]
fn gc_removes_runtimes_of_services_that_are_no_longer_configured() {
    let setup = Setup::new();
    assert_eq!(setup.ask(&["import", "web"]).0, 0);
    fs::write(
        setup.folder.join("test.toml"),
        "name = 'test'\n[service.db]\ncommand = ['sleep', '9']\n",
    )
    .expect("written");
    let (status, output) = setup.json(&["gc"]);
    assert_eq!(
        (status, &output["freed_bytes"]),
        (0, &json!(10)),
        "{output}"
    );
    assert_eq!(setup.json(&["ls"]).1["runtimes"], json!([]));
}

/// A stop in the middle of a copy leaves an unfinished copy.
#[test]
fn gc_removes_unfinished_copies() {
    let setup = Setup::new();
    assert_eq!(setup.ask(&["import", "web"]).0, 0);
    let leave = |name: &str| {
        let left = setup.folder.join("state/runtime").join(name);
        fs::create_dir(&left).expect("a folder");
        fs::write(left.join("half"), "1234").expect("written");
        left
    };
    let left = leave(".new-1-0");
    let (status, out, err) = setup.ask(&["gc"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let output = "freed 4 B: 1 unfinished copy\n  .new-1-0  4 B\nkept ";
    assert!(out.starts_with(output), "{out}");
    assert!(!left.exists());
    let left = leave(".new-1-1");
    let (status, output) = setup.json(&["gc"]);
    assert_eq!((status, &output["freed_bytes"]), (0, &json!(4)), "{output}");
    assert_eq!(output["freed"], json!([]));
    assert_eq!(output["swept"], json!([{ "path": left, "bytes": 4 }]));
    // A copy in progress is locked, and stays.
    let in_progress = fs::File::open(leave(".new-1-2")).expect("a folder");
    in_progress.lock().expect("locked");
    let (status, out, _) = setup.ask(&["gc"]);
    assert_eq!(status, 0);
    assert!(out.starts_with("nothing is freed\n"), "{out}");
}

#[test]
fn gc_without_a_valid_configuration_keeps_the_default_number() {
    let setup = Setup::new();
    assert_eq!(setup.ask(&["import", "web"]).0, 0);
    fs::write(
        setup.folder.join("test.toml"),
        "name = 'test'\nnonsense = 1\n",
    )
    .expect("written");
    let (status, out, err) = setup.ask(&["gc"]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("2 runtimes of each service are kept"), "{err}");
    assert!(out.starts_with("nothing is freed\nkept "), "{out}");
}

/// What root creates in the folder of another user, that user could not use.
#[test]
#[ignore = "needs root"]
fn only_the_owner_of_the_state_folder_may_change_it() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let setup = Setup::new();
    let state = setup.folder.join("state");
    fs::create_dir(&state).expect("a folder");
    let another_user = nix::unistd::Uid::from_raw(65_534);
    nix::unistd::chown(&state, Some(another_user), None).expect("given away");
    for verb in [&["import", "web"][..], &["rollback", "web"], &["gc"]] {
        let (status, _, err) = setup.ask(verb);
        assert_eq!(status, 77, "{err}");
        assert!(err.contains("sudo -u '#65534'"), "{err}");
    }
    assert_eq!(setup.ask(&["ls"]).0, 0);
    assert_eq!(
        fs::read_dir(&state).expect("readable").count(),
        0,
        "no file was created"
    );
}

/// Runs an import with stderr on a terminal while another copy blocks it for a while. Returns what the terminal got.
fn stderr_of_blocked_import(no_color: bool) -> String {
    let setup = Setup::new();
    let runtimes = setup.folder.join("state/runtime");
    fs::create_dir_all(&runtimes).expect("a folder");
    let lock = fs::File::create(runtimes.join(".lock")).expect("a lock");
    lock.lock().expect("held");
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut import = stayd(&["runtime", "import", "web", "-c"]);
    import
        .arg(setup.folder.join("test.toml"))
        .arg("--state-dir")
        .arg(setup.folder.join("state"))
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdout(Stdio::null())
        .stderr(terminal.slave);
    if no_color {
        import.env("NO_COLOR", "1");
    }
    let mut import = import.spawn().expect("starts");
    let mut screen = fs::File::from(terminal.master);
    let mut seen = Vec::new();
    if no_color {
        // Wait as long as the bar would take to appear.
        wait_until("the import waits", LONG, || {
            stat(i32::try_from(import.id()).expect("a pid"))
                .is_ok_and(|stat| age(stat.process) > BAR_APPEARS_WITHIN)
        });
    } else {
        let mut piece = [0; 256];
        while !String::from_utf8_lossy(&seen).contains("copying: waiting") {
            let count = screen.read(&mut piece).expect("readable");
            seen.extend_from_slice(&piece[..count]);
        }
    }
    drop(lock);
    assert!(wait_for("the import ends", LONG, || import.try_wait().expect("ours")).success());
    // The import has ended, so the terminal gets no more output.
    let mut rest = [0; 4096];
    nix::fcntl::fcntl(
        &screen,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )
    .expect("does not block");
    while let Ok(count @ 1..) = screen.read(&mut rest) {
        seen.extend_from_slice(&rest[..count]);
    }
    String::from_utf8(seen).expect("UTF-8")
}

#[test]
fn a_long_copy_draws_a_progress_bar_on_a_terminal_and_erases_it_at_the_end() {
    let seen = stderr_of_blocked_import(false);
    let last = seen.trim_end_matches('\r').rsplit('\r').next();
    assert!(last.is_some_and(|line| line.trim().is_empty()), "{seen:?}");
    assert_eq!(stderr_of_blocked_import(true), "", "NO_COLOR");
}
