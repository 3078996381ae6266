//! A service that misbehaves on request. It does what its arguments say, in order:
//!
//! | argument | does |
//! |---|---|
//! | `ignore-term` | ignores SIGTERM |
//! | `log-signals FILE` | writes the number of each signal that it gets to FILE, one per line, and survives the signal |
//! | `wait-for-eof` | waits until stdin is closed |
//! | `say TEXT` | writes one line to stdout |
//! | `write-lines N` | writes N lines to stdout |
//! | `setsid ARGUMENTS` | a child in a session of its own goes on with the rest; this process sleeps |
//! | `double-fork ARGUMENTS` | the same, but this process exits, so that the child is an orphan |
//! | `fork-chain N` | N times a child goes on and its parent exits at once; the first child is in a session of its own |
//! | `detect-copies FILE` | writes the line `started` to FILE, after the line `second copy` if another process tree holds FILE's lock; the whole tree holds the lock |
//! | `sleep-ms N` | sleeps N milliseconds |
//! | `children N` | forks N children that sleep |
//! | `bomb` | all its processes fork without end, each child in a session of its own, until the system refuses |
//! | `restless` | forks a child in a new session and exits; each child does the same, without end |
//! | `close-fds` | closes every descriptor |
//! | `serve PORT` | answers HTTP on 127.0.0.1:PORT; after `GET /wedge` it still accepts, and never answers again |
//! | `serve-query PORT` | answers HTTP; after `GET /wedge` it answers `GET /health` and everything else, but never `GET /query` |
//! | `serve-held` | answers HTTP with its pid on each socket of LISTEN_FDS; it never answers `GET /wedge`, and shuts the socket down after `GET /shutdown` |
//! | `spin` | uses CPU without end |
//! | `sleep` | sleeps without end |
//! | `exit CODE` | exits |
#![allow(
    unsafe_code,
    reason = "fork(2) without exec, as a misbehaving service does it"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "it does what a service must not do"
)]
#![allow(clippy::print_stdout, reason = "stdout is its output")]

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{ForkResult, fork, pause, setsid};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// A process that forks without end exits after this time, in case its test ends before it kills the process.
const FORK_FOR_MAX: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    run(&words);
}

fn run(words: &[String]) {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut argument = || words.next().expect("an argument");
        match word {
            "ignore-term" => ignore_term(),
            "log-signals" => log_signals(argument()),
            "wait-for-eof" => drop(std::io::stdin().read_to_end(&mut Vec::new())),
            "say" => println!("{}", argument()),
            "write-lines" => write_lines(number(argument())),
            "setsid" => go_on_in_child(false),
            "double-fork" => go_on_in_child(true),
            "fork-chain" => fork_chain(number(argument())),
            "detect-copies" => detect_copies(argument()),
            "sleep-ms" => std::thread::sleep(Duration::from_millis(number(argument()) as u64)),
            "children" => (0..number(argument())).for_each(|_| in_child(sleep)),
            "bomb" => bomb(),
            "restless" => restless(),
            "close-fds" => close_descriptors(),
            "serve" => serve(u16::try_from(number(argument())).expect("a port")),
            "serve-query" => serve_query(u16::try_from(number(argument())).expect("a port")),
            "serve-held" => serve_held(),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "sleep" => sleep(),
            "exit" => std::process::exit(i32::try_from(number(argument())).expect("a code")),
            other => panic!("unknown argument {other}"),
        }
    }
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

fn ignore_term() {
    // SAFETY: installs no handler of ours.
    unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) }.expect("sigaction");
}

/// SIGKILL and SIGSTOP cannot be blocked.
fn log_signals(file: &str) {
    let all = SigSet::all();
    all.thread_block().expect("sigprocmask");
    let mut log = std::fs::File::create(file).expect("a file");
    std::thread::spawn(move || {
        while let Ok(signal) = all.wait() {
            writeln!(log, "{}", signal as i32).expect("written");
        }
    });
}

fn write_lines(lines: usize) {
    let mut out = std::io::stdout().lock();
    for line in 0..lines {
        writeln!(out, "line {line}").expect("stdout");
    }
}

/// Runs `body` in a forked child, which exits afterwards.
fn in_child(body: impl FnOnce()) {
    // SAFETY: this program has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            body();
            std::process::exit(0);
        }
        Ok(ForkResult::Parent { .. }) | Err(_) => {}
    }
}

