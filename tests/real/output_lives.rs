//! Captured output of many short lives: each drains into the one file of its service.

use crate::output::{FIRST, log, output, run, shell, state};
use crate::support::daemon::Stayd;
use crate::support::{
    Cgroup, SOON, TempDir, alone, plan, program, wait_for, wait_for_exit, wait_until,
};
use stayd::decide::event::Life;
use stayd::sys::reaper::Status;
use stayd::sys::spawn::spawn;
use stayd::sys::{identity, process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const MAX_BYTES: u64 = 64 * 1024;
/// A file is rotated at the first newline in its last quarter.
const FULL_BYTES: u64 = MAX_BYTES / 4 * 3;
const LIVES: u32 = 300;
const LINES: usize = 500;
/// What a crash loop of a real stayd must have written.
const CRASH_LOOP_FILES: usize = 12;
const CRASH_LOOP_WITHIN: Duration = Duration::from_secs(60);

/// The files of a log, eldest first.
fn files(logs: &Path) -> Vec<Vec<u8>> {
    let path = |age: usize| match age {
        0 => logs.join("current.log"),
        age => logs.join(format!("current.log.{age}")),
    };
    let read = (0..).map_while(|age| fs::read(path(age)).ok());
    let mut files: Vec<_> = read.collect();
    files.reverse();
    files
}

/// All files but the newest are full, and none has outgrown its size.
fn assert_full(files: &[Vec<u8>]) {
    let sizes: Vec<u64> = files.iter().map(|file| file.len() as u64).collect();
    let (newest, elders) = sizes.split_last().expect("a file");
    assert!(*newest <= MAX_BYTES, "{sizes:?}");
    let is_full = |size: &u64| (FULL_BYTES..=MAX_BYTES).contains(size);
    assert!(elders.iter().all(is_full), "{sizes:?}");
}

/// Which lines of each life are there, in the order in which they stand: `LIFE N`.
fn lines_by_life(files: &[Vec<u8>]) -> BTreeMap<u32, Vec<usize>> {
    let text = String::from_utf8(files.concat()).expect("text");
    // What was killed within a line has not written it.
    let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut lives: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for line in text.lines() {
        let (life, number) = line.split_once(' ').expect("two words");
        let life = life.parse().expect("a life");
        let number = number.parse().expect("a line's number");
        lives.entry(life).or_default().push(number);
    }
    lives
}

#[test]
fn lives_that_follow_each_other_at_once_share_one_file_and_lose_no_line() {
    alone(|| {
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, _news) = output(&state);
        let log = log(MAX_BYTES, 1000);
        for life in 1..=LIVES {
            let ends = output.open("db", Life(life), &log, None).expect("open");
            let format = format!("{life} %.0f");
            let last = LINES.to_string();
            let child = run(&program("seq"), &["-f", &format, "1", &last], ends, None);
            wait_for_exit(child);
            output.retire("db", Life(life));
        }
        assert!(output.close(SOON));
        let files = files(&state.service_logs("db"));
        assert_full(&files);
        let lives = lines_by_life(&files);
        assert_eq!(lives.len(), LIVES as usize);
        let whole: Vec<usize> = (1..=LINES).collect();
        assert!(lives.values().all(|lines| *lines == whole));
    });
}

#[test]
fn a_crash_loop_fills_each_file_before_the_next_and_loses_no_line() {
    let mut daemon = Stayd::start(
        "[service.s]\ncommand = [\"sh\", \"-c\", \"exec seq -f \\\"$STAYD_LIFE %.0f\\\" 1 2000\"]\n\
         backoff = { min = \"0ms\", max = \"1ms\" }\ngive_up = { exits = 1000, within = \"1ms\" }\n\
         log = { to = \"file\", max_size = \"64KiB\", keep = 1000 }\n",
    );
    let logs = daemon.state_dir().join("logs/s");
    let enough = logs.join(format!("current.log.{CRASH_LOOP_FILES}"));
    wait_until("it has crashed often", CRASH_LOOP_WITHIN, || {
        enough.exists()
    });
    assert!(daemon.stop().success());
    let files = files(&logs);
    assert_full(&files);
    let lives = lines_by_life(&files);
    let last = *lives.keys().last().expect("a life");
    assert!(lives.keys().copied().eq(1..=last), "{:?}", lives.keys());
    for (life, lines) in lives {
        assert!(lines.iter().copied().eq(1..=lines.len()), "life {life}");
        // stayd has ended the last.
        assert!(lines.len() == 2000 || life == last, "life {life}");
    }
}

/// Before exec a child of ours has all that we have, the ends of other lives included, and lets go of them by itself.
#[test]
fn a_child_before_exec_is_nobody_who_holds_anothers_output_open() {
    alone(|| {
        let Some(cgroup) = Cgroup::unified_or_private("output-unborn") else {
            return; // only who may make cgroups
        };
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, news) = output(&state);
        let log = log(1 << 20, 1);
        let ends = output.open("db", FIRST, &log, None).expect("open");
        let fifo = ends.claim_file;
        let holds = |pid| process::holds_file(pid, fifo.dev, fifo.inode).unwrap_or(false);
        cgroup.set("cgroup.freeze", "1");
        let mut plan = plan(&program("true"), &[], &dir.join("out"));
        plan.cgroup = Some(File::open(cgroup.path()).expect("cgroup").into());
        let spawning = std::thread::spawn(move || spawn(plan));
        let unborn = wait_for("a child", SOON, || process::own_children().ok()?.pop());
        wait_until("it holds what we hold", SOON, || holds(unborn));
        assert_eq!(
            wait_for_exit(shell("echo end", ends, None)),
            Status::Code(0)
        );
        output.retire("db", FIRST);
        wait_until("it is closed", SOON, || !holds(identity::pid()));
        assert_eq!(news.try_iter().collect::<Vec<_>>(), []);
        assert!(holds(unborn), "it was held open all the while");
        cgroup.set("cgroup.freeze", "0");
        wait_for_exit(spawning.join().expect("no panic").expect("spawned"));
        assert!(output.close(SOON));
    });
}
