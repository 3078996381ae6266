//! A minimal HTTP client for tests: one request, or many clients that ask without pause while their outcomes are counted.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long [`http_get`] waits for an answer. Tests that ask a silent service wait as long.
const GET_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client waits for an answer before it counts the request as failed.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two requests of one client: the load is for the service, not for the machine.
const PAUSE: Duration = Duration::from_millis(1);

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// TCP on 127.0.0.1.
    Port(u16),
    /// A Unix socket.
    Path(PathBuf),
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) answered: AtomicUsize,
    /// Refused connections. A socket that stayd holds never refuses one.
    pub(crate) refused: AtomicUsize,
    /// Connections that an instance had accepted before it was killed.
    pub(crate) reset: AtomicUsize,
    /// Anything else, such as a timeout.
    pub(crate) failed: AtomicUsize,
}

/// Clients that connect, ask, read the answer and start again, until they are stopped or dropped.
#[derive(Debug)]
pub(crate) struct Clients {
    outcomes: Arc<Outcomes>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts `count` clients of the server at `address`.
    pub(crate) fn start(address: &Address, count: usize) -> Self {
        let (outcomes, stopping) = (Arc::<Outcomes>::default(), Arc::<AtomicBool>::default());
        let client = |_| {
            let address = address.clone();
            let (outcomes, stopping) = (Arc::clone(&outcomes), Arc::clone(&stopping));
            std::thread::spawn(move || {
                while !stopping.load(Ordering::SeqCst) {
                    outcomes.count(&ask(&address, "/"));
                    std::thread::sleep(PAUSE);
                }
            })
        };
        Self {
            threads: (0..count).map(client).collect(),
            outcomes,
            stopping,
        }
    }

    /// Lets each client finish its request, and returns what became of all of them.
    pub(crate) fn stop(mut self) -> Arc<Outcomes> {
        self.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client");
        }
        Arc::clone(&self.outcomes)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}

impl Outcomes {
    fn count(&self, result: &io::Result<String>) {
        let counter = match result {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => &self.answered,
            // The instance accepted the connection and was killed before it answered.
            Ok(answer) if answer.is_empty() => &self.reset,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => &self.refused,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                &self.reset
            }
            Ok(_) | Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }

    /// Fails unless no request was refused or failed, and more were answered than the service was killed.
    #[track_caller]
    pub(crate) fn assert_unbroken(&self, kills: usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        println!("{kills} kills: {self:?}");
        assert_eq!((of(&self.refused), of(&self.failed)), (0, 0), "{self:?}");
        assert!(of(&self.answered) > kills, "{self:?}");
    }
}

/// One GET over a new connection; the status line, headers and body as text.
pub(crate) fn ask(address: &Address, path: &str) -> io::Result<String> {
    match address {
        Address::Port(port) => get_from_port(*port, path, CLIENT_TIMEOUT),
        Address::Path(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
            exchange(stream, path)
        }
    }
}

/// The same from 127.0.0.1:`port`, with a shorter timeout.
pub(crate) fn http_get(port: u16, path: &str) -> io::Result<String> {
    get_from_port(port, path, GET_TIMEOUT)
}

fn get_from_port(port: u16, path: &str, timeout: Duration) -> io::Result<String> {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(timeout))?;
    exchange(stream, path)
}

fn exchange(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    // In one write: a server that reads once must see the whole request.
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The pid in the answer's body; none where no answer came.
pub(crate) fn pid_at(address: &Address) -> Option<i32> {
    let answer = ask(address, "/").ok()?;
    answer.split("\r\n\r\n").nth(1)?.parse().ok()
}
