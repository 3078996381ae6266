//! A real stayd in the foreground, with a folder of its own, ended with its whole tree when dropped.

use super::wait::{TempDir, wait_for, wait_until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// What takes a moment; generous, because tests share a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// An ordered stop with its grace.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Where a debug build is to die.
const DIE_AT: &str = "STAYD_DIE_AT";

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

    /// The same, after `change` has had its way with the command.
    pub(crate) fn start_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let dir = TempDir::new();
        Self::in_dir(dir, config, change).when_open()
    }

    /// The same, from a copy of the program in the test's folder: [`Stayd::program`].
    pub(crate) fn start_copied(config: &str) -> Self {
        let mut stayd = Self::start_copied_with(config, |_| {});
        stayd = stayd.when_open();
        stayd
    }

    /// The same, after `change` has had its way with the command; not waiting until it can be asked.
    pub(crate) fn start_copied_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        Self::in_dir(TempDir::new(), config, |command| {
            let folder = command.get_current_dir().expect("its folder").to_owned();
            let said = fs::File::create(folder.join("said")).expect("a file");
            let program = folder.join("stayd");
            copy_program(Path::new(binary()), &program);
            let mut copied = Command::new(program);
            copied
                .args(command.get_args())
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(said.try_clone().expect("a file"))
                .stderr(said);
            scrub(&mut copied);
            hear_hangups(&mut copied);
            *command = copied;
            change(command);
        })
    }

    /// Puts another file in its place, as a package manager does: in one step.
    pub(crate) fn put_program(&self, from: &Path) {
        let next = self.dir.join("next");
        copy_program(from, &next);
        fs::rename(next, self.program()).expect("replaced");
    }

    /// Where [`Stayd::start_copied`] has put the program.
    pub(crate) fn program(&self) -> PathBuf {
        self.dir.join("stayd")
    }

    /// The same, taking itself for one that systemd has started.
    pub(crate) fn start_supervised(config: &str) -> Self {
        Self::start_with(config, |command| {
            let folder = command.get_current_dir().expect("its folder").to_owned();
            let said = fs::File::create(folder.join("said")).expect("a file");
            let mut wrapped = Command::new("sh");
            wrapped
                .args(["-c", "exec env SYSTEMD_EXEC_PID=$$ \"$@\"", "sh"])
                .arg(command.get_program())
                .args(command.get_args())
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(said.try_clone().expect("a file"))
                .stderr(said);
            scrub(&mut wrapped);
            hear_hangups(&mut wrapped);
            *command = wrapped;
        })
    }

    /// Waits until it can be asked.
    pub(crate) fn when_open(mut self) -> Self {
        let socket = self.state_dir().join("control.sock");
        wait_until("the control socket is there", SOON, || {
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "stayd ended: {ended:?}\n{}", self.said());
            socket.exists()
        });
        self
    }

    fn in_dir(dir: TempDir, config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let root = dir.path().display().to_string();
        let file = dir.join("stayd.toml");
        fs::write(&file, config.replace("DIR", &root)).expect("the configuration");
        let said = fs::File::create(dir.join("said")).expect("a file");
        let mut command = Command::new(binary());
        command
            .args(["--foreground", "-c"])
            .arg(&file)
            .arg("--state-dir")
            .arg(dir.join("state"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a file"))
            .stderr(said);
        scrub(&mut command);
        hear_hangups(&mut command);
        change(&mut command);
        let child = command.spawn().expect("stayd");
        Self { dir, child }
    }

    /// Killed at once, as by a crash, and followed by another one on the same folder.
    pub(crate) fn killed_and_again(mut self) -> Self {
        self.signal(libc::SIGKILL);
        self.wait();
        self.again()
    }

    /// Not waiting until it is there.
    pub(crate) fn start_at_once(config: &str) -> Self {
        Self::in_dir(TempDir::new(), config, |_| {})
    }

    /// The same, with a stayd that dies at the named step (`stayd::act::failpoint`).
    pub(crate) fn start_to_die_at(config: &str, step: &str) -> Self {
        Self::in_dir(TempDir::new(), config, |command| {
            command.env(DIE_AT, step);
        })
    }

    /// Killed at once, and followed by one that dies at the named step.
    pub(crate) fn killed_and_again_to_die_at(mut self, step: &str) -> Self {
        self.signal(libc::SIGKILL);
        self.wait();
        self.next_with(|command| {
            command.env(DIE_AT, step);
        })
    }

    /// The same as `killed_and_again`, not waiting until it is there.
    pub(crate) fn killed_and_again_at_once(mut self) -> Self {
        self.signal(libc::SIGKILL);
        self.wait();
        self.next()
    }

    /// The next one on this folder reads `config` instead.
    pub(crate) fn rewrite(&self, config: &str) {
        let root = self.dir.path().display().to_string();
        fs::write(self.dir.join("stayd.toml"), config.replace("DIR", &root)).expect("the file");
    }

    /// Another stayd on the folder of this one, which has ended.
    pub(crate) fn again(self) -> Self {
        self.next().when_open()
    }

    /// The same; `change` has its way with the folder while the next one has a number already and has not begun.
    pub(crate) fn again_after(self, change: impl FnOnce(&Self)) -> Self {
        let next = self.next_with(|command| {
            let mut held = Command::new("sh");
            held.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
                .arg(command.get_program())
                .args(command.get_args())
                .current_dir(command.get_current_dir().expect("its folder"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            scrub(&mut held);
            *command = held;
        });
        wait_until("it is held", SOON, || {
            stayd::sys::process::stat(next.pid())
                .is_ok_and(|stat| stat.state == stayd::sys::process::State::Stopped)
        });
        change(&next);
        next.signal(libc::SIGCONT);
        next.when_open()
    }

    fn next(self) -> Self {
        self.next_with(|_| {})
    }

    fn next_with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        assert!(
            self.child.try_wait().expect("wait").is_some(),
            "one at a time"
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

    /// STATE
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What it said on stdout and stderr.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.join("said")).unwrap_or_default()
    }

    /// Runs another stayd as a client of this one.
    pub(crate) fn client(&self, words: &[&str]) -> Answer {
        let mut command = Command::new(binary());
        command
            .args(words)
            .arg("--state-dir")
            .arg(self.state_dir())
            .current_dir(self.dir.path());
        scrub(&mut command);
        let output = command.output().expect("a client");
        Answer {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// One service as `status --json` shows it.
    pub(crate) fn service(&self, name: &str) -> Value {
        let answer = self.client(&["status", "--json"]);
        let status: Value = serde_json::from_str(&answer.out)
            .unwrap_or_else(|error| panic!("{error}: {answer:?}\n{}", self.said()));
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

    /// Waits until the service is as `fits` wants it, and returns it.
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
        found.unwrap_or_else(|_| panic!("{name} not {what}: {last:#}\n{}", self.said()))
    }

    /// The journal, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        let answer = self.client(&["events", "--json"]);
        let events: Value = serde_json::from_str(&answer.out)
            .unwrap_or_else(|error| panic!("{error}: {answer:?}\n{}", self.said()));
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

    /// Ends it in order and says how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
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
    fn drop(&mut self) {
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
}

/// By a process of its own: a program that was being written while this one forked could not be executed (ETXTBSY).
fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

/// What a client said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_stayd")
}

/// Nothing of the tests' own surroundings may decide.
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

/// Whoever runs the tests behind nohup has SIGHUP ignored, and so would stayd.
fn hear_hangups(command: &mut Command) {
    use nix::sys::signal::{SigHandler, Signal, signal};
    use std::os::unix::process::CommandExt as _;
    // SAFETY: sigaction(2) is async-signal-safe, and nothing of ours is left behind as a handler.
    #[expect(unsafe_code, reason = "the child's own disposition, before exec")]
    unsafe {
        command.pre_exec(|| {
            signal(Signal::SIGHUP, SigHandler::SigDfl)?;
            Ok(())
        });
    }
}

/// Whether a process with this number exists and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    use stayd::sys::process::{State, stat};
    stat(pid).is_ok_and(|stat| stat.state != State::Zombie)
}
