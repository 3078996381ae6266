//! `stayd runtime gc` beside a real stayd: it removes nothing that a process uses.

use crate::support::daemon::{SOON, Stayd};
use crate::support::{program, require_root, wait_until};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The service with a runtime is not in it any more.
const OTHER: &str = "name = 'x'\n[service.other]\ncommand = ['sleep', '1000']\n";

/// A process of nobody's, ended when dropped.
struct Squatter(Child);

impl Squatter {
    fn new(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("started"))
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("reaped");
    }
}

/// Item 64 and the leases: by its folder, its program, a mapped file.
#[test]
fn gc_never_removes_what_a_process_uses_whoever_that_is() {
    let stayd = Stayd::with_runtime();
    let library = mapped_library();
    let standing = stayd.fingerprint();
    let stands = Squatter::new(
        Command::new("sleep")
            .arg("1000")
            .current_dir(stayd.root(&standing)),
    );
    fs::copy(program("sleep"), stayd.source().join("sleeper")).expect("a program");
    let running = stayd.restart_with_version("2");
    let runs = Squatter::new(Command::new(stayd.root(&running).join("sleeper")).arg("1000"));
    fs::copy(library, stayd.source().join("library.so")).expect("a library");
    let mapped = stayd.restart_with_version("3");
    let preload = stayd.root(&mapped).join("library.so");
    let maps = Squatter::new(Command::new("sleep").arg("1000").env("LD_PRELOAD", preload));
    let now = stayd.restart_with_version("4");
    for (fingerprint, squatter) in [(&standing, &stands), (&running, &runs), (&mapped, &maps)] {
        assert_eq!(
            stayd.kept_because(fingerprint),
            format!("in use by pid {}", squatter.0.id())
        );
    }
    assert_eq!(
        stayd.kept_because(&now),
        "the last life of web began with it"
    );
    drop((stands, runs, maps));
    let freed = stayd.client(&["runtime", "gc"]);
    assert_eq!(freed.code, Some(0), "{freed:?}");
    assert!(
        freed.out.starts_with("freed ") && freed.out.contains(": 3 runtimes\n"),
        "{freed:?}"
    );
    let left: Vec<_> = [&standing, &running, &mapped, &now]
        .into_iter()
        .filter(|one| stayd.listed(one).is_some())
        .collect();
    assert_eq!(left, [&now]);
}

/// Some library that is mapped here, and so can be anywhere.
fn mapped_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("our maps");
    let mut files = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let found = files.find(|file| file.contains("libgcc_s.so"));
    found.expect("libgcc_s is mapped").into()
}

#[test]
fn gc_keeps_what_an_adopted_and_a_forgotten_process_runs_from() {
    let stayd = Stayd::with_runtime();
    let adopted = stayd.fingerprint();
    let stayd = stayd.kill_and_restart();
    let web = stayd.wait_state("web", "running");
    assert_eq!(web["ownership"], "adopted");
    assert_eq!(
        stayd.kept_because(&adopted),
        "the last life of web began with it"
    );
    // not configured any more: only the process that still runs keeps it
    stayd.rewrite(OTHER);
    let stayd = stayd.kill_and_restart();
    stayd.wait_state("other", "running");
    assert_eq!(
        stayd.kept_because(&adopted),
        "the last life of web began with it"
    );
    let pid = i32::try_from(web["pid"].as_i64().expect("a pid")).expect("a pid");
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("ended");
    wait_until("it is freed once its process is gone", SOON, || {
        let (_, told) = stayd.runtime_json(&["gc"]);
        told["freed"]
            .as_array()
            .is_some_and(|freed| freed.len() == 1)
    });
    assert!(!stayd.root(&adopted).exists());
}

/// A process in a container has other names for what it uses.
#[test]
#[ignore = "needs root"]
fn gc_knows_who_uses_a_copy_under_another_name() {
    require_root();
    let stayd = Stayd::with_runtime();
    let copy = stayd.fingerprint();
    let place = stayd.dir().join("elsewhere");
    fs::create_dir(&place).expect("a folder");
    let enter = "mount --bind \"$1\" \"$2\" && cd \"$2\" && touch ../stands && exec sleep 1000";
    let stands = Squatter::new(
        Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                enter,
                "sh",
            ])
            .arg(stayd.root(&copy))
            .arg(&place),
    );
    let flag = stayd.dir().join("stands");
    wait_until("it stands there", SOON, || flag.exists());
    stayd.restart_with_version("2");
    stayd.restart_with_version("3");
    stayd.restart_with_version("4");
    assert_eq!(
        stayd.kept_because(&copy),
        format!("in use by pid {}", stands.0.id())
    );
    drop(stands);
}
