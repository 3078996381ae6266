//! Measures what captured output costs, beside `cat >> file`, s6-log and svlogd in the same run: `make bench`.
//!
//! The same writer feeds each logger through a pipe, in writes of one line and of a page. The throughput counts from the
//! first write to the last byte in a file. The CPU time is the logger's alone, from the scheduler's statistics.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of one run: a whole number of lines with each size of a write, because some loggers wait for the end of a line.
const RUN_BYTES: u64 = 80 * 4096 * 800;
/// The sizes of one write, in bytes.
const WRITES: [u64; 2] = [80, 4096];
/// How many runs each logger makes, one logger after the other; their median is reported.
const RUNS: usize = 3;
/// All loggers but `cat` rotate a file at about this size, and keep every file.
const FILE_BYTES: u64 = 16_777_215;
/// A generous deadline for one run.
const SOON: Duration = Duration::from_secs(60);
/// How often the size of the written files is read.
const POLL_EVERY: Duration = Duration::from_millis(2);
/// stayd has to reach at least this share of the throughput of `cat >> file`.
const SHARE_MIN: f64 = 0.5;

/// Opens a FIFO (argv 1), which blocks until the benchmark opens its other end. Then it writes argv 3 bytes in lines of
/// 80 bytes, argv 2 bytes per write.
const WRITER: &str = r#"#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char text[4096];
    long size = atol(argv[2]), rest = atol(argv[3]);
    for (long at = 0; at < size; at++) text[at] = at % 80 == 79 ? '\n' : 'x';
    text[size - 1] = '\n';
    if (open(argv[1], O_RDONLY) < 0) return 1;
    for (long done; rest > 0; rest -= done)
        if ((done = write(1, text, rest < size ? rest : size)) < 0) return 1;
    for (;;) pause();
}
"#;

fn main() {
    // `cargo bench` passes --bench. `cargo test --benches` does not, and then nothing is measured.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let writer = writer(dir.path());
    let loggers: Vec<Logger> = Logger::ALL
        .into_iter()
        .filter(|logger| logger.is_installed())
        .collect();
    for write_bytes in WRITES {
        let mut costs = vec![Vec::new(); loggers.len()];
        for _ in 0..RUNS {
            for (logger, costs) in loggers.iter().zip(&mut costs) {
                costs.push(logger.measure(dir.path(), &writer, write_bytes));
            }
        }
        let medians: Vec<Cost> = costs.into_iter().map(median).collect();
        report(write_bytes, &loggers, &medians);
    }
}

fn report(write_bytes: u64, loggers: &[Logger], costs: &[Cost]) {
    println!("{write_bytes} bytes per write, median of {RUNS}:");
    let cat = costs[0].bytes_per_second;
    for (logger, cost) in loggers.iter().zip(costs) {
        println!(
            "  {:<12} {:>6.0} MB/s, {:.2} of cat, {:>5.2} CPU s/GB",
            logger.name(),
            cost.bytes_per_second / 1e6,
            cost.bytes_per_second / cat,
            cost.cpu_seconds_per_gb
        );
    }
    let (stayd, others) = (costs[1], &costs[2..]);
    let least = others
        .iter()
        .map(|cost| cost.cpu_seconds_per_gb)
        .reduce(f64::min);
    let cpu = least.map_or("nothing to compare its CPU with".to_owned(), |least| {
        let ratio = stayd.cpu_seconds_per_gb / least;
        format!("{ratio:.2} of the CPU of the cheaper of the others (at most 1)")
    });
    println!(
        "  stayd: {:.2} of cat's throughput (at least {SHARE_MIN}); {cpu}",
        stayd.bytes_per_second / cat
    );
}

/// The result of a run.
#[derive(Clone, Copy, Debug)]
struct Cost {
    bytes_per_second: f64,
    cpu_seconds_per_gb: f64,
}

fn median(mut costs: Vec<Cost>) -> Cost {
    let middle = costs.len() / 2;
    let mut cpu: Vec<f64> = costs.iter().map(|cost| cost.cpu_seconds_per_gb).collect();
    cpu.sort_by(f64::total_cmp);
    costs.sort_by(|one, other| one.bytes_per_second.total_cmp(&other.bytes_per_second));
    Cost {
        bytes_per_second: costs[middle].bytes_per_second,
        cpu_seconds_per_gb: cpu[middle],
    }
}

/// A program that writes output into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logger {
    Cat,
    Stayd,
    S6Log,
    Svlogd,
}

impl Logger {
    /// `cat` and stayd come first, because [`report`] compares the others with them.
    const ALL: [Self; 4] = [Self::Cat, Self::Stayd, Self::S6Log, Self::Svlogd];

