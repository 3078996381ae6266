//! Captured output: the descriptors that a child gets, the death of the thread's process, and a process that keeps the
//! output open.

use crate::support::{
    SOON, TempDir, alone, plan, program, require_root, test_service, wait_for_exit, wait_until,
};
use stayd::act::claims::{Claim, ClaimFile, ClaimOnDisk, Claims, Token};
use stayd::act::dirs::state_dir::StateDir;
use stayd::act::output::{InstanceOutput, Output, OutputNotice, StdoutReader, tail_and_follow};
use stayd::config::{Log, LogTo};
use stayd::decide::event::Life;
use stayd::sys::pipe;
use stayd::sys::process::{self, Handle};
use stayd::sys::reaper::Status;
use stayd::sys::spawn::{Child, User, spawn};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const FIRST: Life = Life(1);
/// The claim fd's number in these children.
const CLAIM_FD: i32 = 3;

pub(crate) fn log(max_size_bytes: u64, keep: u32) -> Log {
    Log {
        to: LogTo::File,
        max_size_bytes,
        keep,
    }
}

/// Output in `state`, and the notices of its thread.
pub(crate) fn output(state: &StateDir) -> (Output, Receiver<OutputNotice>) {
    let (sender, news) = channel();
    let sender = Mutex::new(sender);
    let tell = move |said| drop(sender.lock().expect("one thread").send(said));
    let audience = StdoutReader {
        terminal: false,
        container: false,
        journal: false,
    };
    (Output::new(state.clone(), audience, Arc::new(tell)), news)
}

pub(crate) fn state(dir: &Path) -> StateDir {
    StateDir::open(dir, None).expect("state")
}

/// All log files of `db`, oldest first.
pub(crate) fn text(state: &StateDir) -> String {
    let dir = state.service_logs("db");
    let path = |age: u32| match age {
        0 => dir.join("current.log"),
        age => dir.join(format!("current.log.{age}")),
    };
    let ages = (1..).take_while(|&age| path(age).exists()).count();
    let oldest = u32::try_from(ages).expect("few");
    let parts = (0..=oldest)
        .rev()
        .map(|age| fs::read(path(age)).unwrap_or_default());
    String::from_utf8_lossy(&parts.collect::<Vec<_>>().concat()).into_owned()
}

pub(crate) fn log_size(state: &StateDir) -> usize {
    let Ok(entries) = fs::read_dir(state.service_logs("db")) else {
        return 0;
    };
    let sizes = entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len());
    usize::try_from(sizes.sum::<u64>()).expect("small")
}

/// Runs `path` with its output in `ends`.
pub(crate) fn run(path: &Path, words: &[&str], ends: InstanceOutput, user: Option<User>) -> Child {
    let mut plan = plan(path, words, Path::new("/dev/null"));
    plan.fds.truncate(1);
    plan.fds
        .extend([(1, ends.stdout), (2, ends.stderr), (CLAIM_FD, ends.claim)]);
    plan.user = user;
    spawn(plan).expect("spawn")
}

pub(crate) fn shell(script: &str, ends: InstanceOutput, user: Option<User>) -> Child {
    run(&program("sh"), &["-c", script], ends, user)
}

#[test]
fn output_is_in_the_log_file_and_each_descriptor_has_its_access_mode() {
    alone(|| {
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, news) = output(&state);
        let ends = output
            .open("db", FIRST, &log(1 << 20, 1), None)
            .expect("open");
        let claim = ends.claim_file;
        let script = "echo out; echo err >&2; for n in 0 1 2 3; do \
                      sed -n 's/^flags:\\t*//p' /proc/self/fdinfo/$n; done";
        let child = shell(script, ends, None);
        assert_eq!(wait_for_exit(child), Status::Code(0));
        output.retire("db", FIRST);
        assert!(output.close(SOON));
        let text = text(&state);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["out", "err"]);
        // the last octal digit is the access mode: 0 and the claim fd read, 1 and 2 write
        let modes: Vec<char> = lines[2..]
            .iter()
            .filter_map(|flags| flags.chars().last())
            .collect();
        assert_eq!(modes, ['0', '1', '1', '0'], "{text}");
        assert!(claim.inode > 0 && claim.created > 0, "{claim:?}");
        assert!(!state.service_logs("db").join("life-1.fifo").exists());
        assert_eq!(news.try_iter().count(), 0);
    });
}

#[test]
#[ignore = "needs root"]
fn a_service_of_another_user_can_open_its_stdout_again() {
    require_root();
    alone(|| {
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, _news) = output(&state);
        let owner = Some((65_534, 65_534));
        let ends = output
            .open("db", FIRST, &log(1 << 20, 1), owner)
            .expect("open");
        let user = User {
            uid: 65_534,
            gid: 65_534,
            groups: Vec::new(),
        };
        let child = shell(
            "echo again > /dev/stdout && id -u > /dev/stderr",
            ends,
            Some(user),
        );
        assert_eq!(wait_for_exit(child), Status::Code(0));
        output.retire("db", FIRST);
        assert!(output.close(SOON));
        assert_eq!(text(&state), "again\n65534\n");
    });
}

/// Set in a process that moves output until it is killed.
const WORKER_STATE: &str = "STAYD_TEST_OUTPUT_STATE";
const THIS_TEST: &str =
    "output::no_line_is_lost_or_doubled_when_the_capturing_process_is_killed_again_and_again";
const LINES: usize = 1_000_000;
const KILLS_MIN: usize = 5;

