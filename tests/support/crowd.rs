//! Clients that never give up: each connects, asks, reads the answer and begins again, and all that happens is counted.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// An answer that has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions of one client: the service is to have work, not the machine.
const PAUSE: Duration = Duration::from_millis(1);

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Port(u16),
    Path(PathBuf),
}

/// What happened to the questions.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: AtomicUsize,
    /// Connections that were refused: this must never happen.
    pub(crate) refused: AtomicUsize,
    /// Connections that a dying life had accepted.
    pub(crate) reset: AtomicUsize,
    /// Anything else, such as silence.
    pub(crate) strange: AtomicUsize,
}

/// The clients; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Crowd {
    tally: Arc<Tally>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Sends `count` clients there.
    pub(crate) fn at(place: &Place, count: usize) -> Self {
        let (tally, over) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let client = |_| {
            let (place, tally, over) = (place.clone(), Arc::clone(&tally), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    tally.count(&ask(&place, "/"));
                    std::thread::sleep(PAUSE);
                }
            })
        };
        Self {
            clients: (0..count).map(client).collect(),
            tally,
            over,
        }
    }

    /// Sends them home, and says what happened.
    pub(crate) fn disperse(mut self) -> Arc<Tally> {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("a client");
        }
        Arc::clone(&self.tally)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Tally {
    fn count(&self, asked: &io::Result<String>) {
        let place = match asked {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => &self.answered,
            // Closed without a word: accepted, and then its life was over.
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
            Ok(_) | Err(_) => &self.strange,
        };
        place.fetch_add(1, Ordering::SeqCst);
    }

    /// Nobody was refused, nobody waited in vain, and most were answered.
    #[track_caller]
    pub(crate) fn assert_unbroken(&self, kills: usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        println!("{kills} kills: {self:?}");
        assert_eq!((of(&self.refused), of(&self.strange)), (0, 0), "{self:?}");
        assert!(of(&self.answered) > kills, "{self:?}");
    }
}

/// One question over a connection of its own; the whole answer.
pub(crate) fn ask(place: &Place, path: &str) -> io::Result<String> {
    match place {
        Place::Port(port) => {
            let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], *port)))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            talk(stream, path)
        }
        Place::Path(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            talk(stream, path)
        }
    }
}

fn talk(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The pid in the answer's body, where one came.
pub(crate) fn pid_at(place: &Place) -> Option<i32> {
    let answer = ask(place, "/").ok()?;
    answer.split("\r\n\r\n").nth(1)?.parse().ok()
}
