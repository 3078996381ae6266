//! The notify socket, on which stayd receives the messages of an instance (sd_notify(3)).

use crate::act::dirs::runtime_dir;
use crate::act::off_loop::on_thread;
use crate::sys::datagram::{self, Datagram};
use crate::sys::identity::{self, ROOT};
use crate::sys::socket_file::SocketFile;
use std::cell::Cell;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The longest message, as in systemd; a longer one is ignored.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest socket path, its NUL not counted (unix(7); 104 with it on macOS).
const PATH_BYTES_MAX: usize = 103;
/// Only the socket's owner, the user of the service, can send; root always can.
const MODE: u32 = 0o600;
/// A process of root can change its user by itself and send afterwards, so every user can send, and the sender decides whether a
/// message counts.
const MODE_OF_ROOT: u32 = 0o666;
/// The name of the threads that may close descriptors of other processes.
pub(crate) const THREAD: &str = "notify";

/// A service's NOTIFY_SOCKET. Dropping it removes its file, unless the socket was handed over to the next version of stayd.
#[derive(Debug)]
pub struct NotifySocket {
    /// Shared with a thread that closes descriptors.
    socket: Arc<UnixDatagram>,
    file: SocketFile,
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
        let uid = owner.map_or_else(identity::euid, |(uid, _)| uid);
        let socket = datagram::bind(&path, mode_for(uid))?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid))?;
        }
        Self::new(socket, path)
    }

    /// Continues with a socket at `path` that the version before an upgrade handed over, including the messages in its queue.
    ///
    /// # Errors
    /// The descriptor is no datagram socket.
    pub fn resume(socket: OwnedFd, path: PathBuf) -> io::Result<Self> {
        Self::new(socket.into(), path)
    }

    fn new(socket: net::UnixDatagram, path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            socket: Arc::new(UnixDatagram::from_std(socket)?),
            file: SocketFile::at(path),
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
        self.file.path()
    }

    /// Whether its file was deleted or replaced, so that no message comes in.
    #[must_use]
    pub fn is_file_lost(&self) -> bool {
        self.file.is_lost()
    }

    /// Removes its file, unless the next version of stayd uses it.
    pub(crate) fn remove_file(&self) {
        if !self.is_handed_over.get() {
            self.file.remove();
        }
    }

    /// Waits for the next message, reads it into `buffer` of [`MESSAGE_BYTES_MAX`] bytes, and leaves it in the socket until it is
    /// discarded. So a message that was not handled completely waits for the next version of stayd.
    ///
    /// # Errors
    /// The socket is broken; it has to be bound anew.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let look = || datagram::peek(self.socket.as_fd(), buffer);
        self.socket.async_io(Interest::READABLE, look).await
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if the queue is empty.
    pub fn try_peek(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let look = || datagram::peek(self.socket.as_fd(), buffer);
        self.socket.try_io(Interest::READABLE, look)
    }

    /// Removes the message that was read last, which came without descriptors.
    pub fn discard(&self) {
        // Fails only if the message is not there.
        let _ = datagram::discard(self.socket.as_fd());
    }

    /// The same for a message that came with descriptors, on a thread, because closing them can take long. Returns when they are
    /// closed.
    ///
    /// # Errors
    /// The system cannot create a thread; the message is still there.
    pub async fn discard_with_descriptors(&self) -> io::Result<()> {
        let socket = Arc::clone(&self.socket);
        let closed = on_thread(THREAD, move || drop(datagram::discard(socket.as_fd())))?;
        // Fails only if the thread has ended without a result, which it cannot.
        let _ = closed.await;
        Ok(())
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if self.is_handed_over.get() {
            return;
        }
        self.remove_file();
        // From now on no message comes in. Closing the socket would close the descriptors in its queue on the loop's thread.
        let _ = self.socket.shutdown(Shutdown::Read);
        if datagram::peek(self.socket.as_fd(), &mut []).is_ok() {
            let socket = Arc::clone(&self.socket);
            let empty = move || while datagram::discard(socket.as_fd()).is_ok() {};
            // Fails without a thread; then the close takes as long as the descriptors need.
            let _ = on_thread(THREAD, empty);
        }
    }
}

/// The permissions of the socket of a service that starts as `uid`.
fn mode_for(uid: u32) -> u32 {
    if datagram::HAS_SENDER_CREDENTIALS && uid == ROOT {
        MODE_OF_ROOT
    } else {
        MODE
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

#[cfg(test)]
mod tests {
    use super::{MESSAGE_BYTES_MAX, MODE, MODE_OF_ROOT, NotifySocket, PATH_BYTES_MAX, mode_for};
    use crate::sys::identity;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    #[tokio::test(flavor = "current_thread")]
    async fn messages_come_with_their_sender_and_stay_until_they_are_discarded() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = NotifySocket::bind(folder.path(), "db", None).expect("a socket");
        let client = UnixDatagram::unbound().expect("a client");
        let too_long = [b'='; MESSAGE_BYTES_MAX + 1];
        for message in [&too_long[..], &too_long[1..], b"WATCHDOG=1"] {
            client.send_to(message, socket.path()).expect("sent");
        }
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        for (bytes, truncated) in [
            (MESSAGE_BYTES_MAX, true),
            (MESSAGE_BYTES_MAX, false),
            ("WATCHDOG=1".len(), false),
        ] {
            for _ in 0..2 {
                let looking =
                    tokio::time::timeout(Duration::from_secs(5), socket.peek(&mut buffer));
                let found = looking.await.expect("in time").expect("a message");
                assert_eq!((found.bytes, found.truncated), (bytes, truncated));
                if cfg!(target_os = "linux") {
                    let sender = found.sender.expect("a sender");
                    assert_eq!(sender.pid, std::process::id().cast_signed());
                    assert_eq!(sender.uid, identity::euid());
                }
            }
            socket.discard();
        }
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn every_user_can_send_only_where_the_service_can_change_its_user() {
        assert_eq!(mode_for(1000), MODE);
        let of_root = if cfg!(target_os = "linux") {
            MODE_OF_ROOT
        } else {
            MODE
        };
        assert_eq!(mode_for(0), of_root);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_file_has_the_mode_and_a_path_that_is_too_long_gets_a_shorter_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("made");
        for (directory, service) in [(folder.path(), "s".repeat(120)), (&deep, "db".into())] {
            let socket = NotifySocket::bind(directory, &service, None).expect("a socket");
            assert!(socket.path().as_os_str().as_bytes().len() <= PATH_BYTES_MAX);
            let file = std::fs::metadata(socket.path()).expect("a file");
            assert_eq!(
                file.permissions().mode() & 0o777,
                mode_for(identity::euid())
            );
        }
    }
}