#[test]
fn no_line_is_lost_or_doubled_when_the_capturing_process_is_killed_again_and_again() {
    if let Some(dir) = std::env::var_os(WORKER_STATE) {
        return capture_until_killed(&PathBuf::from(dir));
    }
    let dir = TempDir::new();
    let state = state(dir.path());
    let logs = state.service_logs("db");
    let last = format!("line {}\n", LINES - 1);
    let is_all_moved = || {
        let end = tail_and_follow(&logs, 1).map(|(text, _follow)| text);
        end.is_ok_and(|text| text == last.as_bytes())
    };
    let mut kills = 0;
    while !is_all_moved() {
        let before = log_size(&state);
        let mut worker = Command::new(std::env::current_exe().expect("program"))
            .args(["--exact", "--include-ignored", THIS_TEST])
            .env(WORKER_STATE, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("a worker");
        wait_until("the worker moves some output", SOON, || {
            log_size(&state) > before || is_all_moved()
        });
        worker.kill().expect("kill");
        worker.wait().expect("wait");
        kills += 1;
    }
    kill_writer(&state);
    assert!(
        kills >= KILLS_MIN,
        "only {kills} kills: the output was moved too quickly for this test"
    );
    let text = text(&state);
    let mut expected = 0;
    for line in text.lines() {
        assert_eq!(line, format!("line {expected}"), "after {kills} kills");
        expected += 1;
    }
    assert_eq!(expected, LINES, "after {kills} kills");
    for entry in fs::read_dir(&logs).expect("logs") {
        let path = entry.expect("a file").path();
        if path
            .extension()
            .is_some_and(|extension| extension != "fifo")
        {
            let rotated = fs::read(&path).expect("a file");
            assert!(
                rotated.ends_with(b"\n"),
                "{} ends within a line",
                path.display()
            );
        }
    }
}

/// Kills the process that holds the FIFO of the claim.
fn kill_writer(state: &StateDir) {
    let ClaimOnDisk::Valid(claim) = Claims::new(state).read("db") else {
        panic!("no claim")
    };
    let fifo = claim.claim_fd;
    let writer = pipe::find_holder(fifo.dev, fifo.inode)
        .expect("a look")
        .expect("a holder");
    Handle::open(writer.process)
        .expect("handle")
        .signal(libc::SIGKILL)
        .expect("kill");
}

/// Starts the instance, or adopts it, and captures its output until this process is killed.
fn capture_until_killed(dir: &Path) {
    let state = state(dir);
    let (output, _news) = output(&state);
    let claims = Claims::new(&state);
    let log = log(1 << 20, 100);
    if let ClaimOnDisk::Valid(claim) = claims.read("db") {
        output
            .adopt("db", FIRST, &log, claim.claim_fd)
            .expect("adopt");
    } else {
        let ends = output.open("db", FIRST, &log, None).expect("open");
        claims
            .record_intent("db", intent(ends.claim_file))
            .expect("intent");
        // it sleeps after the last line: the kernel drops what is in a FIFO with its last holder
        let lines = LINES.to_string();
        let child = run(
            &test_service(),
            &["write-lines", &lines, "sleep"],
            ends,
            None,
        );
        claims
            .set_main_process("db", FIRST, child.process, String::new())
            .expect("claim");
    }
    wait_until("being killed", Duration::from_secs(60), || false);
}

fn intent(claim_fd: ClaimFile) -> Claim {
    Claim {
        pid: None,
        start_time: None,
        boot_id: String::new(),
        pid_ns: 0,
        token: Token::fresh().expect("token"),
        life: FIRST.0,
        claim_fd,
        claim_fd_number: Some(3),
        first: None,
        ready: false,
        ending: false,
        ended: None,
        uid: None,
        members: Vec::new(),
        program: PathBuf::new(),
        command_key: None,
        user: None,
        env_key: None,
        fingerprint: None,
        runtime: None,
        workspace: PathBuf::new(),
        port: None,
        started_at: None,
    }
}

#[test]
fn a_file_that_replaced_the_fifo_is_not_adopted() {
    let dir = TempDir::new();
    let state = state(dir.path());
    let (output, _news) = output(&state);
    let ends = output
        .open("db", FIRST, &log(1 << 20, 1), None)
        .expect("open");
    let claimed = ends.claim_file;
    let path = state.service_logs("db").join("life-1.fifo");
    fs::remove_file(&path).expect("remove");
    pipe::make(&path).expect("forge");
    let (later, _news) = self::output(&state);
    let error = later
        .adopt("db", FIRST, &log(1 << 20, 1), claimed)
        .expect_err("refused");
    assert!(error.to_string().contains("life-1.fifo"), "{error}");
}

#[test]
fn a_grandchild_that_keeps_the_output_open_is_reported() {
    alone(|| {
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, news) = output(&state);
        let ends = output
            .open("db", FIRST, &log(1 << 20, 1), None)
            .expect("open");
        let child = shell("echo last words; sleep 1000 & echo $!", ends, None);
        assert_eq!(wait_for_exit(child), Status::Code(0));
        output.retire("db", FIRST);
        let OutputNotice::HeldOpen { key, holder } = news.recv_timeout(SOON).expect("news") else {
            panic!("other news")
        };
        let text = text(&state);
        let sleeper: i32 = text.lines().last().expect("a pid").parse().expect("a pid");
        let process = process::stat(sleeper).expect("alive").process;
        Handle::open(process)
            .expect("handle")
            .signal(libc::SIGKILL)
            .expect("kill");
        assert_eq!((key, holder), (("db".to_owned(), FIRST), Some(sleeper)));
        assert!(text.starts_with("last words\n"), "{text}");
        assert!(output.close(SOON));
    });
}
