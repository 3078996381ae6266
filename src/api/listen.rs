//! Creates the control socket: it never replaces a socket in use, and other users cannot open it at any instant.

use crate::config::paths::SOCKET_NAME;
use crate::sys::listen;
use crate::sys::socket_file::SocketFile;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, chown};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// If connect(2) to an existing socket does not return within this time, the socket counts as in use.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Mode bits with which other users could replace files in a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The file of a listening control socket. Dropping this removes the file, unless it was handed over.
#[derive(Debug)]
pub struct ControlSocket {
    file: SocketFile,
    is_handed_over: bool,
}

impl ControlSocket {
    /// The socket at `path`, which the previous version of stayd bound and handed over.
    #[must_use]
    pub fn inherited(path: PathBuf) -> Self {
        Self {
            file: SocketFile::at(path),
            is_handed_over: false,
        }
    }

    /// Whether the file was deleted or replaced, so that no client finds the socket.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.file.is_lost()
    }

    /// Keeps the file for the next version of stayd, and returns its path.
    #[must_use]
    pub fn hand_over(mut self) -> PathBuf {
        self.is_handed_over = true;
        self.file.path().to_owned()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.is_handed_over {
            return;
        }
        self.file.remove();
    }
}

/// Binds the control socket at `path`, mode 0600; with `group` 0660 and its directory 0750, both of that group.
///
/// # Errors
/// The message names the cause: a directory that other users can write, a socket in use (`AddrInUse`), a file that is not
/// a socket, a path that is too long, or the system's error.
pub async fn bind(path: &Path, group: Option<u32>) -> io::Result<(UnixListener, ControlSocket)> {
    let named = |error| explain(path, &error);
    check_directory(path).map_err(named)?;
    refuse_socket_in_use(path).await.map_err(named)?;
    let temporary = temporary_name(path);
    remove_if_present(&temporary).map_err(named)?;
    let listener = bind_private(&temporary).map_err(named)?;
    let mut socket = ControlSocket::inherited(temporary);
    if let Some(gid) = group {
        open_to_group(socket.file.path(), gid).map_err(named)?;
    }
    // Last, so that a client that finds the socket in its place is served, also where a stale socket was.
    socket.file.rename(path).map_err(named)?;
    Ok((listener, socket))
}

/// As long as `path`, so that a path over the socket limit fails at bind(2) instead of leaving a socket that no client can
/// reach.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().as_bytes().to_vec();
    if let Some(last) = name.last_mut() {
        *last = b'~';
    }
    OsString::from_vec(name).into()
}

/// Whether a stayd may serve the control socket at `path`, to which this user may not connect. The kernel names a socket by the
/// path at which it was bound.
pub(super) fn may_be_served(path: &Path) -> bool {
    let bound_at = [path.to_owned(), temporary_name(path)];
    bound_at.iter().any(|path| listen::may_have_listener(path))
}

/// The paths of the control sockets that processes of any user serve, as far as the system shows them.
#[must_use]
pub fn served() -> Vec<PathBuf> {
    let at_its_place = |bound: PathBuf| {
        let path = bound.with_file_name(SOCKET_NAME);
        (bound == path || bound == temporary_name(&path)).then_some(path)
    };
    let bound = listen::unix_listeners().into_iter();
    bound.filter_map(at_its_place).collect()
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn explain(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot listen on {}: {error}", path.display()),
    )
}

/// In a directory that other users can write, they could replace the socket by their own.
fn check_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    let metadata = fs::metadata(directory)?;
    let own = nix::unistd::geteuid().as_raw();
    let refuse = |why: String| {
        let message = format!(
            "{} {why}; change its owner to the user that stayd runs as, and its mode to 0700",
            directory.display()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    };
    if metadata.uid() != own && metadata.uid() != 0 {
        return refuse(format!("belongs to uid {}", metadata.uid()));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return refuse("can be written by other users".to_owned());
    }
    Ok(())
}

/// Connects to an existing socket: it may be replaced only if connect(2) is refused.
async fn refuse_socket_in_use(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let message = "a file that is not a socket has this path; move it away";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        Ok(_socket) => {}
    }
    match timeout(CONNECT_WITHIN, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process uses this socket; stop that process or choose another --state-dir",
        )),
    }
}

/// Binds under a umask, so that the socket has mode 0600 from its first instant.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

fn open_to_group(path: &Path, gid: u32) -> io::Result<()> {
    let group = Some(Gid::from_raw(gid));
    if let Some(directory) = path.parent() {
        chown(directory, None, group)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o750))?;
    }
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
}