    fn name(self) -> &'static str {
        match self {
            Self::Cat => "cat >> file",
            Self::Stayd => "stayd",
            Self::S6Log => "s6-log",
            Self::Svlogd => "svlogd",
        }
    }

    /// Whether it can be run here. Prints the Debian package of a missing one.
    fn is_installed(self) -> bool {
        let package = match self {
            Self::Cat | Self::Stayd => return true,
            Self::S6Log => "s6",
            Self::Svlogd => "runit",
        };
        let found = ["/usr/bin", "/bin", "/usr/local/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(self.name()).exists());
        if !found {
            println!("skipped: {} (Debian's package {package})", self.name());
        }
        found
    }

    /// Makes one run in a folder of its own, which is removed afterwards.
    fn measure(self, dir: &Path, writer: &Path, write_bytes: u64) -> Cost {
        let dir = dir.join("run");
        let logs = dir.join("state/logs/s");
        fs::create_dir_all(&logs).expect("a folder");
        fs::set_permissions(dir.join("state"), private()).expect("a private folder");
        let gate = dir.join("gate");
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        let words = [
            writer.display().to_string(),
            gate.display().to_string(),
            write_bytes.to_string(),
            RUN_BYTES.to_string(),
        ];
        let running = match self {
            Self::Stayd => Running::supervise(&dir, &words),
            logger => Running::pipe(&logger.command(&logs), &words),
        };
        let cost = running.cost(&gate, &logs);
        drop(running);
        fs::remove_dir_all(&dir).expect("removed");
        cost
    }

    fn command(self, logs: &Path) -> Vec<String> {
        let logs = logs.display();
        let words = match self {
            Self::Cat => vec!["sh", "-c", "exec cat >> \"$0/current\""],
            Self::S6Log => vec!["s6-log", "n1000", "s16777215"],
            Self::Svlogd => {
                let config = format!("s{FILE_BYTES}\nn0\n");
                fs::write(format!("{logs}/config"), config).expect("a configuration");
                vec!["svlogd"]
            }
            Self::Stayd => Vec::new(),
        };
        let words = words.into_iter().map(str::to_owned);
        words.chain([logs.to_string()]).collect()
    }
}

/// A writer that waits for its FIFO to be opened, and the logger of its output.
#[derive(Debug)]
struct Running {
    logger: Child,
    writer: Option<Child>,
}

impl Running {
    /// Starts stayd with the writer as its service.
    fn supervise(dir: &Path, words: &[String]) -> Self {
        let config = format!(
            "[service.s]\ncommand = {words:?}\nlog = {{ to = \"file\", max_size = \"{FILE_BYTES}B\", keep = 1000 }}\n"
        );
        let file = dir.join("stayd.toml");
        fs::write(&file, config).expect("a configuration");
        let log = fs::File::create(dir.join("log")).expect("a file");
        let logger = Command::new(env!("CARGO_BIN_EXE_stayd"))
            .args(["--foreground", "-c"])
            .arg(&file)
            .arg("--state-dir")
            .arg(dir.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("stayd");
        Self {
            logger,
            writer: None,
        }
    }

    /// Starts another logger with the writer's stdout as its stdin.
    fn pipe(logger: &[String], words: &[String]) -> Self {
        let mut logger = Command::new(&logger[0])
            .args(&logger[1..])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the logger");
        let writer = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(logger.stdin.take().expect("a pipe"))
            .spawn()
            .expect("the writer");
        Self {
            logger,
            writer: Some(writer),
        }
    }

    /// Lets the writer write, and waits until all of it is in `logs`.
    fn cost(&self, gate: &Path, logs: &Path) -> Cost {
        // The open blocks until the writer has opened the other end, and then both go on.
        let _open = fs::OpenOptions::new()
            .write(true)
            .open(gate)
            .expect("the writer opens the FIFO");
        let cpu_before = cpu(self.logger.id());
        let started = Instant::now();
        while logged_bytes(logs) < RUN_BYTES {
            assert!(started.elapsed() < SOON, "not within {SOON:?}: {self:?}");
            std::thread::sleep(POLL_EVERY);
        }
        let (took, cpu_after) = (started.elapsed(), cpu(self.logger.id()));
        let bytes = f64::from(u32::try_from(RUN_BYTES).expect("less than 4 GiB"));
        Cost {
            bytes_per_second: bytes / took.as_secs_f64(),
            cpu_seconds_per_gb: (cpu_after - cpu_before).as_secs_f64() / (bytes / 1e9),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.writer {
            let _ = writer.kill();
            let _ = writer.wait();
        }
        // On SIGTERM stayd ends its service, the writer. The other loggers end at the end of their input.
        if let Ok(stat) = stayd::sys::process::stat(self.logger.id().cast_signed()) {
            let _ = stayd::sys::process::Handle::open(stat.process)
                .and_then(|handle| handle.signal(libc::SIGTERM));
        }
        let _ = self.logger.wait();
    }
}

/// CPU time of all threads, from the scheduler's statistics (`/proc/PID/task/TID/schedstat`).
fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Bytes in the log files of any of the loggers. Their files have different names; a logger's other files are smaller
/// than a line.
fn logged_bytes(logs: &Path) -> u64 {
    let entries = fs::read_dir(logs).expect("a folder").flatten();
    let logged = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("current") || name.starts_with('@')
    });
    // A file may have been renamed by a rotation since it was listed; then the next call sees all of them.
    logged
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

fn private() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o700)
}

fn writer(dir: &Path) -> PathBuf {
    let source = dir.join("writer.c");
    let program = dir.join("writer");
    fs::write(&source, WRITER).expect("a source");
    let built = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    assert!(built.expect("cc").success(), "cc cannot build the writer");
    program
}
