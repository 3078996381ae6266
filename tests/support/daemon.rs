//! A real stayd in the foreground with a folder of its own; dropping it stops it and all its services.

use super::wait::{TempDir, wait_for, wait_until};
use serde_json::Value;
use stayd::config::{self, paths::Paths};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

pub(crate) use super::wait::SOON;

/// Deadline for an ordered stop, the grace included.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// File in the folder that takes stdout and stderr.
const OUTPUT: &str = "output";
/// Names the failpoint at which a debug build dies.
const DIE_AT: &str = "STAYD_DIE_AT";

/// Any user that is neither root nor the tests' own.
const ANOTHER_UID: u32 = 65_534;

/// A running stayd.
#[derive(Debug)]
pub(crate) struct Stayd {
    dir: TempDir,
    child: Child,
}

impl Stayd {
    /// Starts stayd on this configuration; `DIR` in it becomes the test's folder.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, |_| {})
    }

    /// The same; `change` may change the command first.
    pub(crate) fn start_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let dir = TempDir::new();
        Self::in_dir(dir, config, change).wait_until_open()
    }

    /// The same, as an ordinary user; needs root.
    pub(crate) fn start_as_another_user(config: &str) -> Self {
        Self::start_with(config, run_as_another_user)
    }

    /// The same, after `change` of the command.
    pub(crate) fn start_as_another_user_with(
        config: &str,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start_with(config, |command| {
            run_as_another_user(command);
            change(command);
        })
    }

    /// The same, from a copy of the program in the test's folder: [`Stayd::program`].
    pub(crate) fn start_copied(config: &str) -> Self {
        Self::start_copied_with(config, |_| {}).wait_until_open()
    }

    /// The same; `change` may change the command first. Does not wait until the control socket is there.
    pub(crate) fn start_copied_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        Self::in_dir(TempDir::new(), config, |command| {
            let folder = command.get_current_dir().expect("its folder").to_owned();
            let output = output_file(&folder);
            let program = folder.join("stayd");
            copy_program(Path::new(binary()), &program);
            let mut copied = Command::new(program);
            copied
                .args(command.get_args())
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a file"))
                .stderr(output);
            scrub(&mut copied);
            reset_sighup(&mut copied);
            *command = copied;
            change(command);
        })
    }

    /// Replaces the program by a copy of `from` in one step, as a package manager does.
    pub(crate) fn put_program(&self, from: &Path) {
        let next = self.dir.join("next");
        copy_program(from, &next);
        fs::rename(next, self.program()).expect("replaced");
    }

    /// The copy of the program that [`Stayd::start_copied`] runs.
    pub(crate) fn program(&self) -> PathBuf {
        self.dir.join("stayd")
    }

    /// The same, with the environment by which stayd recognizes systemd as its parent supervisor.
    pub(crate) fn start_supervised(config: &str) -> Self {
        Self::start_with(config, |command| {
            let folder = command.get_current_dir().expect("its folder").to_owned();
            let output = output_file(&folder);
            let mut wrapped = Command::new("sh");
            wrapped
                .args(["-c", "exec env SYSTEMD_EXEC_PID=$$ \"$@\"", "sh"])
                .arg(command.get_program())
                .args(command.get_args())
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a file"))
                .stderr(output);
            scrub(&mut wrapped);
            reset_sighup(&mut wrapped);
            *command = wrapped;
        })
    }

    /// Waits until its control socket is there.
    pub(crate) fn wait_until_open(mut self) -> Self {
        let socket = self.state_dir().join("control.sock");
        wait_until("the control socket is there", SOON, || {
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "stayd ended: {ended:?}\n{}", self.output());
            socket.exists()
        });
        self
    }

    fn in_dir(dir: TempDir, config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let root = dir.path().display().to_string();
        let file = dir.join("stayd.toml");
        fs::write(&file, config.replace("DIR", &root)).expect("the configuration");
        let output = output_file(dir.path());
        let mut command = Command::new(binary());
        command
            .args(["--foreground", "-c"])
            .arg(&file)
            .arg("--state-dir")
            .arg(dir.join("state"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output);
        scrub(&mut command);
        reset_sighup(&mut command);
        change(&mut command);
        let child = command.spawn().expect("stayd");
        Self { dir, child }
    }

    /// Kills it, as a crash would, and starts the next one on the same folder.
    pub(crate) fn kill_and_restart(self) -> Self {
        self.kill_and_restart_at_once().wait_until_open()
    }

    /// The same, without waiting for the next one's control socket.
    pub(crate) fn kill_and_restart_at_once(mut self) -> Self {
        self.kill();
        self.next_with(|_| {})
    }

    /// The same; the next one dies at the named failpoint.
    pub(crate) fn kill_and_restart_with_failpoint(mut self, failpoint: &str) -> Self {
        self.kill();
        self.next_with(|command| {
            command.env(DIE_AT, failpoint);
        })
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Starts one without waiting for its control socket.
    pub(crate) fn start_at_once(config: &str) -> Self {
        Self::start_at_once_with(config, |_| {})
    }

    /// The same; `change` may change the command first.
    pub(crate) fn start_at_once_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        Self::in_dir(TempDir::new(), config, change)
    }

    /// The same; it dies at the named failpoint (`stayd::act::failpoint`).
    pub(crate) fn start_with_failpoint(config: &str, failpoint: &str) -> Self {
        Self::in_dir(TempDir::new(), config, |command| {
            command.env(DIE_AT, failpoint);
        })
    }

    /// Replaces the configuration; the running stayd has read the old one.
    pub(crate) fn rewrite(&self, config: &str) {
        let root = self.dir.path().display().to_string();
        fs::write(self.dir.join("stayd.toml"), config.replace("DIR", &root)).expect("the file");
    }

    /// Starts another stayd on the folder of this one, which has ended.
    pub(crate) fn restart(self) -> Self {
        self.next_with(|_| {}).wait_until_open()
    }

    /// The same; `change` may change the folder while the next one has a pid and has not begun to run.
    pub(crate) fn restart_after(self, change: impl FnOnce(&Self)) -> Self {
        let next = self.next_with(|command| {
            let mut stopped = Command::new("sh");
            stopped
                .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
                .arg(command.get_program())
                .args(command.get_args())
                .current_dir(command.get_current_dir().expect("its folder"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            scrub(&mut stopped);
            *command = stopped;
        });
        wait_until("the next one is stopped", SOON, || {
            stayd::sys::process::stat(next.pid())
                .is_ok_and(|stat| stat.state == stayd::sys::process::State::Stopped)
        });
        change(&next);
        next.signal(libc::SIGCONT);
        next.wait_until_open()
    }

    /// Starts another stayd on the folder of this one, which has ended; `change` may change the command first. Does not wait
    /// until its control socket is there.
    pub(crate) fn next_with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        assert!(
            self.child.try_wait().expect("wait").is_some(),
            "this one still runs"
        );
        let dir = std::mem::replace(&mut self.dir, TempDir::new());
        let config = fs::read_to_string(dir.join("stayd.toml")).expect("the configuration");
        let _ = fs::remove_file(dir.join("state/control.sock"));
        Self::in_dir(dir, &config, change)
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its state folder.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What it has written to stdout and stderr.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.dir.join(OUTPUT)).unwrap_or_default()
    }

    /// Runs a stayd command as a client of this one.
    pub(crate) fn client(&self, words: &[&str]) -> ClientOutput {
        let mut command = Command::new(binary());
        command
            .args(words)
            .arg("--state-dir")
            .arg(self.state_dir())
            .current_dir(self.dir.path());
        scrub(&mut command);
        let output = command.output().expect("a client");
        ClientOutput {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// One service as `status --json` shows it.
    pub(crate) fn service(&self, name: &str) -> Value {
        let answer = self.client(&["status", "--json"]);
        let status: Value = serde_json::from_str(&answer.out)
            .unwrap_or_else(|error| panic!("{error}: {answer:?}\n{}", self.output()));
        let services = status["services"].as_array().expect("services");
        services
            .iter()
            .find(|service| service["name"] == name)
            .expect("the service")
            .clone()
    }

    /// Waits until the service is in this state, and returns it.
    #[track_caller]
    pub(crate) fn wait_state(&self, name: &str, state: &str) -> Value {
        self.wait_service(name, state, |service| service["state"] == state)
    }

    /// Waits until `fits` accepts the service, and returns it.
    #[track_caller]
    pub(crate) fn wait_service(
        &self,
        name: &str,
        what: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(&format!("{name} {what}"), SOON, || {
                last = self.service(name);
                fits(&last).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("{name} not {what}: {last:#}\n{}", self.output()))
    }

    /// The journal, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        let answer = self.client(&["events", "--json"]);
        let events: Value = serde_json::from_str(&answer.out)
            .unwrap_or_else(|error| panic!("{error}: {answer:?}\n{}", self.output()));
        let list = events.get("events").unwrap_or(&events);
        list.as_array().expect("a list").clone()
    }

    /// How many records of this kind there are.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.events()
            .iter()
            .filter(|event| event["kind"] == kind)
            .count()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        let signal = nix::sys::signal::Signal::try_from(signal).expect("a signal");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("kill");
    }

    /// Stops it in order and returns its exit status.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Waits for its end and returns its exit status.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("stayd ends", STOP_WITHIN, || {
            ended = self.child.try_wait().expect("wait");
            ended.is_some()
        });
        ended.expect("ended")
    }
}

