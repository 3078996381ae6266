//! Sends READY, STATUS, WATCHDOG and STOPPING to the parent supervisor (sd_notify(3)).

use super::parent::StartContext;
use sd_notify::NotifyState;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest STATUS= that stayd sends; systemd takes 4 KiB for a whole message.
const STATUS_BYTES_MAX: usize = 1024;

/// Sends notifications to the parent supervisor. Where it does not listen, sending does nothing and succeeds.
///
/// The address is read once, at the start. So this process's environment stays unchanged, which another thread may be
/// reading; children get a clean one. Sending never waits: if the queue is full, the message fails, and the next one follows
/// soon.
#[derive(Debug, Default)]
pub struct SupervisorNotifications {
    to: Option<PathBuf>,
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl SupervisorNotifications {
    /// Sends to the socket in `start_context`, if there is one.
    #[must_use]
    pub fn new(start_context: &StartContext) -> Self {
        let to = start_context.notify_path().map(Path::to_owned);
        Self {
            watchdog: start_context.watchdog().filter(|_| to.is_some()),
            to,
            socket: None,
        }
    }

    /// Whether the parent supervisor listens.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.to.is_some()
    }

    /// How often to call [`Self::watchdog`]: half the time after which the parent supervisor ends a silent stayd. None: the
    /// parent supervisor does not watch stayd.
    #[must_use]
    pub fn ping_every(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Sends READY=1, because every service has a verdict; `status` names the verdicts.
    ///
    /// # Errors
    /// The message was not sent.
    pub fn ready(&mut self, status: &str) -> io::Result<()> {
        let status = one_line(status);
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)])
    }

    /// Sends a sentence for `systemctl status`.
    ///
    /// # Errors
    /// The message was not sent.
    pub fn status(&mut self, text: &str) -> io::Result<()> {
        self.send(&[NotifyState::Status(&one_line(text))])
    }

    /// Sends WATCHDOG=1, because the loop makes progress.
    ///
    /// # Errors
    /// The message was not sent.
    pub fn watchdog(&mut self) -> io::Result<()> {
        self.send(&[NotifyState::Watchdog])
    }

    /// Sends STOPPING=1, because shutdown has begun. This is final: since systemd 259 it cannot be taken back.
    ///
    /// # Errors
    /// The message was not sent.
    pub fn stopping(&mut self) -> io::Result<()> {
        self.send(&[NotifyState::Stopping])
    }

    /// Asks for `duration` more time, from now, for the start or stop under way. Call it again before that time is over.
    ///
    /// # Errors
    /// The message was not sent.
    pub fn extend_timeout(&mut self, duration: Duration) -> io::Result<()> {
        let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(micros)])
    }

    /// Sends one message. Sends it again over a new socket when the listener was replaced.
    fn send(&mut self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some(path) = &self.to else {
            return Ok(());
        };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        let message = lines.join("\n");
        let mut sent = match &self.socket {
            Some(socket) => send_to(socket, &message),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if sent
            .as_ref()
            .is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
        {
            self.socket = None;
            sent = connected(path).and_then(|socket| send_to(self.socket.insert(socket), &message));
        }
        sent.map_err(|error| with_address(path, &error))
    }
}

/// A socket whose sends never wait.
pub(crate) fn connected(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

fn send_to(socket: &UnixDatagram, message: &str) -> io::Result<()> {
    socket.send(message.as_bytes()).map(drop)
}

fn with_address(path: &Path, error: &io::Error) -> io::Error {
    let path = path.display();
    let sentence = format!(
        "cannot talk to the OS supervisor at {path}: {error}; the next message tries again"
    );
    io::Error::new(error.kind(), sentence)
}

/// `text` on one line and of bounded length, as STATUS= takes it.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.truncate(line.floor_char_boundary(STATUS_BYTES_MAX));
    line
}

#[cfg(test)]
mod tests {
    use super::{STATUS_BYTES_MAX, SupervisorNotifications};
    use crate::act::notify::parent::StartContext;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    use std::time::Duration;

    /// The start of a unit's main process whose systemd listens at `path`.
    fn unit(path: &Path) -> StartContext {
        let variables = [
            ("SYSTEMD_EXEC_PID", "4711"),
            ("NOTIFY_SOCKET", path.to_str().expect("UTF-8")),
            ("WATCHDOG_USEC", "30000000"),
            ("WATCHDOG_PID", "4711"),
        ];
        StartContext {
            pid: 4711,
            parent: 1,
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            ..StartContext::default()
        }
    }

    #[test]
    fn without_a_listener_every_notification_succeeds() {
        let mut notifications = SupervisorNotifications::new(&StartContext::default());
        assert!(!notifications.has_listener());
        assert_eq!(notifications.ping_every(), None);
        notifications
            .ready("fine")
            .expect("no listener is no error");
    }

    #[test]
    fn systemd_receives_every_notification_also_after_its_socket_was_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        let received = |listener: &UnixDatagram| {
            let mut buffer = [0; 8192];
            let length = listener.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let mut notifications = SupervisorNotifications::new(&unit(&path));
        assert_eq!(notifications.ping_every(), Some(Duration::from_secs(15)));
        notifications.ready("db is ready\nREADY=0").expect("sent");
        assert_eq!(received(&listener), "READY=1\nSTATUS=db is ready READY=0");
        notifications.watchdog().expect("sent");
        assert_eq!(received(&listener), "WATCHDOG=1");
        notifications
            .extend_timeout(Duration::from_secs(20))
            .expect("sent");
        assert_eq!(received(&listener), "EXTEND_TIMEOUT_USEC=20000000");

        drop(listener);
        std::fs::remove_file(&path).expect("removed");
        let error = notifications.stopping().expect_err("no listener");
        assert!(
            error
                .to_string()
                .starts_with("cannot talk to the OS supervisor at /")
        );
        let listener = UnixDatagram::bind(&path).expect("a socket");
        notifications.stopping().expect("sent");
        assert_eq!(received(&listener), "STOPPING=1");
        notifications
            .status(&"ü".repeat(STATUS_BYTES_MAX))
            .expect("sent");
        assert_eq!(
            received(&listener).len(),
            "STATUS=".len() + STATUS_BYTES_MAX
        );
    }

    #[test]
    fn a_full_queue_fails_at_once_instead_of_blocking() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).expect("a socket");
        let mut notifications = SupervisorNotifications::new(&unit(&path));
        let full = (0..100_000)
            .find_map(|_| notifications.watchdog().err())
            .expect("the queue is bounded");
        assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    }
}
