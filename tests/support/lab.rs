//! Tests that need a process of their own, because reaper, subreaper, limits and signal handlers are process-wide.

use std::any::type_name_of_val;
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Set in the process that runs one test alone.
const ALONE: &str = "STAYD_TEST_ALONE";

/// Runs `body`, the calling test's own body, in a process where nothing else runs.
#[track_caller]
pub(crate) fn alone<F: FnOnce()>(body: F) {
    let exe = env::current_exe().expect("the test program");
    run_in(Command::new(exe), body);
}

/// The same as the first process of a new pid namespace (pid 1), with a /proc of its own.
#[track_caller]
pub(crate) fn alone_as_first_process<F: FnOnce()>(body: F) {
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ]);
    command.arg(env::current_exe().expect("the test program"));
    run_in(command, body);
}

/// The same for root, with the machine's own users: however the test ends, nothing that it has started outlives it, for
/// the namespace ends with its first process, and that with us.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn alone_in_a_namespace_of_processes<F: FnOnce()>(body: F) {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(env::current_exe().expect("the test program"));
    run_in(command, body);
}

/// The program ends when the thread that started it does, which waits for it.
#[cfg(target_os = "linux")]
fn tie_to_us(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: prctl(2) is async-signal-safe, and about the child itself.
    #[expect(unsafe_code, reason = "the child asks for it before exec")]
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL)?));
    }
}

#[cfg(not(target_os = "linux"))]
fn tie_to_us(_: &mut Command) {}

#[track_caller]
fn run_in<F: FnOnce()>(mut command: Command, body: F) {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    tie_to_us(&mut command);
    let output = command
        .args([&test_name(&body), "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("cannot run the test in a process of its own");
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A closure's type is named after the function it is written in: `real::tree::item_38::{{closure}}`.
fn test_name<F>(body: &F) -> String {
    let name = type_name_of_val(body).trim_end_matches("::{{closure}}");
    let (_crate, path) = name.split_once("::").expect("a path in a crate");
    path.to_owned()
}

/// Our badly behaved service (tests/support/victim.rs).
pub(crate) fn victim() -> PathBuf {
    let exe = env::current_exe().expect("the test program");
    let target = exe.ancestors().nth(2).expect("target/PROFILE/deps/NAME");
    target.join("examples/victim")
}

/// Absolute path of a program that every system has in /bin or /usr/bin.
pub(crate) fn program(name: &str) -> PathBuf {
    ["/bin", "/usr/bin"]
        .iter()
        .map(|dir| PathBuf::from(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no {name}"))
}
