//! Measures the time from SIGKILL of the service to the exec of the next instance, against a bare loop of kill, reap,
//! fork and exec.

use super::watched::{SOON, Stayd, signal, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many kills are timed of each kind; their median is reported.
const KILLS: usize = 200;

/// Measures both and prints the ratio.
pub(super) fn respawn() {
    let dir = tempfile::tempdir().expect("a folder");
    let stamps = dir.path().join("stamps");
    fs::write(&stamps, "").expect("stamps");
    let program = stamper(dir.path(), &stamps);
    let bare = bare_loop(&program, &stamps);
    let config = format!(
        "[service.s]\ncommand = [\"{}\"]\nbackoff = {{ min = \"0ms\" }}\ngive_up = {{ exits = 1000, within = \"1s\" }}\n\
         log = {{ to = \"file\" }}\n",
        program.display()
    );
    let after_bare_loop = stamped_bytes(&stamps);
    let stayd = Stayd::start(dir.path(), &config);
    // stayd has a child before that child has written its stamp.
    let is_stamped = || stamped_bytes(&stamps) > after_bare_loop;
    wait_for("the first stamp under stayd", is_stamped);
    let supervised: Vec<Duration> = (0..KILLS)
        .map(|_| kill_and_time(&stamps, last_pid(&stamps)))
        .collect();
    drop(stayd);
    let (bare, supervised) = (median(bare), median(supervised));
    println!(
        "respawn after SIGKILL, median of {KILLS}: {:.2} ms; a bare loop of kill, reap, fork, exec: {:.2} ms; ratio {:.2} (at most 2)",
        millis(supervised),
        millis(bare),
        supervised.as_secs_f64() / bare.as_secs_f64()
    );
}

/// Builds a program that appends its pid to the file `stamps`, two system calls after exec, and then sleeps.
fn stamper(dir: &Path, stamps: &Path) -> PathBuf {
    let source = dir.join("stamper.c");
    let program = dir.join("stamper");
    let text = format!(
        "#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\nint main(void) {{ char line[32]; \
         int fd = open(\"{}\", O_WRONLY | O_APPEND); int n = sprintf(line, \"%d\\n\", getpid()); \
         if (write(fd, line, n) != n) return 1; for (;;) pause(); }}\n",
        stamps.display()
    );
    fs::write(&source, text).expect("a source");
    let built = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    assert!(built.expect("cc").success(), "cc cannot build the stamper");
    program
}

/// Kills and starts the program without any supervisor; returns how long each took until the next stamp.
fn bare_loop(program: &Path, stamps: &Path) -> Vec<Duration> {
    let mut child = Command::new(program)
        .stdin(Stdio::null())
        .spawn()
        .expect("the stamper");
    let mut times = Vec::new();
    for _ in 0..KILLS {
        wait_for("the bare stamp", || last_pid(stamps) == child.id());
        let before = stamped_bytes(stamps);
        let started = Instant::now();
        kill(child.id());
        child.wait().expect("reaped");
        child = Command::new(program)
            .stdin(Stdio::null())
            .spawn()
            .expect("the stamper");
        wait_busily(|| stamped_bytes(stamps) > before);
        times.push(started.elapsed());
    }
    kill(child.id());
    child.wait().expect("reaped");
    times
}

fn kill_and_time(stamps: &Path, pid: u32) -> Duration {
    let before = stamped_bytes(stamps);
    let started = Instant::now();
    kill(pid);
    wait_busily(|| stamped_bytes(stamps) > before);
    started.elapsed()
}

fn stamped_bytes(stamps: &Path) -> u64 {
    fs::metadata(stamps).map_or(0, |meta| meta.len())
}

fn last_pid(stamps: &Path) -> u32 {
    let text = fs::read_to_string(stamps).unwrap_or_default();
    text.lines()
        .last()
        .and_then(|line| line.parse().ok())
        .unwrap_or(0)
}

fn kill(pid: u32) {
    signal(pid, libc::SIGKILL).expect("kill");
}

/// Waits for the condition without sleeping, because the sleep would be part of what is measured.
fn wait_busily(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < end, "not within {SOON:?}");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