/// A child in a session of its own goes on with the arguments. This process sleeps, or exits so that the child is an orphan.
fn go_on_in_child(orphan: bool) {
    // SAFETY: this program has one thread.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            setsid().expect("setsid");
        }
        ForkResult::Parent { .. } if orphan => std::process::exit(0),
        ForkResult::Parent { .. } => sleep(),
    }
}

fn fork_chain(length: usize) {
    for nth in 0..length {
        // SAFETY: this program has one thread.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child if nth == 0 => drop(setsid().expect("setsid")),
            ForkResult::Child => {}
            // SAFETY: there is nothing to clean up; `exit` would run handlers and take longer.
            ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        }
    }
}

/// The descriptor is leaked: the lock is held as long as any process of the tree has it open.
fn detect_copies(path: &str) {
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .expect("a file");
    if file.try_lock().is_err() {
        file.write_all(b"second copy\n").expect("written");
    }
    file.write_all(b"started\n").expect("written");
    std::mem::forget(file);
}

/// The limit of processes bounds it, and [`FORK_FOR_MAX`].
fn bomb() {
    let start = Instant::now();
    while start.elapsed() < FORK_FOR_MAX {
        // SAFETY: this program has one thread.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let _ = setsid();
            }
            Ok(ForkResult::Parent { .. }) => {}
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// No process runs for long: a killer that lists pids first and kills them afterwards misses the last one.
fn restless() {
    let start = Instant::now();
    while start.elapsed() < FORK_FOR_MAX {
        // SAFETY: this program has one thread.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let _ = setsid();
            }
            Ok(ForkResult::Parent { .. }) => std::process::exit(0),
            Err(_) => std::thread::yield_now(),
        }
    }
}

fn close_descriptors() {
    for fd in 0..1024 {
        let _ = nix::unistd::close(fd);
    }
}

fn sleep() {
    loop {
        pause();
    }
}

fn serve(port: u16) {
    let socket = TcpListener::bind(("127.0.0.1", port)).expect("bind");
    println!("listening on {port}");
    let mut silent = Vec::new();
    for stream in socket.incoming().flatten() {
        if !silent.is_empty() {
            silent.push(stream); // accepted, kept open, never answered
        } else if let Some(stream) = answer(stream) {
            silent.push(stream);
        }
    }
}

/// It listens and reports good health while its query hangs, as a server with a stuck database does.
fn serve_query(port: u16) {
    let socket = TcpListener::bind(("127.0.0.1", port)).expect("bind");
    println!("listening on {port}");
    let wedged = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for mut stream in socket.incoming().flatten() {
        let wedged = std::sync::Arc::clone(&wedged);
        std::thread::spawn(move || {
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap_or(0);
            let request = &request[..count];
            if request.starts_with(b"GET /wedge") {
                wedged.store(true, std::sync::atomic::Ordering::SeqCst);
            } else if request.starts_with(b"GET /query")
                && wedged.load(std::sync::atomic::Ordering::SeqCst)
            {
                std::thread::park();
            }
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        });
    }
}

/// What systemd's sd_listen_fds(3) does, without unsetting anything.
fn serve_held() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    assert_eq!(variable("LISTEN_PID"), std::process::id().to_string());
    let count: i32 = variable("LISTEN_FDS").parse().expect("a number");
    let names = variable("LISTEN_FDNAMES");
    println!("{count} sockets: {names}");
    assert_eq!(names.split(':').count(), number(&count.to_string()));
    for fd in 3..3 + count {
        std::thread::spawn(move || answer_held(fd));
    }
    sleep();
}

fn answer_held(listener: i32) {
    use nix::sys::socket::{Shutdown, accept, shutdown};
    // accept(2) fails once the socket is shut down
    while let Ok(connection) = accept(listener) {
        // SAFETY: accept(2) has just made it, and nothing else owns it.
        let mut connection = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(connection) });
        let mut request = [0; 1024];
        let count = connection.read(&mut request).unwrap_or(0);
        if request[..count].starts_with(b"GET /wedge") {
            std::mem::forget(connection);
            continue;
        }
        if request[..count].starts_with(b"GET /shutdown") {
            shutdown(listener, Shutdown::Both).expect("shutdown");
        }
        let pid = std::process::id().to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            pid.len()
        );
        let _ = connection.write_all((head + &pid).as_bytes());
    }
}

/// Answers one request. Returns the connection unanswered if the request is `GET /wedge`.
fn answer(mut stream: TcpStream) -> Option<TcpStream> {
    let mut request = [0; 1024];
    let count = stream.read(&mut request).unwrap_or(0);
    if request[..count].starts_with(b"GET /wedge") {
        return Some(stream);
    }
    let _ =
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    None
}
