//! Programs that tests run, and a clear failure where the machine lacks what a test needs.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The system's own Python, for scripts that run as another user: the `python3` of PATH may lie in the home of root, which no
/// other user may search.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Fails the test with advice unless it runs as root. Such a test has `#[ignore = "needs root"]`.
#[track_caller]
pub(crate) fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs root: `make test` as root runs every test that has #[ignore = \"needs root\"]"
    );
}

/// A command for a program that `tests/support/setup.sh` installs; fails the test with advice where it is missing.
#[track_caller]
pub(crate) fn tool(name: &str) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let file = env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    let file = file.unwrap_or_else(|| {
        panic!("this test needs {name}, which is not installed: run tests/support/setup.sh as root")
    });
    Command::new(file)
}

/// The service that misbehaves on request (tests/support/test_service.rs), an example of this crate.
pub(crate) fn test_service() -> PathBuf {
    let exe = env::current_exe().expect("the test program");
    let target = exe.ancestors().nth(2).expect("target/PROFILE/deps/NAME");
    let program = target.join("examples/test_service");
    assert!(
        program.exists(),
        "this test needs {}: run `cargo build --example test_service`",
        program.display()
    );
    program
}

/// Absolute path of a program that every system has in /bin or /usr/bin.
pub(crate) fn program(name: &str) -> PathBuf {
    ["/bin", "/usr/bin"]
        .iter()
        .map(|dir| PathBuf::from(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no {name} in /bin or /usr/bin"))
}
