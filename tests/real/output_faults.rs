//! Captured output onto a full disk, into a deleted folder, and without a newline.

use crate::output::{FIRST, log, log_size, output, run, shell, state, text};
#[cfg(target_os = "linux")]
use crate::support::alone_as_pid_1;
use crate::support::{
    SOON, TempDir, alone, delete_folder, replace_folder_with_file, test_service, wait_for_exit,
    wait_until,
};
use stayd::act::dirs::state_dir::StateDir;
use stayd::act::output::{InstanceOutput, OutputNotice, tail};
use stayd::sys::reaper::Status;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
#[cfg(target_os = "linux")]
use std::process::Command;

/// The write end of stdout, for a test that writes as the service; the claim fd is dropped with it.
fn pen(ends: InstanceOutput) -> (File, OwnedFd) {
    (File::from(ends.stdout), ends.claim)
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn a_full_disk_does_not_block_the_service_and_the_lost_bytes_are_counted() {
    alone_as_pid_1(|| {
        let disk = SmallDisk::mount();
        let disk = disk.0.path();
        let state = state(disk);
        let (output, news) = output(&state);
        fs::write(disk.join("filler"), vec![0; 512 << 10]).expect("fill");
        let ends = output
            .open("db", FIRST, &log(64 << 20, 1), None)
            .expect("open");
        let child = run(&test_service(), &["write-lines", "200000"], ends, None);
        // about 2.3 MB through a pipe of 1 MiB onto a disk with less than 512 KiB free
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
        // stayd adds a newline to the line that the gap has cut
        let kept: usize = kept.iter().map(|line| line.len() + 1).sum();
        let lost = usize::try_from(bytes).expect("small");
        assert!(
            (kept + lost).abs_diff(written) <= 1,
            "{kept} + {lost} of {written}"
        );
    });
}

/// A tmpfs of 1 MiB, for a test that is root in a mount namespace of its own.
#[cfg(target_os = "linux")]
struct SmallDisk(TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount() -> Self {
        let dir = TempDir::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"])
            .arg(dir.path())
            .status();
        assert!(mounted.expect("mount").success());
        Self(dir)
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[test]
fn a_deleted_log_folder_is_made_again() {
    let dir = TempDir::new();
    let state = state(dir.path());
    let (output, _news) = output(&state);
    let ends = output
        .open("db", FIRST, &log(1 << 20, 1), None)
        .expect("open");
    let (mut pen, _claim) = pen(ends);
    writeln!(pen, "before").expect("write");
    wait_until("the first line", SOON, || text(&state) == "before\n");
    delete_folder(state.logs().as_ref());
    writeln!(pen, "after").expect("write");
    wait_until("a new file", SOON, || text(&state) == "after\n");
}

#[test]
fn an_unwritable_log_folder_loses_only_its_own_lines() {
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
    replace_folder_with_file(&state.service_logs("db"));

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
fn a_line_of_64_mebibytes_needs_bounded_memory_and_disk() {
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
        let child = run(&test_service(), &["write-lines", "20000"], ends, None);
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let all: usize = (0..20_000).map(|n| format!("line {n}\n").len()).sum();
        wait_until("all lines", SOON, || log_size(&state) == all);
        let switches = output_thread_switches();
        assert!(
            switches < 2_000,
            "{switches} context switches for 20,000 lines"
        );
    });
}

/// How often the output thread has gone to sleep.
fn output_thread_switches() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("tasks");
    let mut statuses = tasks.map(|task| {
        fs::read_to_string(task.expect("task").path().join("status")).unwrap_or_default()
    });
    let status = statuses
        .find(|status| status.starts_with("Name:\toutput"))
        .expect("the output thread");
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
fn a_fifo_is_made_in_the_runtime_folder_when_the_log_folder_takes_none() {
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
