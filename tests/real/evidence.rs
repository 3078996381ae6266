//! The evidence that is collected about real processes that are stuck.

use crate::support::{free_port, program, wait_until};
use stayd::act::evidence::{Evidence, EvidenceTarget, LastLines, collect};
use stayd::decide::action::RecordValue;
use stayd::sys::process::{self, Process};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(10);
/// How long a kill waits for evidence.
const BUDGET: Duration = Duration::from_millis(300);
/// How much later the collection may return on a busy machine. It usually returns within the budget.
const SLACK: Duration = Duration::from_secs(5);

/// A listener, a file opened 200 times, and four threads that wait for a lock that is never released.
const WEDGED: &str = r#"
import socket, sys, threading
port, path = int(sys.argv[1]), sys.argv[2]
listener = socket.create_server(("127.0.0.1", port))
handles = [open(path, "a") for _ in range(200)]
lock = threading.Lock()
lock.acquire()
for _ in range(4):
    threading.Thread(target=lock.acquire, daemon=True).start()
print("stuck", flush=True)
lock.acquire()
"#;

/// A child; killed with its process group when dropped.
struct Stuck(Child);

impl Stuck {
    fn start(mut command: Command) -> Self {
        use std::os::unix::process::CommandExt as _;
        command.stdin(Stdio::null()).process_group(0);
        Self(command.spawn().expect("the program starts"))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }

    fn main(&self) -> Process {
        process::stat(self.pid()).expect("it lives").process
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(-self.pid());
        #[expect(
            clippy::disallowed_methods,
            reason = "the group of a child that is not reaped yet"
        )]
        let _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn wedged(port: u16, path: &std::path::Path) -> Stuck {
    let mut command = Command::new(program("python3"));
    command
        .args(["-c", WEDGED, &port.to_string()])
        .arg(path)
        .stdout(Stdio::piped());
    let mut stuck = Stuck::start(command);
    let mut line = String::new();
    let output = stuck.0.stdout.take().expect("piped");
    BufReader::new(output).read_line(&mut line).expect("a line");
    assert_eq!(line, "stuck\n");
    stuck
}

fn subject(main: Process, members: Vec<Process>, port: Option<u16>) -> EvidenceTarget {
    EvidenceTarget {
        main,
        members,
        port,
        transcript: vec!["dead: no answer within 3 s".into()],
        last_lines: LastLines::Read(vec!["listening".into()]),
    }
}

fn fact(evidence: &Evidence, name: &str) -> Option<RecordValue> {
    let found = evidence.facts.iter().find(|(key, _)| *key == name)?;
    Some(found.1.clone())
}

#[test]
fn a_deadlock_its_open_files_and_its_port_are_named() {
    let (port, path) = (
        free_port(),
        tempfile::NamedTempFile::with_prefix("state.db.").expect("a file"),
    );
    let stuck = wedged(port, path.path());
    let main = stuck.main();
    let mut evidence = collect(subject(main, vec![main], Some(port)), LONG);
    wait_until("all threads wait in futex", LONG, || {
        evidence = collect(subject(main, vec![main], Some(port)), LONG);
        evidence.summary.contains("5 threads, all in")
    });
    let name = path.path().file_name().expect("a name").to_string_lossy();
    let (summary, text) = (&evidence.summary, &evidence.text);
    assert!(summary.contains("futex"), "{summary}");
    assert!(
        summary.contains(&format!("200 of them {name}")),
        "{summary}"
    );
    let holder = format!("port {port} held by pid {} (itself)", main.pid);
    assert!(summary.contains(&holder), "{summary}");
    assert!(!summary.contains('\n'));
    assert!(
        text.contains(&format!("200 × {}", path.path().display())),
        "{text}"
    );
    assert!(
        text.contains("dead: no answer within 3 s") && text.contains("  listening\n"),
        "{text}"
    );
    assert_eq!(fact(&evidence, "threads"), Some(RecordValue::Number(5)));
    assert_eq!(
        fact(&evidence, "port_holder"),
        Some(RecordValue::Number(main.pid.unsigned_abs().into()))
    );
    assert!(fact(&evidence, "open_files_limit").is_some());
}

#[test]
fn a_live_lock_is_shown_as_running() {
    let mut command = Command::new(program("python3"));
    command.args(["-c", "while True: pass"]);
    let stuck = Stuck::start(command);
    let main = stuck.main();
    wait_until("it spins", LONG, || {
        collect(subject(main, Vec::new(), None), LONG)
            .summary
            .starts_with("1 thread, running")
    });
}

#[test]
fn evidence_of_two_hundred_processes_is_collected_in_bounded_time() {
    let mut command = Command::new(program("python3"));
    command.args([
        "-c",
        "import os, signal\nfor _ in range(199):\n    if not os.fork(): break\nsignal.pause()",
    ]);
    let stuck = Stuck::start(command);
    wait_until("all have started", LONG, || {
        process::children(stuck.pid()).is_ok_and(|children| children.len() == 199)
    });
    let members: Vec<Process> = process::children(stuck.pid())
        .expect("children")
        .into_iter()
        .map(|pid| process::stat(pid).expect("it lives").process)
        .collect();
    let free = Some(free_port());
    let began = Instant::now();
    let bounded = collect(subject(stuck.main(), members.clone(), free), BUDGET);
    assert!(began.elapsed() < BUDGET + SLACK, "{:?}", began.elapsed());
    assert!(bounded.text.contains("listening"));
    // The processes get a fifth of this time at first, in which not all of them can be read.
    let cut = Duration::from_millis(1);
    let hurried = collect(subject(stuck.main(), members.clone(), free), cut);
    assert!(
        !hurried.summary.contains("200 processes"),
        "{}",
        hurried.summary
    );
    let complete = collect(subject(stuck.main(), members, free), LONG);
    assert!(
        complete.summary.starts_with("200 processes; 200 threads, "),
        "{}",
        complete.summary
    );
    assert!(
        complete.summary.contains("no process listens on port"),
        "{}",
        complete.summary
    );
}
