//! Measures what stayd costs in memory, wake-ups, CPU and respawn time on the release build: `make bench`.
//!
//! Each figure is a ratio to something measured in the same run, or a count of the kernel, because machines are noisy.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../../tests/support/mod.rs"]
#[allow(
    unused_imports,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "it belongs to the tests, and a benchmark uses a part of it"
)]
mod support;

mod respawn;
mod watched;

use stayd::config::{Endpoint, Target};
use stayd::decide::event::Answer;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;
use support::postgres::{PASSWORD, Postgres};
use support::probing;
use watched::{Stayd, switches_of, tasks};

/// How long an idle or probing stayd is measured.
const MEASURED: Duration = Duration::from_secs(10);
/// After this time stayd has done what it does once after its start, such as giving pages back.
const SETTLED: Duration = Duration::from_secs(5);
/// The measurements by name; `cargo bench --bench costs -- respawn` makes only one of them.
const MEASUREMENTS: [(&str, fn()); 4] = [
    ("respawn", respawn::respawn),
    ("probes", memory_and_probes),
    ("idle", idle),
    ("growth", growth),
];

fn main() {
    // `cargo bench` passes --bench. `cargo test --benches` does not, and then nothing is measured.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    sync_program();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |name: &str| arguments.iter().any(|word| word == name);
    let all = MEASUREMENTS.iter().all(|(name, _)| !is_named(name));
    for (name, measure) in MEASUREMENTS {
        if all || is_named(name) {
            measure();
        }
    }
}

/// Writes the program to the disk. While a program that was just built is only in the page cache, the kernel counts its
/// pages as dirty memory of the process.
fn sync_program() {
    let program = fs::File::open(env!("CARGO_BIN_EXE_stayd")).expect("the program");
    program.sync_all().expect("fsync");
}

/// Measures one service with one probe: its memory, and the cost of an attempt on a new and on a kept connection.
fn memory_and_probes() {
    let web = HttpServer::start();
    let url = format!("http://127.0.0.1:{}/", web.port);
    probe("HTTP, a new connection each time", &url, 4.0);
    let postgres = Postgres::start();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
    // 2 for the question on the kept connection, and up to 3 for the login of each sixth attempt.
    let what = "PostgreSQL, a kept connection, and a login with each sixth attempt";
    probe(what, &url, 2.5);
    login(&postgres, "trust", "postgres");
    login(&postgres, "SCRAM", "app");
}

/// Measures what a login adds to an attempt: the first attempt of a probe logs in, the later ones use its connection.
fn login(postgres: &Postgres, how: &str, user: &str) {
    const ROUNDS: u32 = 50;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let probe = probing::probe(Target::Postgres {
        at: Endpoint::Tcp("127.0.0.1".into(), postgres.port()),
        user: user.into(),
        password: Some(PASSWORD.into()),
        database: "postgres".into(),
    });
    let costs = runtime.expect("a runtime").block_on(async {
        let mut costs = [Cost::default(), Cost::default()];
        for _ in 0..ROUNDS {
            let mut prober = probing::prober(&probe);
            for cost in &mut costs {
                let before = Cost::so_far();
                assert_eq!(prober.ask(probing::LONG).await, Answer::Alive);
                *cost = cost.plus(Cost::so_far().minus(before));
            }
        }
        costs
    });
    let added = costs[0].minus(costs[1]);
    println!(
        "  a login ({how}) adds {:.1} context switches and {:.0} µs CPU",
        f64::from(added.switches) / f64::from(ROUNDS),
        added.cpu.as_secs_f64() * 1e6 / f64::from(ROUNDS)
    );
}

/// What this thread has used.
#[derive(Clone, Copy, Default)]
struct Cost {
    switches: u32,
    cpu: Duration,
}

impl Cost {
    fn so_far() -> Self {
        let cpu = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
        Self {
            switches: switches_of(Path::new("/proc/thread-self")),
            cpu: cpu.expect("a clock").into(),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            switches: self.switches + other.switches,
            cpu: self.cpu + other.cpu,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            switches: self.switches.saturating_sub(other.switches),
            cpu: self.cpu.saturating_sub(other.cpu),
        }
    }
}

fn probe(what: &str, url: &str, switches_max: f64) {
    let dir = tempfile::tempdir().expect("a folder");
    let interval = Duration::from_millis(100);
    let config = format!(
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nport_owner = \"any\"\n[service.s.watchdog]\nprobe = \
         \"{url}\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\n",
    );
    let stayd = Stayd::start(dir.path(), &config);
    // A time is what is measured here: counts of the kernel over MEASURED, after the start is over.
    std::thread::sleep(SETTLED);
    let (before, cpu_before) = (stayd.switches(), stayd.cpu());
    std::thread::sleep(MEASURED);
    let attempts = MEASURED.as_secs_f64() / interval.as_secs_f64();
    println!(
        "{what}: {:.2} context switches per attempt (at most {switches_max}), {:.0} µs CPU",
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

/// Measures how often a stayd without a probe wakes up.
fn idle() {
    let dir = tempfile::tempdir().expect("a folder");
    let stayd = Stayd::start(
        dir.path(),
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n",
    );
    // A time is what is measured here, as in `probe`.
    std::thread::sleep(SETTLED);
    let before = stayd.switches();
    std::thread::sleep(MEASURED);
    println!(
        "idle without a probe: {} wake-ups in {} s (must be 0)",
        stayd.switches().since(&before),
        MEASURED.as_secs()
    );
}

/// Measures how memory and wake-ups grow with the number of services.
fn growth() {
    for count in [1, 10, 100] {
        let server = HttpServer::start();
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
        // A time is what is measured here, as in `probe`.
        std::thread::sleep(SETTLED);
        let (before, cpu_before) = (stayd.switches(), stayd.cpu());
        std::thread::sleep(MEASURED);
        let seconds = MEASURED.as_secs_f64();
        println!(
            "{count:>3} services, one attempt per second each: private dirty {} KiB, PSS {} KiB, {:.1} switches/s, {:.2} ms CPU/s",
            stayd.memory("Private_Dirty"),
            stayd.memory("Pss"),
            f64::from(stayd.switches().since(&before)) / seconds,
            (stayd.cpu() - cpu_before).as_secs_f64() * 1e3 / seconds
        );
    }
}

/// An HTTP server on a thread of the benchmark, so that it is no process of stayd.
struct HttpServer {
    port: u16,
}

impl HttpServer {
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

/// Answers one request, which is small enough to arrive in one piece.
fn answer(mut stream: &TcpStream) {
    // The client may have closed the connection already: then neither call matters.
    let _ = stream.read(&mut [0; 1024]);
    let _ =
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}
