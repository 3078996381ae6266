//! Captured output when things go wrong: a full disk, a deleted folder, a line without an end.

use crate::output::{FIRST, log, log_size, output, run, shell, state, text};
use crate::support::{
    SOON, TempDir, alone, alone_as_first_process, victim, wait_for_exit, wait_until,
};
use stayd::act::dirs::state_dir::StateDir;
use stayd::act::output::{InstanceOutput, OutputNotice, tail};
use stayd::sys::reaper::Status;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// The write end for stdout, for a test that is its own service; the claim fd has to live as long.
fn pen(ends: InstanceOutput) -> (File, OwnedFd) {
    (File::from(ends.stdout), ends.claim)
}

#[test]
fn item_82_a_full_disk_never_blocks_the_service_and_the_gap_is_counted() {
    alone_with_small_disk(|disk| {
        let state = state(disk);
        let (output, news) = output(&state);
        fs::write(disk.join("filler"), vec![0; 512 << 10]).expect("fill");
        let ends = output
            .open("db", FIRST, &log(64 << 20, 1), None)
            .expect("open");
        let child = run(&victim(), &["flood", "200000"], ends, None);
        // About 2.3 MB through a pipe of 1 MiB onto a disk with less than 512 KiB free.
        assert_eq!(wait_for_exit(child), Status::Code(0));
        assert!(matches!(
            news.recv_timeout(SOON),
            Ok(OutputNotice::WriteFailed { .. })
        ));

        fs::remove_file(disk.join("filler")).expect("make room");
        let OutputNotice::BytesLost { bytes, cause, .. } = news.recv_timeout(SOON).expect("news")
        else {
            panic!("other news")
        };
        assert!(cause.contains("space"), "{cause}");
        output.retire("db", FIRST);
        assert!(output.close(SOON));
        let (kept, gaps): (Vec<String>, Vec<String>) = text(&state)
            .lines()
            .map(str::to_owned)
            .partition(|line| !line.starts_with("stayd:"));
        assert_eq!(gaps, [format!("stayd: {bytes} bytes lost: {cause}")]);
        let written: usize = (0..200_000).map(|n| format!("line {n}\n").len()).sum();
        // The line that was cut by the gap has its newline from us.
        let kept: usize = kept.iter().map(|line| line.len() + 1).sum();
        let lost = usize::try_from(bytes).expect("small");
        assert!(
            (kept + lost).abs_diff(written) <= 1,
            "{kept} + {lost} of {written}"
        );
    });
}

/// Runs `body` with a folder on a tmpfs of 1 MiB, in a mount namespace of its own.
#[track_caller]
fn alone_with_small_disk(body: impl FnOnce(&Path)) {
    alone_as_first_process(|| {
        let dir = TempDir::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"])
            .arg(dir.path())
            .status()
            .expect("mount");
        assert!(mounted.success());
        body(dir.path());
        drop(Command::new("umount").arg("-l").arg(dir.path()).status());
    });
}

#[test]
fn item_83_a_deleted_log_folder_is_built_again() {
    let dir = TempDir::new();
    let state = state(dir.path());
    let (output, _news) = output(&state);
    let ends = output
        .open("db", FIRST, &log(1 << 20, 1), None)
        .expect("open");
    let (mut pen, _claim) = pen(ends);
    writeln!(pen, "before").expect("write");
    wait_until("the first line", SOON, || text(&state) == "before\n");
    fs::remove_dir_all(state.logs()).expect("delete");
    writeln!(pen, "after").expect("write");
    wait_until("a new file", SOON, || text(&state) == "after\n");
}

