//! Which processes the notify socket of a service hears: those of the instance, whatever their user, and no others.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::notify::{Running, lines_with, notify_socket, send_from, sender};
use super::support::service::{pid, python_service};
use super::support::watchdog::{WithCanary, watched_service};
use super::support::{PYTHON, free_port, http_get, require_root, wait_until};
use nix::unistd::User;
use stayd::sys::process;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Two messages that claim that the service is ready; the second has a descriptor with it.
const LIES: &str = "s.sendto(b'READY=1', to)\nfds(b'READY=1\\nWATCHDOG=1', [2])\n";
/// After the file `go`, the service sends a message that stayd logs.
const MARK: &str = "wait_file('go')\ntell('EXTEND_TIMEOUT_USEC=mark')\n";

/// Lets the service send the message of [`MARK`], and waits until stayd has read it and so everything that was sent before.
fn read_up_to_mark(daemon: &Stayd) {
    fs::write(daemon.dir().join("go"), "").expect("a file");
    wait_until("stayd has read the message", SOON, || {
        lines_with(daemon, "mark") == 1
    });
}

fn open_to_other_users(command: &mut Command) {
    let dir = command.get_current_dir().expect("the test's folder");
    fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("open");
}

/// Starts the Python service, which the user `nobody` may run, and waits until it has a process.
fn start(script: &str, more: &str) -> (Stayd, i32) {
    let config = python_service(script, more).replacen("python3", PYTHON, 1);
    let daemon = Stayd::start_with(&config, open_to_other_users);
    let service = daemon.wait_service("s", "started", |service| service["pid"].is_number());
    let main = pid(&service);
    (daemon, main)
}

#[test]
fn a_process_outside_the_tree_cannot_report_for_the_service() {
    let script = format!("{MARK}tell('READY=1')\nwait_file('never')");
    let (daemon, main) = start(&script, "sd_notify = true");
    assert!(send_from(None, &notify_socket(main), LIES));
    wait_until("the message is logged", SOON, || {
        lines_with(&daemon, "does not belong to it") == 1
    });
    assert!(send_from(None, &notify_socket(main), LIES));
    assert_eq!(daemon.service("s")["state"], "starting");
    read_up_to_mark(&daemon);
    daemon.wait_state("s", "running");
    assert_eq!(lines_with(&daemon, "does not belong to it"), 1);
}

#[test]
#[ignore = "needs root"]
fn another_user_cannot_report_for_a_service_that_runs_as_root() {
    require_root();
    let script = format!("{MARK}wait_file('ready')\ntell('READY=1')\nwait_file('never')");
    let (daemon, main) = start(&script, "sd_notify = true");
    assert!(send_from(Some("nobody"), &notify_socket(main), LIES));
    read_up_to_mark(&daemon);
    assert_eq!(daemon.service("s")["state"], "starting");
    fs::write(daemon.dir().join("ready"), "").expect("a file");
    daemon.wait_state("s", "running");
}

#[test]
#[ignore = "needs root"]
fn another_user_cannot_send_to_a_service_that_has_a_user() {
    require_root();
    let script = "wait_file('ready')\ntell('READY=1')\nwait_file('never')";
    let (daemon, main) = start(script, "user = \"nobody\"\nsd_notify = true");
    let socket = notify_socket(main);
    let nobody = User::from_name("nobody").expect("passwd").expect("nobody");
    let found = fs::metadata(&socket).expect("the socket");
    let owner_and_mode = (found.uid(), found.mode() & 0o777);
    assert_eq!(owner_and_mode, (nobody.uid.as_raw(), 0o600));
    assert!(!send_from(Some("daemon"), &socket, LIES));
    fs::write(daemon.dir().join("ready"), "").expect("a file");
    assert_eq!(pid(&daemon.wait_state("s", "running")), main);
}

#[test]
fn every_user_can_send_only_to_a_service_of_root() {
    let (daemon, main) = start("tell('READY=1')\nwait_file('never')", "sd_notify = true");
    daemon.wait_state("s", "running");
    let found = fs::metadata(notify_socket(main)).expect("the socket");
    let is_root = found.uid() == 0;
    // a process of root may change its user and send then
    let expected = if is_root { 0o666 } else { 0o600 };
    assert_eq!(found.mode() & 0o777, expected);
}

