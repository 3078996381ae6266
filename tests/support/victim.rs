//! A service that misbehaves on request. Its words, in order:
//!
//! | word | does |
//! |---|---|
//! | `ignore-term` | ignores SIGTERM |
//! | `heed FILE` | writes the number of each signal that it gets into FILE, a line each, and does not end by it |
//! | `gate` | waits until stdin is closed |
//! | `say TEXT` | one line on stdout |
//! | `flood LINES` | that many lines on stdout |
//! | `setsid WORDS` | a child in a session of its own goes on with the rest |
//! | `double-fork WORDS` | a grandchild in a session of its own, its parent dead, goes on with the rest |
//! | `hop N` | N times a child goes on with the rest and its parent dies at once; the first is in a session of its own |
//! | `only FILE` | a line in FILE; a line `second copy` too, if one that has written one before, or what it has started, is there still |
//! | `linger MILLIS` | sleeps for so long |
//! | `children N` | N children that sleep |
//! | `bomb` | for ever: all that there are fork, each in a session of its own, until the system refuses |
//! | `restless` | for ever: a new child in a new session, and its parent dies |
//! | `close-fds` | closes every descriptor |
//! | `serve PORT` | answers HTTP on 127.0.0.1:PORT; `GET /wedge` makes it silent for ever, its port open |
//! | `clinic PORT` | `GET /health` is always 200; `GET /query` answers until `GET /wedge`, then never again |
//! | `serve-held` | answers HTTP with its pid on each socket of LISTEN_FDS; `GET /wedge` is never answered, after `GET /shutdown` the socket is shut down |
//! | `spin` | burns CPU |
//! | `sleep` | sleeps for ever |
//! | `exit CODE` | ends |
#![allow(
    unsafe_code,
    reason = "fork(2) without exec, as only a bad service does it"
)]
#![allow(clippy::disallowed_methods, reason = "it does what a service must not")]
#![allow(clippy::print_stdout, reason = "it talks on stdout")]

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{ForkResult, fork, pause, setsid};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// What forks without end ends by itself after this, should its test be ended before it could kill it.
const RAGE: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    obey(&words);
}

fn obey(words: &[String]) {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut argument = || words.next().expect("an argument");
        match word {
            "ignore-term" => ignore_term(),
            "heed" => heed(argument()),
            "gate" => drop(std::io::stdin().read_to_end(&mut Vec::new())),
            "say" => println!("{}", argument()),
            "flood" => flood(number(argument())),
            "setsid" => go_on_in_child(false),
            "double-fork" => go_on_in_child(true),
            "hop" => hop(number(argument())),
            "only" => only(argument()),
            "linger" => std::thread::sleep(Duration::from_millis(number(argument()) as u64)),
            "children" => (0..number(argument())).for_each(|_| in_child(sleep)),
            "bomb" => bomb(),
            "restless" => restless(),
            "close-fds" => close_descriptors(),
            "serve" => serve(u16::try_from(number(argument())).expect("a port")),
            "clinic" => clinic(u16::try_from(number(argument())).expect("a port")),
            "serve-held" => serve_held(),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "sleep" => sleep(),
            "exit" => std::process::exit(i32::try_from(number(argument())).expect("a code")),
            other => panic!("unknown word {other}"),
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

/// SIGKILL and SIGSTOP ask nobody.
fn heed(file: &str) {
    let all = SigSet::all();
    all.thread_block().expect("sigprocmask");
    let mut heard = std::fs::File::create(file).expect("a file");
    std::thread::spawn(move || {
        while let Ok(signal) = all.wait() {
            writeln!(heard, "{}", signal as i32).expect("written");
        }
    });
}

fn flood(lines: usize) {
    let mut out = std::io::stdout().lock();
    for line in 0..lines {
        writeln!(out, "line {line}").expect("stdout");
    }
}

/// Runs `body` in a forked child, which ends with it.
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

/// The child goes on with the words; this process sleeps, or ends so that the child is an orphan.
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

fn hop(hops: usize) {
    for nth in 0..hops {
        // SAFETY: this program has one thread.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child if nth == 0 => drop(setsid().expect("setsid")),
            ForkResult::Child => {}
            // SAFETY: nothing is to be tidied up, and it is to be quick.
            ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        }
    }
}

/// The lock is held as long as anybody has the file open.
fn only(path: &str) {
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .expect("a file");
    if file.try_lock().is_err() {
        file.write_all(b"second copy\n").expect("written");
    }
    file.write_all(b"a life\n").expect("written");
    std::mem::forget(file);
}

/// A limit on processes bounds it, and [`RAGE`].
fn bomb() {
    let start = Instant::now();
    while start.elapsed() < RAGE {
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

/// Never the same pid for long: whoever lists and then kills comes too late.
fn restless() {
    let start = Instant::now();
    while start.elapsed() < RAGE {
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

/// The incident: it listens, its health is fine, and its database answers no more.
fn clinic(port: u16) {
    let socket = TcpListener::bind(("127.0.0.1", port)).expect("bind");
    println!("clinic open on {port}");
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
    // One that was shut down accepts nothing any more.
    while let Ok(connection) = accept(listener) {
        // SAFETY: accept(2) has just made it, and nobody else owns it.
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

/// Answers one request, or gives the connection back unanswered when it asks for that.
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
