//! What stayd costs, measured on the release program: `make bench`.
//!
//! Figures are ratios against something measured in the same run, or counts of the kernel's: machines are noisy.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../../tests/support/mod.rs"]
#[allow(
    unused_imports,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests' own, and a benchmark needs a part of them"
)]
mod support;

mod respawn;
mod watched;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use support::postgres::Postgres;
use watched::{Stayd, tasks};

/// How long an idle or probing stayd is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// After this a started stayd has done what it does once.
const SETTLED: Duration = Duration::from_secs(5);
/// What can be measured, by the word that asks for it alone: `cargo bench --bench costs -- respawn`.
const FIGURES: [(&str, fn()); 4] = [
    ("respawn", respawn::respawn),
    ("probes", memory_and_probes),
    ("idle", idle),
    ("growth", growth),
];

fn main() {
    // `cargo bench` passes --bench, `cargo test --benches` does not: then nothing is measured.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    settle_the_program();
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| asked.iter().any(|word| word == name);
    let all = FIGURES.iter().all(|(name, _)| !named(name));
    for (name, measure) in FIGURES {
        if all || named(name) {
            measure();
        }
    }
}

/// A program just built is in memory only, and the kernel counts the pages of such a file as dirty: write it out.
fn settle_the_program() {
    let program = fs::File::open(env!("CARGO_BIN_EXE_stayd")).expect("the program");
    program.sync_all().expect("a disk");
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
    let attempts = WATCHED.as_secs_f64() / interval.as_secs_f64();
    println!(
        "{what}: {:.2} context switches a probe (at most {switches_max}), {:.0} µs CPU",
        f64::from(stayd.switches().since(&before)) / attempts,
        (stayd.cpu() - cpu_before).as_secs_f64() * 1e6 / attempts
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
