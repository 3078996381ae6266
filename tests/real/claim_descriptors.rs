//! What a descriptor of the claim file proves: a process that has inherited it belongs to the instance, and one that has
//! opened it, or to which it was passed, does not.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, service};
use super::support::{PYTHON, require_root, tool, wait_for, wait_until};
use stayd::sys::process;
use std::fs::{self, File, Permissions};
use std::io::BufReader;
use std::io::prelude::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Child, Command, Stdio};

/// The user that the services run as.
const NOBODY: u32 = 65_534;
/// What the processes print when they have the descriptor.
const READY: &str = "ready\n";

/// A process that stayd must leave alone. Killed and reaped when dropped.
struct ForeignProcess(Child);

impl ForeignProcess {
    /// Starts `command` and waits until it has printed [`READY`].
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, READY);
        Self(child)
    }

    /// A Python program of stayd's user, in a session of its own.
    fn python(program: &str) -> Self {
        Self::start(tool("setsid").args(["python3", "-c", program]))
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("wait").is_none()
    }
}

impl Drop for ForeignProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens the file at `path` for reading as descriptor `number`.
fn opener(path: &str, number: i32) -> String {
    format!(
        "import os, sys, time\n\
         fd = os.open('{path}', os.O_RDONLY | os.O_NONBLOCK)\n\
         os.write(1, b'ready\\n')\n\
         os.dup2(fd, {number})\n\
         time.sleep(1000000)\n"
    )
}

/// The number of the claim fd of `main`.
fn claim_fd(main: i32) -> i32 {
    // The environment is empty for a moment during execve.
    let number = wait_for("it has a claim fd", SOON, || {
        process::environment_value(main, "STAYD_CLAIM_FD").expect("its environment")
    });
    number.parse().expect("a number")
}

/// An adopted service `s` and its main process.
fn adopted(config: &str) -> (Stayd, i32) {
    let first = Stayd::start(config);
    let main = pid(&first.wait_state("s", "running"));
    let second = first.kill_and_restart();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (main, &"adopted".into())
    );
    (second, main)
}

/// Stops `s` and asserts that `foreign` survives it.
fn stop_beside(daemon: &Stayd, main: i32, mut foreign: ForeignProcess) {
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(!is_alive(main));
    assert!(foreign.is_alive(), "it was killed");
}

/// The service links the log that a log shipper of root reads to its own claim fd.
#[test]
#[ignore = "needs root"]
fn a_process_of_another_user_that_was_led_to_open_the_claim_file_is_left_alone() {
    require_root();
    let (daemon, main) = adopted(&service("sleep", &format!("user = \"{NOBODY}\"")));
    let number = claim_fd(main);
    let log = daemon.dir().join("app.log");
    symlink(format!("/proc/{main}/fd/{number}"), &log).expect("a link");
    let shipper = ForeignProcess::python(&opener(&log.display().to_string(), number));
    stop_beside(&daemon, main, shipper);
}

/// The same with one user: a root service and a log shipper of root.
#[test]
fn a_process_of_the_same_user_that_has_opened_the_claim_file_is_left_alone() {
    let (daemon, main) = adopted(&service("sleep", ""));
    let number = claim_fd(main);
    let shipper = ForeignProcess::python(&opener(&format!("/proc/{main}/fd/{number}"), number));
    stop_beside(&daemon, main, shipper);
}

