//! `stayd runtime …` where there is little to tell: what it says, where, and with which status.

use crate::stage::{LONG, run, stayd};
use crate::wait::{TempDir, wait_for, wait_until};
use serde_json::{Value, json};
use stayd::sys::process::{age, stat};
use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

/// It is drawn after half a second.
const BAR_COMES_WITHIN: Duration = Duration::from_secs(2);

/// A folder with a configuration of one service with a runtime and one without, and no stayd.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new();
        let config = "name = 'desk'\n[service.web]\ncommand = ['{runtime}/serve']\n\
                      [service.web.runtime]\nsource = 'source'\n[service.db]\ncommand = ['sleep', '9']\n";
        fs::write(folder.join("desk.toml"), config).expect("written");
        fs::create_dir(folder.join("source")).expect("a source");
        fs::write(folder.join("source/serve"), "#!/bin/sh\n").expect("written");
        Self { folder }
    }

    fn ask(&self, words: &[&str]) -> (i32, String, String) {
        let path = |name| self.folder.join(name).to_str().expect("UTF-8").to_owned();
        let (config, state) = (path("desk.toml"), path("state"));
        let common = ["-c", &config, "--state-dir", &state];
        run(&[&["runtime"], words, &common[..]].concat())
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let (status, out, err) = self.ask(&[words, &["--json"]].concat());
        let told = serde_json::from_str(&out);
        (
            status,
            told.unwrap_or_else(|_| panic!("JSON alone on stdout: {out}{err}")),
        )
    }
}

#[test]
fn where_nothing_is_kept_that_is_said_and_nothing_is_made() {
    let desk = Desk::new();
    for verb in ["ls", "verify"] {
        let (status, out, err) = desk.ask(&[verb]);
        assert_eq!((status, err.as_str()), (0, ""), "{verb}");
        assert!(out.starts_with("no runtime is kept in /"), "{out}");
        assert_eq!(
            desk.json(&[verb]),
            (0, json!({ "schema": 1, "runtimes": [] }))
        );
    }
    let (status, out, _) = desk.ask(&["gc"]);
    assert_eq!((status, out.as_str()), (0, "nothing is freed\n"));
    assert!(!desk.folder.join("state").exists());
}

#[test]
fn a_service_without_a_runtime_is_no_service_of_these_verbs() {
    let desk = Desk::new();
    for verb in ["import", "rollback", "verify"] {
        let (status, out, err) = desk.ask(&[verb, "db"]);
        assert_eq!((status, out.as_str()), (2, ""), "{verb}: {err}");
        assert!(
            err.contains("it has none; add [service.db.runtime]"),
            "{err}"
        );
        let (status, _, err) = desk.ask(&[verb, "nope"]);
        assert_eq!(status, 2, "{verb}: {err}");
        assert!(err.contains("with a runtime there is web"), "{err}");
    }
    let (status, _, err) = desk.ask(&["rollback", "web"]);
    assert_eq!(status, 1, "nothing to go back to: {err}");
    assert!(err.starts_with("stayd: cannot roll web back: "), "{err}");
}

