//! A running stayd that is measured from outside, by the kernel's counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A generous deadline for what takes a moment on an idle machine.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// A stayd of the release build, ended by SIGTERM when dropped.
pub(super) struct Stayd(pub(super) Child);

impl Stayd {
    /// Starts it in `dir` and waits until it has its control socket and a first child. Panics with its log if it ends.
    pub(super) fn start(dir: &Path, config: &str) -> Self {
        let file = dir.join("stayd.toml");
        fs::write(&file, config).expect("a configuration");
        let state = dir.join("state");
        let log = fs::File::create(dir.join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_stayd"))
            .args(["--foreground", "-c"])
            .arg(&file)
            .arg("--state-dir")
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("stayd");
        let stayd = Self(child);
        wait_for("the control socket and a first child", || {
            if !is_alive(stayd.0.id()) {
                panic!(
                    "{}",
                    fs::read_to_string(dir.join("log")).unwrap_or_default()
                );
            }
            state.join("control.sock").exists() && !children(stayd.0.id()).is_empty()
        });
        stayd
    }

    /// How often each thread has gone to sleep (voluntary context switches, proc(5)): one per wake-up. Preemptions are
    /// not counted, because they depend on the rest of the machine.
    pub(super) fn switches(&self) -> Switches {
        let tasks = tasks(self.0.id()).into_iter();
        Switches(
            tasks
                .map(|task| (task.clone(), switches_of(&task)))
                .collect(),
        )
    }

    /// CPU time of all threads, from the scheduler's statistics (`/proc/PID/task/TID/schedstat`).
    pub(super) fn cpu(&self) -> Duration {
        let nanos = tasks(self.0.id()).into_iter().filter_map(|task| {
            let text = fs::read_to_string(task.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// A line of its `smaps_rollup` (proc(5)) such as `Pss`, in KiB.
    pub(super) fn memory(&self, key: &str) -> u64 {
        let text =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id())).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{key}:")));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Stayd {
    fn drop(&mut self) {
        let _ = signal(self.0.id(), libc::SIGTERM);
        let _ = self.0.wait();
    }
}

/// The context switches of each thread at one instant.
pub(super) struct Switches(BTreeMap<PathBuf, u32>);

impl Switches {
    /// The number of switches since `before`. A thread that has ended since then counts as one, because it woke up to end.
    pub(super) fn since(&self, before: &Self) -> u32 {
        let ended = before.0.keys().filter(|task| !self.0.contains_key(*task));
        let added = |(task, count): (&PathBuf, &u32)| count - before.0.get(task).unwrap_or(&0);
        self.0.iter().map(added).sum::<u32>() + u32::try_from(ended.count()).expect("few threads")
    }
}

/// How often a thread, given by its folder in /proc, has gone to sleep.
pub(super) fn switches_of(task: &Path) -> u32 {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// The folders of its threads in /proc.
pub(super) fn tasks(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    entries.map(|entry| entry.path()).collect()
}

fn children(pid: u32) -> String {
    let lists = tasks(pid)
        .into_iter()
        .filter_map(|task| fs::read_to_string(task.join("children")).ok());
    lists.collect()
}

fn is_alive(pid: u32) -> bool {
    stayd::sys::process::stat(pid.cast_signed())
        .is_ok_and(|stat| stat.state != stayd::sys::process::State::Zombie)
}

/// Signals the process that has this pid now, and no later one.
pub(super) fn signal(pid: u32, signal: i32) -> std::io::Result<()> {
    let stat = stayd::sys::process::stat(pid.cast_signed())?;
    stayd::sys::process::Handle::open(stat.process)?.signal(signal)
}

pub(super) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