/// The service passes its descriptors (SCM_RIGHTS) to a process of another user, which keeps them under the same numbers.
#[test]
#[ignore = "needs root"]
fn a_process_of_another_user_to_which_the_claim_file_was_passed_is_left_alone() {
    require_root();
    let sender = "import os, socket, time\n\
                  s = socket.socket(socket.AF_UNIX)\n\
                  while s.connect_ex('DIR/descriptors'): time.sleep(0.02)\n\
                  socket.send_fds(s, [b'x'], [int(os.environ['STAYD_CLAIM_FD']), 1, 2])\n\
                  time.sleep(1000000)\n";
    let receiver = "import os, socket, sys, time\n\
                    s = socket.socket(socket.AF_UNIX)\n\
                    s.bind('DIR/descriptors'); os.chmod('DIR/descriptors', 0o777); s.listen()\n\
                    os.write(1, b'ready\\n')\n\
                    claim, out, err = socket.recv_fds(s.accept()[0], 1, 3)[1]\n\
                    out, err = os.dup2(out, 1), os.dup2(err, 2)\n\
                    os.dup2(claim, 3)\n\
                    time.sleep(1000000)\n";
    let command = serde_json::to_string(&[PYTHON, "-c", sender]).expect("JSON is TOML here");
    let config = format!(
        "[service.s]\ncommand = {command}\nuser = \"{NOBODY}\"\nstop = {{ grace = \"300ms\" }}\n[service.s.log]\nto = \"file\"\n"
    );
    let (daemon, main) = adopted(&config);
    fs::set_permissions(daemon.dir(), Permissions::from_mode(0o755)).expect("its mode");
    let dir = daemon.dir().display().to_string();
    let receiver = ForeignProcess::python(&receiver.replace("DIR", &dir));
    let pid = i32::try_from(receiver.0.id()).expect("a pid");
    let own = fs::metadata(format!("/proc/{main}/fd/3")).expect("the claim fd");
    let file = process::InheritedFile {
        dev: own.dev(),
        ino: own.ino(),
        number: 3,
    };
    wait_until("the descriptors were passed", SOON, || {
        process::inherits(pid, &file).unwrap_or(false)
    });
    stop_beside(&daemon, main, receiver);
}

/// It has left the session, its parents have ended and it has overwritten its environment: only its descriptors are left.
#[test]
fn a_process_that_has_inherited_the_claim_file_belongs_to_an_adopted_instance() {
    let leaver = "import os, time\n\
                  if os.fork() == 0:\n\
                  \x20 os.setsid()\n\
                  \x20 if os.fork() == 0:\n\
                  \x20   open('DIR/pid.new', 'w').write(str(os.getpid()))\n\
                  \x20   os.rename('DIR/pid.new', 'DIR/pid')\n\
                  \x20   os.execve('/bin/sleep', ['sleep', '1000000'], {})\n\
                  \x20 os._exit(0)\n\
                  time.sleep(1000000)\n";
    let waiting =
        format!("import os, time\nwhile not os.path.exists('DIR/go'): time.sleep(0.02)\n{leaver}");
    let command = serde_json::to_string(&["python3", "-c", &waiting]).expect("JSON is TOML here");
    let config = format!(
        "[service.s]\ncommand = {command}\nstop = {{ grace = \"300ms\" }}\n[service.s.log]\nto = \"file\"\n"
    );
    let (daemon, main) = adopted(&config);
    File::create(daemon.dir().join("go")).expect("a file");
    let mut left = 0;
    wait_until("it has left", SOON, || {
        let text = fs::read_to_string(daemon.dir().join("pid"));
        left = text.ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let runs_sleep = || process::command_line(left).is_ok_and(|line| line.starts_with("sleep"));
        left != 0 && runs_sleep()
    });
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(!is_alive(main) && !is_alive(left));
}

/// The claim names it, and it has given up its user and overwritten its environment since.
#[test]
#[ignore = "needs root"]
fn a_main_process_that_has_dropped_its_privileges_is_adopted_by_its_claim_file() {
    require_root();
    let program = format!(
        "import os\n\
         os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n\
         os.execve('/bin/sleep', ['sleep', '1000000'], {{}})\n"
    );
    let command = serde_json::to_string(&["python3", "-c", &program]).expect("JSON is TOML here");
    let config = format!("[service.s]\ncommand = {command}\n[service.s.log]\nto = \"file\"\n");
    let first = Stayd::start(&config);
    let main = pid(&first.wait_state("s", "running"));
    wait_until("it has dropped its privileges", SOON, || {
        process::uid(main).is_ok_and(|uid| uid == NOBODY)
            && process::command_line(main).is_ok_and(|line| line.starts_with("sleep"))
    });
    let second = first.kill_and_restart();
    let found = second.wait_state("s", "running");
    assert_eq!(
        (pid(&found), &found["ownership"]),
        (main, &"adopted".into())
    );
}
