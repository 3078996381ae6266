//! Child processes started with `sys::spawn`, as stayd starts an instance.

use super::{SOON, TempDir, wait_for};
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::{Child, Plan};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A plan that runs `program` with its output in `output`.
pub(crate) fn plan(program: &Path, words: &[&str], output: &Path) -> Plan {
    let text = |text: &[u8]| CString::new(text).expect("no NUL");
    let path = text(program.as_os_str().as_bytes());
    let output = || {
        let file = File::options().append(true).create(true).open(output);
        OwnedFd::from(file.expect("output"))
    };
    let words = words.iter().map(|word| text(word.as_bytes()));
    Plan {
        program: vec![path.clone()],
        argv: std::iter::once(path).chain(words).collect(),
        env: vec![text(b"PATH=/usr/bin:/bin")],
        pid_variables: Vec::new(),
        cwd: text(b"/"),
        fds: vec![
            (0, File::open("/dev/null").expect("null").into()),
            (1, output()),
            (2, output()),
        ],
        user: None,
        umask: None,
        open_files: None,
        cgroup: None,
    }
}

/// Waits for the exit of `child`. Reaps every other child that ends meanwhile, and drops its status.
pub(crate) fn wait_for_exit(child: Child) -> Status {
    let pid = child.process.pid;
    drop(child);
    let reaped = wait_for("the child's exit", SOON, || {
        reaper::reap_exited(64)
            .into_iter()
            .find(|reaped| reaped.pid == pid)
    });
    reaped.status
}

/// Runs a shell script with `sys::spawn`, after `change` has changed the plan, and returns what it prints.
pub(crate) fn output_of(script: &str, change: impl FnOnce(&mut Plan)) -> String {
    let dir = TempDir::new();
    let file = dir.join("out");
    let mut plan = plan(&super::program("sh"), &["-c", script], &file);
    change(&mut plan);
    let child = stayd::sys::spawn::spawn(plan).expect("spawned");
    assert_eq!(wait_for_exit(child), Status::Code(0));
    std::fs::read_to_string(file).expect("its output")
}