#[test]
fn item_83_an_unwritable_log_folder_costs_lines_and_nothing_else() {
    let dir = TempDir::new();
    let state = state(dir.path());
    let (output, news) = output(&state);
    let ends = output
        .open("db", FIRST, &log(1 << 20, 1), None)
        .expect("open");
    let other = output
        .open("web", FIRST, &log(1 << 20, 1), None)
        .expect("open");
    let ((mut pen, _claim), (mut other, _other_claim)) = (pen(ends), pen(other));
    fs::remove_dir_all(state.service_logs("db")).expect("delete");
    fs::write(state.service_logs("db"), "in the way").expect("obstruct");

    let chunk = "x".repeat(1023) + "\n";
    for _ in 0..4096 {
        pen.write_all(chunk.as_bytes())
            .expect("4 MiB are written, the pipe holds 1 MiB at most");
    }
    assert!(matches!(
        news.recv_timeout(SOON),
        Ok(OutputNotice::WriteFailed { .. })
    ));
    writeln!(other, "unharmed").expect("write");
    wait_until("the other service's line", SOON, || {
        tail(&state.service_logs("web"), 1).expect("tail") == ["unharmed"]
    });

    fs::remove_file(state.service_logs("db")).expect("clear");
    let gap = format!("stayd: {} bytes lost: File exists", 4096 * 1024);
    wait_until("the gap", SOON, || text(&state).starts_with(&gap));
    writeln!(pen, "and on").expect("write");
    wait_until("the next line", SOON, || text(&state).ends_with("and on\n"));
}

#[test]
fn item_97_an_endless_line_takes_no_memory_and_bounded_disk() {
    alone(|| {
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, _news) = output(&state);
        let ends = output
            .open("db", FIRST, &log(1 << 20, 2), None)
            .expect("open");
        let before = peak_memory_kib();
        let child = shell(
            "head -c 67108864 /dev/zero | tr '\\0' x; echo; echo end",
            ends,
            None,
        );
        assert_eq!(wait_for_exit(child), Status::Code(0));
        output.retire("db", FIRST);
        assert!(output.close(SOON));
        assert!(log_size(&state) <= 3 << 20, "{} bytes", log_size(&state));
        assert_eq!(tail(&state.service_logs("db"), 1).expect("tail"), ["end"]);
        let grown = peak_memory_kib() - before;
        assert!(grown < 4 * 1024, "{grown} KiB");
    });
}

fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .expect("VmHWM");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}

#[test]
fn many_lines_are_moved_in_few_batches() {
    alone(|| {
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, _news) = output(&state);
        let ends = output
            .open("db", FIRST, &log(64 << 20, 1), None)
            .expect("open");
        let child = run(&victim(), &["flood", "20000"], ends, None);
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let all: usize = (0..20_000).map(|n| format!("line {n}\n").len()).sum();
        wait_until("all lines", SOON, || log_size(&state) == all);
        let switches = pump_switches();
        assert!(
            switches < 2_000,
            "{switches} context switches for 20,000 lines"
        );
    });
}

/// How often the pump's thread has gone to sleep.
fn pump_switches() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("tasks");
    let mut statuses = tasks.map(|task| {
        fs::read_to_string(task.expect("task").path().join("status")).unwrap_or_default()
    });
    let status = statuses
        .find(|status| status.starts_with("Name:\toutput"))
        .expect("the pump");
    let line = status
        .lines()
        .find(|line| line.starts_with("voluntary"))
        .expect("switches");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}

#[test]
fn item_84_a_life_gets_its_fifo_elsewhere_when_the_log_folder_takes_none() {
    let dir = TempDir::new();
    let runtime = TempDir::new();
    let state = StateDir::open(dir.path(), Some(runtime.path())).expect("state");
    fs::write(state.service_logs("db"), "in the way").expect("obstruct");
    let (output, _news) = output(&state);
    let ends = output
        .open("db", FIRST, &log(1 << 20, 1), None)
        .expect("open");
    let fifo = runtime.join("db.life-1.fifo");
    assert_eq!(
        fs::metadata(&fifo).expect("fifo").permissions().mode() & 0o777,
        0o600
    );
    let (later, _news) = crate::output::output(&state);
    later
        .adopt("db", FIRST, &log(1 << 20, 1), ends.claim_file)
        .expect("found there");
    output.retire("db", FIRST);
    assert!(!fifo.exists());
}
