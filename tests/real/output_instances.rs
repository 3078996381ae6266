//! Captured output of many short instances: all are written to the one log of their service.

use crate::output::{FIRST, log, output, run, shell, state};
use crate::support::daemon::Stayd;
use crate::support::{
    Cgroup, SOON, TempDir, alone, plan, program, require_root, wait_for, wait_for_exit, wait_until,
};
use stayd::decide::event::Life;
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::spawn;
use stayd::sys::{identity, process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const MAX_BYTES: u64 = 64 * 1024;
/// A file is rotated at the first newline in its last quarter.
const FULL_BYTES: u64 = MAX_BYTES / 4 * 3;
const INSTANCES: u32 = 300;
const LINES: usize = 500;
/// How many log files a crash loop must fill, and within what time.
const CRASH_LOOP_FILES: usize = 12;
const CRASH_LOOP_WITHIN: Duration = Duration::from_secs(60);

/// The files of a log, oldest first.
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

/// Fails unless all files but the newest are full, and none exceeds its size.
fn assert_full(files: &[Vec<u8>]) {
    let sizes: Vec<u64> = files.iter().map(|file| file.len() as u64).collect();
    let (newest, older) = sizes.split_last().expect("a file");
    assert!(*newest <= MAX_BYTES, "{sizes:?}");
    let is_full = |size: &u64| (FULL_BYTES..=MAX_BYTES).contains(size);
    assert!(older.iter().all(is_full), "{sizes:?}");
}

/// The line numbers of each instance in file order. A line is `LIFE N`.
fn lines_by_instance(files: &[Vec<u8>]) -> BTreeMap<u32, Vec<usize>> {
    let text = String::from_utf8(files.concat()).expect("text");
    // an instance that was killed within a line has not completed it
    let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut instances: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for line in text.lines() {
        let (life, number) = line.split_once(' ').expect("two words");
        let life = life.parse().expect("a life");
        let number = number.parse().expect("a line's number");
        instances.entry(life).or_default().push(number);
    }
    instances
}

#[test]
fn instances_in_quick_succession_share_one_log_and_lose_no_line() {
    alone(|| {
        let dir = TempDir::new();
        let state = state(dir.path());
        let (output, _news) = output(&state);
        let log = log(MAX_BYTES, 1000);
        for life in 1..=INSTANCES {
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
        let instances = lines_by_instance(&files);
        assert_eq!(instances.len(), INSTANCES as usize);
        let whole: Vec<usize> = (1..=LINES).collect();
        assert!(instances.values().all(|lines| *lines == whole));
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
    let instances = lines_by_instance(&files);
    let last = *instances.keys().last().expect("a life");
    assert!(
        instances.keys().copied().eq(1..=last),
        "{:?}",
        instances.keys()
    );
    for (life, lines) in instances {
        assert!(lines.iter().copied().eq(1..=lines.len()), "life {life}");
        // the stop of stayd has ended the last one
        assert!(lines.len() == 2000 || life == last, "life {life}");
    }
}

/// Before exec a child has a copy of every descriptor of its parent, also of other services' outputs; exec closes them.
#[test]
#[ignore = "needs root"]
fn a_child_before_exec_is_not_reported_as_holding_the_output_of_another_service() {
    require_root();
    alone(|| {
        let cgroup = Cgroup::unified("output-before-exec");
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
        let child = wait_for("a child", SOON, || reaper::own_children().ok()?.pop());
        wait_until("it has the descriptor of the FIFO", SOON, || holds(child));
        assert_eq!(
            wait_for_exit(shell("echo end", ends, None)),
            Status::Code(0)
        );
        output.retire("db", FIRST);
        wait_until("it is closed", SOON, || !holds(identity::pid()));
        assert_eq!(news.try_iter().collect::<Vec<_>>(), []);
        assert!(holds(child), "the child still has it");
        cgroup.set("cgroup.freeze", "0");
        wait_for_exit(spawning.join().expect("no panic").expect("spawned"));
        assert!(output.close(SOON));
    });
}