#[test]
fn an_import_needs_no_stayd_and_everything_else_tells_of_it() {
    let desk = Desk::new();
    let (status, out, err) = desk.ask(&["import", "web"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.starts_with("web: imported 1 file, 10 B\n"), "{out}");
    assert!(
        out.ends_with("  it runs from there when stayd starts it\n"),
        "{out}"
    );
    let (status, told) = desk.json(&["import", "web"]);
    assert_eq!(
        (status, &told["copied"]),
        (0, &Value::Null),
        "it is there already"
    );
    let fingerprint = told["fingerprint"].as_str().expect("one");
    let (status, told) = desk.json(&["ls"]);
    let one = &told["runtimes"][0];
    assert_eq!((status, &one["fingerprint"]), (0, &json!(fingerprint)));
    assert_eq!(
        (&one["files"], &one["bytes"], &one["pids"]),
        (&json!(1), &json!(10), &json!([]))
    );
    assert!(
        one["made_at"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{told}"
    );
    let web = json!({
        "name": "web", "running": false, "newest": true, "good": false, "imported": true, "refused": null,
    });
    assert_eq!(one["services"], json!([web]));
    let (status, told) = desk.json(&["verify", "web"]);
    let verified = &told["runtimes"][0];
    assert_eq!((status, &verified["whole"]), (0, &json!(true)));
    assert_eq!(
        (&verified["altered"], &verified["error"]),
        (&json!([]), &Value::Null)
    );
    let (status, told) = desk.json(&["gc"]);
    assert_eq!((status, &told["freed_bytes"]), (0, &json!(0)));
    assert_eq!(told["kept"][0]["why"], "it is one of the newest of web");
    fs::remove_dir_all(desk.folder.join("source")).expect("removed");
    let (status, _, err) = desk.ask(&["import", "web"]);
    assert_eq!(status, 71, "{err}");
    assert!(
        err.contains("source") && err.ends_with("; nothing is imported\n"),
        "{err}"
    );
}

#[test]
fn gc_frees_what_no_service_of_the_configuration_keeps() {
    let desk = Desk::new();
    assert_eq!(desk.ask(&["import", "web"]).0, 0);
    fs::write(
        desk.folder.join("desk.toml"),
        "name = 'desk'\n[service.db]\ncommand = ['sleep', '9']\n",
    )
    .expect("written");
    let (status, told) = desk.json(&["gc"]);
    assert_eq!((status, &told["freed_bytes"]), (0, &json!(10)), "{told}");
    assert_eq!(desk.json(&["ls"]).1["runtimes"], json!([]));
}

/// What an ordered stop in the middle of a copy leaves.
#[test]
fn gc_tells_of_copies_that_did_not_come_to_their_end() {
    let desk = Desk::new();
    assert_eq!(desk.ask(&["import", "web"]).0, 0);
    let leave = |name: &str| {
        let left = desk.folder.join("state/runtime").join(name);
        fs::create_dir(&left).expect("a folder");
        fs::write(left.join("half"), "1234").expect("written");
        left
    };
    let left = leave(".new-1-0");
    let (status, out, err) = desk.ask(&["gc"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let told = "freed 4 B: 1 unfinished copy\n  .new-1-0  4 B\nkept ";
    assert!(out.starts_with(told), "{out}");
    assert!(!left.exists());
    let left = leave(".new-1-1");
    let (status, told) = desk.json(&["gc"]);
    assert_eq!((status, &told["freed_bytes"]), (0, &json!(4)), "{told}");
    assert_eq!(told["freed"], json!([]));
    assert_eq!(told["swept"], json!([{ "path": left, "bytes": 4 }]));
    // one that is under way is not left
    let under_way = fs::File::open(leave(".new-1-2")).expect("a folder");
    under_way.lock().expect("locked");
    let (status, out, _) = desk.ask(&["gc"]);
    assert_eq!(status, 0);
    assert!(out.starts_with("nothing is freed\n"), "{out}");
}

#[test]
fn gc_without_a_configuration_keeps_what_it_would_by_default() {
    let desk = Desk::new();
    assert_eq!(desk.ask(&["import", "web"]).0, 0);
    fs::write(
        desk.folder.join("desk.toml"),
        "name = 'desk'\nnonsense = 1\n",
    )
    .expect("written");
    let (status, out, err) = desk.ask(&["gc"]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("2 runtimes of each service are kept"), "{err}");
    assert!(out.starts_with("nothing is freed\nkept "), "{out}");
}

/// What root made in somebody else's folder, its owner could not use.
#[test]
fn only_the_owner_changes_something() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root comes into the folders of others");
        return;
    }
    let desk = Desk::new();
    let state = desk.folder.join("state");
    fs::create_dir(&state).expect("a folder");
    let stranger = nix::unistd::Uid::from_raw(65_534);
    nix::unistd::chown(&state, Some(stranger), None).expect("given away");
    for verb in [&["import", "web"][..], &["rollback", "web"], &["gc"]] {
        let (status, _, err) = desk.ask(verb);
        assert_eq!(status, 77, "{err}");
        assert!(err.contains("sudo -u '#65534'"), "{err}");
    }
    assert_eq!(desk.ask(&["ls"]).0, 0);
    assert_eq!(
        fs::read_dir(&state).expect("readable").count(),
        0,
        "nothing was made"
    );
}

/// What somebody at a terminal sees on stderr while another copy holds up the import for a while.
fn seen_at_a_terminal(no_color: bool) -> String {
    let desk = Desk::new();
    let runtimes = desk.folder.join("state/runtime");
    fs::create_dir_all(&runtimes).expect("a folder");
    let lock = fs::File::create(runtimes.join(".lock")).expect("a lock");
    lock.lock().expect("held");
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut import = stayd(&["runtime", "import", "web", "-c"]);
    import
        .arg(desk.folder.join("desk.toml"))
        .arg("--state-dir")
        .arg(desk.folder.join("state"))
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
        // As long as the bar would take to come.
        wait_until("the import waits", LONG, || {
            stat(i32::try_from(import.id()).expect("a pid"))
                .is_ok_and(|stat| age(stat.process) > BAR_COMES_WITHIN)
        });
    } else {
        let mut piece = [0; 256];
        while !String::from_utf8_lossy(&seen).contains("copying: waiting") {
            let count = screen.read(&mut piece).expect("it is there");
            seen.extend_from_slice(&piece[..count]);
        }
    }
    drop(lock);
    assert!(wait_for("the import ends", LONG, || import.try_wait().expect("ours")).success());
    // It has gone, and nobody else writes.
    let mut rest = [0; 4096];
    nix::fcntl::fcntl(
        &screen,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )
    .expect("never waits");
    while let Ok(count @ 1..) = screen.read(&mut rest) {
        seen.extend_from_slice(&rest[..count]);
    }
    String::from_utf8(seen).expect("UTF-8")
}

#[test]
fn a_bar_is_drawn_at_a_terminal_when_it_takes_its_time_and_wiped_away_again() {
    let seen = seen_at_a_terminal(false);
    let last = seen.trim_end_matches('\r').rsplit('\r').next();
    assert!(last.is_some_and(|line| line.trim().is_empty()), "{seen:?}");
    assert_eq!(seen_at_a_terminal(true), "", "NO_COLOR");
}
