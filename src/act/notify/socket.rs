//! The notify socket, on which stayd receives the messages of an instance (sd_notify(3)).

use crate::act::dirs::runtime_dir;
use crate::decide::event::ServiceMessage;
use crate::sys::datagram;
use std::cell::Cell;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Longest message, as in systemd.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest socket path, its NUL not counted (unix(7); 104 with it on macOS).
const PATH_BYTES_MAX: usize = 103;
/// A service may change its user by itself, so every user may write, and the sender's pid decides whether a message counts.
/// Where the kernel does not report the sender, only the service's user may write.
const MODE: u32 = if datagram::HAS_SENDER_CREDENTIALS {
    0o666
} else {
    0o600
};

/// The content of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The sender's pid, as the kernel reports it; none where the kernel does not report it.
    pub sender: Option<i32>,
    /// The fields that stayd supports, in their order.
    pub fields: Vec<ServiceMessage>,
}

/// A service's NOTIFY_SOCKET. Dropping it removes its file, unless the socket was handed over to the next version of stayd.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    malformed: Cell<u64>,
    is_handed_over: Cell<bool>,
}

impl NotifySocket {
    /// Binds the socket of `service` in `directory`. If the path is too long, uses a shorter name or the temporary directory.
    /// Gives the socket to `owner` (uid, gid), if the service runs as another user. Creates a missing directory, gives that
    /// user search permission for it, and replaces an existing file.
    ///
    /// # Errors
    /// Another user can write to the directory, or the system refuses.
    pub fn bind(directory: &Path, service: &str, owner: Option<(u32, u32)>) -> io::Result<Self> {
        runtime_dir::open(directory, owner.map(|(uid, _)| uid))?;
        let path = place(directory, service)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(MODE))?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid))?;
        }
        datagram::enable_sender_credentials(socket.as_fd())?;
        Ok(Self {
            socket,
            path,
            malformed: Cell::new(0),
            is_handed_over: Cell::new(false),
        })
    }

    /// Continues with a socket at `path` that the version before an upgrade handed over, including the messages in its queue.
    ///
    /// # Errors
    /// The descriptor is no datagram socket.
    pub fn resume(socket: OwnedFd, path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::from_std(socket.into())?,
            path,
            malformed: Cell::new(0),
            is_handed_over: Cell::new(false),
        })
    }

    /// Returns the socket for the next version of stayd. Its file stays.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn hand_over(&self) -> io::Result<OwnedFd> {
        let socket = self.socket.as_fd().try_clone_to_owned()?;
        self.is_handed_over.set(true);
        Ok(socket)
    }

    /// Its path, which the service gets as NOTIFY_SOCKET.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counts ignored messages: too long ones, and those without a readable field.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed.get()
    }

    /// Returns the next message. The future may be dropped and made again without losing a message.
    ///
    /// # Errors
    /// The socket is broken; it has to be bound anew.
    pub async fn next(&self) -> io::Result<Message> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            let got = self
                .socket
                .async_io(Interest::READABLE, || {
                    datagram::receive(self.socket.as_fd(), &mut buffer)
                })
                .await?;
            match parse(&buffer[..got.bytes]) {
                Some(message) if !got.truncated => {
                    return Ok(Message {
                        sender: got.sender,
                        ..message
                    });
                }
                Some(_) | None => self.malformed.set(self.malformed.get() + 1),
            }
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if self.is_handed_over.get() {
            return;
        }
        // If the file stays, the next bind replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// The first of the possible paths that is short enough.
fn place(directory: &Path, service: &str) -> io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (directory, service).hash(&mut hasher);
    let short = format!("{:016x}.notify", hasher.finish());
    [
        directory.join(format!("{service}.notify")),
        directory.join(&short),
        std::env::temp_dir().join(format!("stayd-{}-{short}", std::process::id())),
    ]
    .into_iter()
    .find(|path| path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX)
    .ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "no socket path of at most {PATH_BYTES_MAX} bytes; give a shorter runtime directory"
            ),
        )
    })
}

/// Reads NAME=VALUE lines. Unknown names are ignored. A line without `=` makes the message malformed.
fn parse(bytes: &[u8]) -> Option<Message> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut message = Message::default();
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=')?;
        lines += 1;
        message.fields.extend(field(name, value));
    }
    (lines > 0).then_some(message)
}

fn field(name: &str, value: &str) -> Option<ServiceMessage> {
    match (name, value) {
        ("READY", "1") => Some(ServiceMessage::Ready),
        ("WATCHDOG", "1") => Some(ServiceMessage::Watchdog),
        ("WATCHDOG", "trigger") => Some(ServiceMessage::Trigger),
        ("STOPPING", "1") => Some(ServiceMessage::Stopping),
        ("EXTEND_TIMEOUT_USEC", micros) => Some(ServiceMessage::Extend(Duration::from_micros(
            micros.parse().ok()?,
        ))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{MESSAGE_BYTES_MAX, NotifySocket, PATH_BYTES_MAX, ServiceMessage, parse};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    #[test]
    fn known_fields_are_read_and_unknown_ones_ignored() {
        let message = parse(
            b"READY=1\nSTATUS=all \x1b[31mwell\nX_OWN=2\nMAINPID=77\nEXTEND_TIMEOUT_USEC=5000000\n",
        )
        .expect("a message");
        assert_eq!(
            message.fields,
            [
                ServiceMessage::Ready,
                ServiceMessage::Extend(Duration::from_secs(5))
            ]
        );
        for malformed in [&b""[..], b"\n\n", b"READY", b"\xff=1"] {
            assert_eq!(parse(malformed), None);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn messages_come_with_their_sender_and_bad_ones_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = NotifySocket::bind(folder.path(), "db", None).expect("a socket");
        let client = UnixDatagram::unbound().expect("a client");
        for message in [
            &b"nonsense"[..],
            &[b'='; MESSAGE_BYTES_MAX + 1],
            b"WATCHDOG=1",
        ] {
            client.send_to(message, socket.path()).expect("sent");
        }
        let message = tokio::time::timeout(Duration::from_secs(5), socket.next())
            .await
            .expect("in time")
            .expect("a message");
        assert_eq!(message.fields, [ServiceMessage::Watchdog]);
        assert_eq!(socket.malformed(), 2);
        if cfg!(target_os = "linux") {
            assert_eq!(message.sender, Some(std::process::id().cast_signed()));
        }
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_path_that_is_too_long_gets_a_shorter_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("made");
        for (directory, service) in [(folder.path(), "s".repeat(120)), (&deep, "db".into())] {
            let socket = NotifySocket::bind(directory, &service, None).expect("a socket");
            assert!(socket.path().as_os_str().as_bytes().len() <= PATH_BYTES_MAX);
        }
    }
}
