//! What stayd costs, measured on the release program: `make bench`.
//!
//! Figures are ratios against something measured in the same run, or counts of the kernel's: machines are noisy.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/mod.rs"]
#[allow(
    unused_imports,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests' own, and a benchmark needs a part of them"
)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::postgres::Postgres;

/// Kills of one kind; their median counts.
const KILLS: usize = 200;
/// How long an idle or probing stayd is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// After this a started stayd has done what it does once.
const SETTLED: Duration = Duration::from_secs(5);
/// What takes a moment, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn main() {
    // `cargo bench` passes --bench, `cargo test --benches` does not: then nothing is measured.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    settle_the_program();
    respawn();
    memory_and_probes();
    idle();
    growth();
}

/// A program just built is in memory only, and the kernel counts the pages of such a file as dirty: write it out.
fn settle_the_program() {
    let program = fs::File::open(env!("CARGO_BIN_EXE_stayd")).expect("the program");
    program.sync_all().expect("a disk");
}

/// From SIGKILL of the service to the exec of the next life, against a bare loop of kill, reap, fork and exec.
fn respawn() {
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
    let by_the_bare_loop = stamped_bytes(&stamps);
    let stayd = Stayd::start(dir.path(), &config);
    // That it has a child does not mean yet that the child has come to its stamp.
    let is_stamped = || stamped_bytes(&stamps) > by_the_bare_loop;
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

/// A program that writes its pid as the first thing it does, then sleeps: two system calls after exec.
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
    assert!(built.expect("cc").success(), "the stamper builds");
    program
}

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

/// One service under one probe: memory, and what a probe costs on a new connection and on a kept one.
fn memory_and_probes() {
    let web = Answering::start();
    let url = format!("http://127.0.0.1:{}/", web.port);
    probe("HTTP, a new connection each time", &url, 4);
    let postgres = Postgres::start();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
    probe("PostgreSQL, a kept connection", &url, 2);
}

fn probe(what: &str, url: &str, switches_max: u32) {
    let dir = tempfile::tempdir().expect("a folder");
    let interval = Duration::from_millis(100);
    let config = format!(
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nport_owner = \"any\"\n[service.s.watchdog]\nprobe = \
         \"{url}\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\n",
    );
    let stayd = Stayd::start(dir.path(), &config);
    std::thread::sleep(SETTLED);
    let (before, cpu_before) = (stayd.switches(), stayd.cpu());
    std::thread::sleep(WATCHED);
    let rounds = WATCHED.as_secs_f64() / interval.as_secs_f64();
    println!(
        "{what}: {:.1} context switches a probe (at most {switches_max}), {:.0} µs CPU",
        f64::from(stayd.switches().since(&before)) / rounds,
        (stayd.cpu() - cpu_before).as_secs_f64() * 1e6 / rounds
    );
    println!(
        "  one service, one probe: private dirty {} KiB (at most 1536), PSS {} KiB (at most 5120), {} threads",
        stayd.memory("Private_Dirty"),
        stayd.memory("Pss"),
        tasks(stayd.0.id()).len()
    );
}

/// Without a probe nothing wakes.
fn idle() {
    let dir = tempfile::tempdir().expect("a folder");
    let stayd = Stayd::start(
        dir.path(),
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n",
    );
    std::thread::sleep(SETTLED);
    let before = stayd.switches();
    std::thread::sleep(WATCHED);
    println!(
        "idle without a probe: {} wake-ups in {} s (must be 0)",
        stayd.switches().since(&before),
        WATCHED.as_secs()
    );
}

/// How memory and wake-ups grow.
fn growth() {
    for count in [1, 10, 100] {
        let server = Answering::start();
        let dir = tempfile::tempdir().expect("a folder");
        let config: String = (0..count)
            .map(|index| {
                format!(
                    "[service.s{index}]\ncommand = [\"sleep\", \"1000000\"]\nport_owner = \"any\"\n[service.s{index}.watchdog]\n\
                     probe = \"http://127.0.0.1:{}/\"\ninterval = \"1s\"\ntimeout = \"1s\"\n",
                    server.port
                )
            })
            .collect();
        let stayd = Stayd::start(dir.path(), &config);
        std::thread::sleep(SETTLED);
        let (before, cpu_before) = (stayd.switches(), stayd.cpu());
        std::thread::sleep(WATCHED);
        let seconds = WATCHED.as_secs_f64();
        println!(
            "{count:>3} services, a probe a second each: private dirty {} KiB, PSS {} KiB, {:.1} switches/s, {:.2} ms CPU/s",
            stayd.memory("Private_Dirty"),
            stayd.memory("Pss"),
            f64::from(stayd.switches().since(&before)) / seconds,
            (stayd.cpu() - cpu_before).as_secs_f64() * 1e3 / seconds
        );
    }
}

/// A stayd of the release build.
struct Stayd(Child);

impl Stayd {
    fn start(dir: &Path, config: &str) -> Self {
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

    /// Times that a thread went to sleep: what a wake-up costs; being preempted is the machine's doing.
    fn switches(&self) -> Switches {
        let tasks = tasks(self.0.id()).into_iter();
        Switches(
            tasks
                .map(|task| (task.clone(), switches_of(&task)))
                .collect(),
        )
    }

    /// CPU time of all threads, from the scheduler, in nanoseconds.
    fn cpu(&self) -> Duration {
        let nanos = tasks(self.0.id()).into_iter().filter_map(|task| {
            let text = fs::read_to_string(task.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    fn memory(&self, key: &str) -> u64 {
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

/// Each thread's count.
struct Switches(BTreeMap<PathBuf, u32>);

impl Switches {
    /// A thread that has ended since then was woken for it.
    fn since(&self, before: &Self) -> u32 {
        let ended = before.0.keys().filter(|task| !self.0.contains_key(*task));
        let slept = |(task, count): (&PathBuf, &u32)| count - before.0.get(task).unwrap_or(&0);
        self.0.iter().map(slept).sum::<u32>() + u32::try_from(ended.count()).expect("few threads")
    }
}

fn switches_of(task: &Path) -> u32 {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// An HTTP server on a thread of the benchmark's own.
struct Answering {
    port: u16,
}

impl Answering {
    fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                answer(&stream);
            }
        });
        Self { port }
    }
}

/// Answers one request, which is small enough to come in one piece. Whoever asked may have gone.
fn answer(mut stream: &TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ =
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}

fn tasks(pid: u32) -> Vec<PathBuf> {
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

fn kill(pid: u32) {
    signal(pid, libc::SIGKILL).expect("kill");
}

fn signal(pid: u32, signal: i32) -> std::io::Result<()> {
    let living = stayd::sys::process::stat(pid.cast_signed())?;
    stayd::sys::process::Handle::open(living.process)?.signal(signal)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Looks without sleeping, because a sleep would be measured.
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
