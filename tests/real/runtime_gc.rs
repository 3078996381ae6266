//! `stayd runtime gc` removes unused runtimes and none that a process uses.

use crate::support::daemon::{SOON, Stayd};
use crate::support::{program, require_root, wait_until};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A configuration without the service that has the runtime.
const WITHOUT_RUNTIME: &str = "name = 'x'\n[service.other]\ncommand = ['sleep', '1000']\n";

/// A process that belongs to no service and uses a runtime; killed when dropped.
pub(super) struct ForeignUser(pub(super) Child);

impl ForeignUser {
    pub(super) fn new(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("started"))
    }
}

impl Drop for ForeignUser {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("reaped");
    }
}

/// A foreign process uses a runtime by its working directory, its program or a mapped file.
#[test]
fn gc_keeps_a_runtime_that_a_foreign_process_uses() {
    let stayd = Stayd::with_runtime();
    let library = mapped_library();
    let entered = stayd.fingerprint();
    let in_folder = ForeignUser::new(
        Command::new("sleep")
            .arg("1000")
            .current_dir(stayd.root(&entered)),
    );
    fs::copy(program("sleep"), stayd.source().join("sleeper")).expect("a program");
    let executed = stayd.restart_with_version("2");
    let executing =
        ForeignUser::new(Command::new(stayd.root(&executed).join("sleeper")).arg("1000"));
    fs::copy(library, stayd.source().join("library.so")).expect("a library");
    let mapped = stayd.restart_with_version("3");
    let preload = stayd.root(&mapped).join("library.so");
    let mapping = ForeignUser::new(Command::new("sleep").arg("1000").env("LD_PRELOAD", preload));
    let current = stayd.restart_with_version("4");
    for (fingerprint, user) in [
        (&entered, &in_folder),
        (&executed, &executing),
        (&mapped, &mapping),
    ] {
        assert_eq!(
            stayd.kept_because(fingerprint),
            format!("in use by pid {}", user.0.id())
        );
    }
    assert_eq!(
        stayd.kept_because(&current),
        "the last instance of web was started from it"
    );
    drop((in_folder, executing, mapping));
    let freed = stayd.client(&["runtime", "gc"]);
    assert_eq!(freed.code, Some(0), "{freed:?}");
    assert!(
        freed.out.starts_with("freed ") && freed.out.contains(": 3 runtimes\n"),
        "{freed:?}"
    );
    let left: Vec<_> = [&entered, &executed, &mapped, &current]
        .into_iter()
        .filter(|one| stayd.listed(one).is_some())
        .collect();
    assert_eq!(left, [&current]);
}

/// A library that this process has mapped, so that any program of this machine can load it.
fn mapped_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("our maps");
    let mut files = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let found = files.find(|file| file.contains("libgcc_s.so"));
    found.expect("libgcc_s is mapped").into()
}

#[test]
fn gc_keeps_the_runtime_of_an_adopted_and_of_an_orphaned_service() {
    let stayd = Stayd::with_runtime();
    let adopted = stayd.fingerprint();
    let stayd = stayd.kill_and_restart();
    let web = stayd.wait_state("web", "running");
    assert_eq!(web["ownership"], "adopted");
    assert_eq!(
        stayd.kept_because(&adopted),
        "the last instance of web was started from it"
    );
    // The service is not configured any more: now only its running process keeps the runtime.
    stayd.rewrite(WITHOUT_RUNTIME);
    let stayd = stayd.kill_and_restart();
    stayd.wait_state("other", "running");
    assert_eq!(
        stayd.kept_because(&adopted),
        "the last instance of web was started from it"
    );
    let pid = i32::try_from(web["pid"].as_i64().expect("a pid")).expect("a pid");
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    wait_until(
        "gc frees the runtime once its process is gone",
        SOON,
        || {
            let (_, answer) = stayd.runtime_json(&["gc"]);
            answer["freed"]
                .as_array()
                .is_some_and(|freed| freed.len() == 1)
        },
    );
    assert!(!stayd.root(&adopted).exists());
}

/// In a container the runtime's files may have other paths than outside.
#[test]
#[ignore = "needs root"]
fn gc_keeps_a_runtime_that_a_process_uses_under_another_path() {
    require_root();
    let stayd = Stayd::with_runtime();
    let copy = stayd.fingerprint();
    let mount_point = stayd.dir().join("mounted");
    fs::create_dir(&mount_point).expect("a folder");
    let enter = "mount --bind \"$1\" \"$2\" && cd \"$2\" && touch ../entered && exec sleep 1000";
    let in_folder = ForeignUser::new(
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
            .arg(&mount_point),
    );
    let flag = stayd.dir().join("entered");
    wait_until("the process has entered the bind mount", SOON, || {
        flag.exists()
    });
    stayd.restart_with_version("2");
    stayd.restart_with_version("3");
    stayd.restart_with_version("4");
    assert_eq!(
        stayd.kept_because(&copy),
        format!("in use by pid {}", in_folder.0.id())
    );
    drop(in_folder);
}