#[test]
#[ignore = "needs root"]
fn a_service_that_drops_its_privileges_itself_is_heard() {
    require_root();
    let script =
        "os.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\ntell('READY=1')\nwait_file('never')";
    let (daemon, main) = start(script, "sd_notify = true");
    assert_eq!(pid(&daemon.wait_state("s", "running")), main);
    assert_ne!(process::uid(main).expect("its user"), 0);
}

/// The worker has a session of its own and no descriptor of the service.
#[test]
#[ignore = "needs root"]
fn a_worker_that_has_another_user_and_session_is_heard() {
    require_root();
    let script = "if os.fork()==0:\n  os.setsid()\n  os.closerange(0,64)\n  os.setgroups([])\n  os.setgid(65534)\n  os.setuid(65534)\n\
                  \x20 s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n  tell('READY=1')\nwait_file('never')";
    let (daemon, main) = start(script, "sd_notify = true");
    assert_eq!(pid(&daemon.wait_state("s", "running")), main);
}

/// The daemon has a session of its own, and its parent has ended. Another service could have left it.
#[test]
#[ignore = "needs root"]
fn a_daemon_that_has_another_user_and_no_parent_is_heard() {
    require_root();
    let script = "if os.fork()==0:\n  os.setsid()\n  if os.fork()!=0: os._exit(0)\n  os.setgroups([])\n  os.setgid(65534)\n  os.setuid(65534)\n\
                  \x20 tell('READY=1')\n  wait_file('never')\nwait_file('never')";
    let other = "[service.other]\ncommand = [\"sleep\", \"1000\"]\n";
    let (daemon, main) = start(script, &format!("sd_notify = true\n{other}"));
    assert_eq!(pid(&daemon.wait_state("s", "running")), main);
}

/// The process is an orphan in a session of its own. It waits until stayd has read its message, as sd_notify_barrier(3) does,
/// and ends.
#[test]
fn a_process_that_has_left_the_session_and_ends_after_its_barrier_is_heard() {
    let script = "if os.fork()==0:\n  os.setsid()\n  if os.fork()!=0: os._exit(0)\n  tell('READY=1')\n  r,w=os.pipe()\n  import array\n\
                  \x20 s.sendmsg([b'BARRIER=1'],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array('i',[w]))],0,os.environ['NOTIFY_SOCKET'])\n\
                  \x20 os.close(w)\n  os.read(r,1)\n  os._exit(0)\nwait_file('never')";
    let (daemon, main) = start(script, "sd_notify = true");
    assert_eq!(pid(&daemon.wait_state("s", "running")), main);
}

#[test]
fn descriptors_that_come_with_messages_are_closed() {
    let script = format!("{MARK}wait_file('never')");
    let (daemon, main) = start(&script, "sd_notify = true");
    let open_files = || {
        let files = process::open_files(daemon.pid(), usize::MAX);
        files.expect("its open files").len()
    };
    let before = open_files();
    // each read returns once stayd has closed its copy of the other end
    let pipes = "ends = []\nfor i in range(200):\n  r, w = os.pipe()\n  fds(b'X=1', [w])\n  os.close(w)\n  ends.append(r)\n\
                 for end in ends: assert os.read(end, 1) == b''\n";
    assert!(send_from(None, &notify_socket(main), pipes));
    wait_until("stayd has no more open files than before", SOON, || {
        open_files() <= before
    });
    read_up_to_mark(&daemon);
}

/// Sends two TCP sockets with SO_LINGER whose peers read nothing: the close of the last copy waits for minutes (socket(7)).
const LINGERING: &str = "\
l = socket.socket()
l.bind(('127.0.0.1', 0))
l.listen(2)
peers = []
for i in range(2):
    c = socket.socket()
    c.connect(l.getsockname())
    peers.append(l.accept()[0])
    c.setblocking(False)
    try:
        while True: c.send(b'x' * 65536)
    except BlockingIOError: pass
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 600))
    fds(b'X=1', [c.fileno()])
    c.close()
