//! Runs a test's body in a process of its own, for tests that change state of the whole process.
//!
//! The child reaper, the subreaper flag, resource limits and signal handlers belong to the process, so a test that
//! changes them cannot share its process with other tests. The test program therefore runs itself again with the name of
//! the calling test; in that second process the same call runs the body.

use super::wait::TempDir;
use std::any::type_name_of_val;
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;
use std::thread;

/// Set in the second process: the file to which the body's end is reported.
const REPORT: &str = "STAYD_TEST_ALONE";
/// libtest runs tests on the main thread, which has this name, under `--test-threads=1`.
const MAIN_THREAD: &str = "main";

/// Runs `body` in a process in which no other test runs, and fails the calling test unless the body ran there exactly
/// once and the test passed.
///
/// A test calls this once, and does everything that matters in `body`. Under `--test-threads=1` the closure must stand
/// in the test function itself: the name of the test is then known from the closure's type alone.
#[track_caller]
pub(crate) fn alone<F: FnOnce()>(body: F) {
    run_in(this_program(), body);
}

/// The same as pid 1 of a new pid namespace, with a /proc of its own, as root of a new user namespace. Linux only.
#[track_caller]
pub(crate) fn alone_as_pid_1<F: FnOnce()>(body: F) {
    run_in(under_unshare(&["--map-root-user"]), body);
}

/// The same as [`alone_as_pid_1`], but with the machine's own users; needs root.
///
/// Nothing that the test starts outlives it, however it ends: the namespace ends with its pid 1, and pid 1 ends with the
/// calling thread.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn alone_in_pid_namespace<F: FnOnce()>(body: F) {
    super::require_root();
    run_in(under_unshare(&[]), body);
}

/// The same in a network of its own, as root of a new user namespace: only the loopback interface, which is up. Linux only.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn alone_in_network<F: FnOnce()>(body: F) {
    let mut command = super::tool("unshare");
    command
        .args(["--map-root-user", "--net", "--"])
        .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(this_program().get_program());
    run_in(command, body);
}

fn this_program() -> Command {
    Command::new(env::current_exe().expect("the test program"))
}

fn under_unshare(options: &[&str]) -> Command {
    let mut command = super::tool("unshare");
    command
        .args(options)
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(this_program().get_program());
    command
}

#[track_caller]
fn run_in<F: FnOnce()>(command: Command, body: F) {
    if let Some(report) = env::var_os(REPORT) {
        // opened first: the body may give up the rights to do so
        let report = File::options().append(true).open(report);
        let mut report = report.expect("the report of the first process");
        body();
        report.write_all(b"done\n").expect("reported");
        return;
    }
    let name = test_name(&body);
    run_test(command, &name).unwrap_or_else(|problem| panic!("{problem}"));
}

/// Runs the test `name` with `command`, the test program or a wrapper around it. The error says what went wrong, with
/// everything that the second process printed.
pub(crate) fn run_test_alone(name: &str) -> Result<(), String> {
    run_test(this_program(), name)
}

fn run_test(mut command: Command, name: &str) -> Result<(), String> {
    let folder = TempDir::new();
    let report = folder.join("report");
    fs::write(&report, "").expect("a report");
    end_with_this_thread(&mut command);
    let output = command
        .args([name, "--exact", "--include-ignored", "--nocapture"])
        .env(REPORT, &report)
        .output()
        .map_err(|error| format!("cannot run {name} in a process of its own: {error}"))?;
    let bodies = fs::read_to_string(&report).expect("a report");
    let bodies = bodies.lines().count();
    if output.status.success() && bodies == 1 {
        return Ok(());
    }
    Err(format!(
        "{name} in a process of its own: {}; the test's body ran to its end {bodies} times, expected once\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// libtest names the thread after the test. On the main thread the closure's type tells the function that it is written
/// in: `real::tree::a_setsid_child_is_killed::{{closure}}`.
fn test_name<F>(body: &F) -> String {
    match thread::current().name() {
        Some(name) if name != MAIN_THREAD => name.to_owned(),
        Some(_) | None => {
            let name = type_name_of_val(body).trim_end_matches("::{{closure}}");
            let (_crate, path) = name.split_once("::").expect("a path in a crate");
            path.to_owned()
        }
    }
}

/// The kernel kills the program when the thread that started it ends; that thread waits for the program.
#[cfg(target_os = "linux")]
fn end_with_this_thread(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: prctl(2) is async-signal-safe, and concerns only the child itself.
    #[expect(unsafe_code, reason = "the child sets its death signal before exec")]
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL)?));
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_this_thread(_: &mut Command) {}