impl Drop for Stayd {
    #[expect(
        clippy::print_stderr,
        reason = "the harness prints it where the test fails"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of its stayd:\n{}", self.output());
        }
        self.end();
        self.remove_runtime_folder();
    }
}

impl Stayd {
    fn end(&mut self) {
        if self.child.try_wait().ok().flatten().is_some() {
            return;
        }
        self.signal(libc::SIGTERM);
        self.signal(libc::SIGCONT);
        for _ in 0..1500 {
            if self.child.try_wait().ok().flatten().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Removes its runtime folder, which a stayd that was killed leaves behind. If the configuration names the instance, another
    /// one may have the same name, so that only an empty folder goes.
    fn remove_runtime_folder(&self) {
        let config = self.dir.join("stayd.toml");
        let name = config::peek_name(&config);
        let folder = Paths::here(&|variable| std::env::var(variable).ok()).runtime_dir(&name);
        let _ = if name == config::default_name(&config) {
            fs::remove_dir_all(folder)
        } else {
            fs::remove_dir(folder)
        };
    }
}

/// Runs a copy of the program: another user may not enter the folder of the original.
fn run_as_another_user(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    let folder = command.get_current_dir().expect("its folder").to_owned();
    let program = folder.join("stayd");
    copy_program(Path::new(binary()), &program);
    std::os::unix::fs::chown(&folder, Some(ANOTHER_UID), None).expect("chown");
    let output = output_file(&folder);
    let mut other = Command::new(program);
    other
        .args(command.get_args())
        .current_dir(&folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file"))
        .stderr(output)
        .uid(ANOTHER_UID)
        .gid(ANOTHER_UID);
    *command = other;
}

/// Copies with cp(1): a child that this process forks meanwhile would inherit a file that is open for writing, and exec
/// would fail with ETXTBSY.
fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

/// What a client command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct ClientOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_stayd")
}

fn output_file(folder: &Path) -> fs::File {
    fs::File::create(folder.join(OUTPUT)).expect("a file")
}

/// Removes variables of the tests' own surroundings that change what stayd does.
fn scrub(command: &mut Command) {
    for name in [
        "NOTIFY_SOCKET",
        "STAYD_CONFIG",
        "STATE_DIRECTORY",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
    ] {
        command.env_remove(name);
    }
}

/// Under nohup(1) the tests ignore SIGHUP, and stayd would inherit that.
fn reset_sighup(command: &mut Command) {
    use nix::sys::signal::{SigHandler, Signal, signal};
    use std::os::unix::process::CommandExt as _;
    // SAFETY: sigaction(2) is async-signal-safe, and SIG_DFL leaves no handler behind.
    #[expect(unsafe_code, reason = "the child's own disposition, before exec")]
    unsafe {
        command.pre_exec(|| {
            signal(Signal::SIGHUP, SigHandler::SigDfl)?;
            Ok(())
        });
    }
}

/// Whether a process with this pid exists and is not a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    use stayd::sys::process::{State, stat};
    stat(pid).is_ok_and(|stat| stat.state != State::Zombie)
}