print('sent', flush=True)
sys.stdin.read()
";

/// Sends the messages of [`LINGERING`] to the subject. The sender's copies are closed before stayd reads the messages.
fn send_lingering(both: &WithCanary) -> Running {
    both.daemon.signal(libc::SIGSTOP);
    let mut command = sender(None, &notify_socket(both.subject), LINGERING);
    let sender = Running::until_it_prints(command.stdin(Stdio::piped()));
    both.daemon.signal(libc::SIGCONT);
    sender
}

#[test]
fn a_descriptor_that_cannot_be_closed_delays_only_the_messages_of_its_service() {
    let script = format!("tell('READY=1')\n{MARK}wait_file('never')");
    let config = python_service(&script, "sd_notify = true");
    let both = WithCanary::of(free_port(), &config, |_| {});
    let sender = send_lingering(&both);
    both.assert_outlives_canary();
    wait_until("the delay is logged", SOON, || {
        lines_with(&both.daemon, "the close of a descriptor") == 1
    });
    drop(sender);
    read_up_to_mark(&both.daemon);
}

/// Sends a message, and prints for each line of input whether it is still in the queue.
const WAITS: &str = "\
import fcntl, termios
s.sendto(b'READY=1', to)
print('sent', flush=True)
for line in sys.stdin:
    size = struct.unpack('i', fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]
    print('waits' if size else 'read', flush=True)
";

/// A service whose `before` runs until the file `go` exists, and then ends with `status`; and the path of its notify socket.
fn start_with_before(status: u8, more: &str) -> (Stayd, PathBuf) {
    let before = format!(
        "before = [\"sh\", \"-c\", \"touch DIR/begun; while ! test -e DIR/go; do sleep 0.02; done; exit {status}\"]\n\
         sd_notify = true"
    );
    let config = python_service("tell('READY=1')\nwait_file('never')", &before);
    let name = format!("early-{status}-{}", std::process::id());
    let daemon = Stayd::start(&format!("name = \"{name}\"\n{config}{more}"));
    wait_until("`before` runs", SOON, || {
        daemon.dir().join("begun").exists()
    });
    let sockets = fs::read_to_string("/proc/net/unix").expect("the sockets");
    let mut paths = sockets
        .lines()
        .filter_map(|line| line.split(' ').next_back());
    let path = paths.find(|path| path.contains(&name) && path.ends_with(".notify"));
    let path = path.expect("its socket").into();
    (daemon, path)
}

/// The process may send its first message before stayd knows that it has started.
#[test]
fn messages_wait_until_the_main_process_is_known() {
    let (daemon, socket) = start_with_before(0, "");
    let mut sender = sender(None, &socket, WAITS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a sender");
    let mut questions = sender.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(sender.stdout.take().expect("a pipe")).lines();
    let mut next = || answers.next().expect("a line").expect("text");
    assert_eq!(next(), "sent");
    for _ in 0..3 {
        assert_eq!(daemon.service("s")["state"], "starting"); // the loop has made a turn
        writeln!(questions).expect("asked");
        assert_eq!(next(), "waits");
    }
    fs::write(daemon.dir().join("go"), "").expect("a file");
    daemon.wait_state("s", "running");
    wait_until("the message is read", SOON, || {
        writeln!(questions).expect("asked");
        next() == "read"
    });
    drop(questions);
    sender.wait().expect("our child");
}

#[test]
fn descriptors_in_messages_that_were_never_read_do_not_block_the_end_of_the_instance() {
    let port = free_port();
    let canary = watched_service("canary", port, "", "");
    let (daemon, socket) = start_with_before(1, &canary);
    let before = pid(&daemon.wait_state("canary", "running"));
    let mut command = sender(None, &socket, LINGERING);
    let sender = Running::until_it_prints(command.stdin(Stdio::piped()));
    fs::write(daemon.dir().join("go"), "").expect("a file");
    wait_until("the instance has ended", SOON, || !socket.exists());
    http_get(port, "/wedge").expect("the wedge");
    wait_until("the canary is killed", SOON, || !is_alive(before));
    drop(sender);
}
