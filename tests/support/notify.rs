//! Programs that send to the notify socket of a service from outside its process tree.

use super::daemon::Stayd;
use super::{PYTHON, SOON, tool, wait_for};
use stayd::sys::process;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Begins each script: `s` is a socket and `to` the path of the notify socket. `fds(TEXT, NUMBERS)` sends descriptors too.
const PRELUDE: &str = "\
import array, os, socket, struct, sys
to = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def fds(text, numbers):
    s.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', numbers))], 0, to)
";

/// Sends without a pause and without waiting for room, and prints a line when the queue is full for the first time.
const FLOOD: &str = "\
s.setblocking(False)
full = False
while True:
    try:
        s.sendto(b'X=1', to)
    except BlockingIOError:
        if not full:
            print('full', flush=True)
            full = True
";

/// The same from one new process after another; prints a line after a hundred.
const FORKING_FLOOD: &str = "\
count = 0
while True:
    child = os.fork()
    if child == 0:
        s.sendto(b'X=1', to)
        os._exit(0)
    os.waitpid(child, 0)
    count += 1
    if count == 100: print('begun', flush=True)
";

/// The path of the notify socket of the process `pid`, whose environment is empty for a moment during its execve.
pub(crate) fn notify_socket(pid: i32) -> PathBuf {
    let path = wait_for("it has a notify socket", SOON, || {
        process::environment_value(pid, "NOTIFY_SOCKET").expect("its environment")
    });
    path.into()
}

/// A command for a Python `script` with a prelude that talks to `socket`, as `user`, or as this one.
pub(crate) fn sender(user: Option<&str>, socket: &Path, script: &str) -> Command {
    let mut command = match user {
        None => Command::new(PYTHON),
        Some(user) => {
            let mut command = tool("setpriv");
            command.args([&format!("--reuid={user}"), "--clear-groups", PYTHON]);
            command
        }
    };
    command
        .args(["-c", &format!("{PRELUDE}{script}")])
        .arg(socket)
        .current_dir("/");
    command
}

/// Sends `script`'s messages and waits for its end. Returns whether it succeeded.
pub(crate) fn send_from(user: Option<&str>, socket: &Path, script: &str) -> bool {
    let mut command = sender(user, socket, script);
    command.status().expect("a sender").success()
}

/// A process that is killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it, and waits until it prints its first line.
    pub(crate) fn until_it_prints(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let output = child.stdout.take().expect("its output");
        let running = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert!(line.ends_with('\n'), "it has ended: {line:?}");
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a flood is sent.
#[derive(Clone, Copy)]
pub(crate) enum Flood {
    /// One process sends all messages.
    OneProcess,
    /// Each message comes from a process of its own.
    NewProcesses,
}

/// Floods the notify socket of `pid` from outside of its tree as `user`, or as this one. Returns when the flood has begun:
/// when the queue is full, or after the first hundred processes.
pub(crate) fn flood(user: Option<&str>, pid: i32, kind: Flood) -> Running {
    let script = match kind {
        Flood::OneProcess => FLOOD,
        Flood::NewProcesses => FORKING_FLOOD,
    };
    Running::until_it_prints(&mut sender(user, &notify_socket(pid), script))
}

/// How often stayd has printed a line that contains `text`.
pub(crate) fn lines_with(daemon: &Stayd, text: &str) -> usize {
    let output = daemon.output();
    output.lines().filter(|line| line.contains(text)).count()
}
