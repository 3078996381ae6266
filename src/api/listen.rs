//! Making the control socket: never beside a living one, never open to others for an instant.

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

/// How long a socket that is already there may take to answer connect(2) before it counts as alive.
const DIAL_WITHIN: Duration = Duration::from_secs(1);
/// Bits with which others could replace what lies in a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A listening control socket; its file goes when this is dropped, unless it is left to another.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    is_left: bool,
}

impl ControlSocket {
    /// The one at `path`, which somebody else has bound and left to us.
    #[must_use]
    pub const fn resume(path: PathBuf) -> Self {
        Self {
            path,
            is_left: false,
        }
    }

    /// Where it is; its file stays.
    #[must_use]
    pub fn leave(mut self) -> PathBuf {
        self.is_left = true;
        std::mem::take(&mut self.path)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        // A file that is left behind is replaced by the next stayd.
        let _left_behind = fs::remove_file(&self.path);
    }
}

/// Binds the control socket at `path`, mode 0600; with `group` 0660 and its directory 0750, both of that group.
///
/// # Errors
/// The sentence says what is in the way: a directory that others can write, a living socket (`AddrInUse`), a file that is
/// no socket, a path that is too long, or what the system refused.
pub async fn bind(path: &Path, group: Option<u32>) -> io::Result<(UnixListener, ControlSocket)> {
    let told = |error| explain(path, &error);
    check_directory(path).map_err(told)?;
    refuse_a_living_one(path).await.map_err(told)?;
    let fresh = fresh_name(path);
    remove_if_there(&fresh).map_err(told)?;
    let listener = bind_closed(&fresh).map_err(told)?;
    let mut socket = ControlSocket::resume(fresh);
    if let Some(gid) = group {
        open_to_group(&socket.path, gid).map_err(told)?;
    }
    // only now: whoever finds it in its place is heard, also where a dead one lay
    fs::rename(&socket.path, path).map_err(told)?;
    path.clone_into(&mut socket.path);
    Ok((listener, socket))
}

/// Exactly as long as its place, so that a path which is too long is refused and not just unreachable.
fn fresh_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().as_bytes().to_vec();
    if let Some(last) = name.last_mut() {
        *last = b'~';
    }
    OsString::from_vec(name).into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
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

/// A directory that others can write would let them put a socket of theirs in the place of ours.
fn check_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    let about = fs::metadata(directory)?;
    let own = nix::unistd::geteuid().as_raw();
    let refuse = |why: String| {
        let message = format!(
            "{} {why}; give it to the user stayd runs as, mode 0700",
            directory.display()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    };
    if about.uid() != own && about.uid() != 0 {
        return refuse(format!("belongs to uid {}", about.uid()));
    }
    if about.mode() & WRITABLE_BY_OTHERS != 0 {
        return refuse("can be written by others".to_owned());
    }
    Ok(())
}

/// A socket that nobody answers on may be replaced. Dials, so that a living one never is.
async fn refuse_a_living_one(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(about) if !about.file_type().is_socket() => {
            let message = "a file that is no socket is in the way; move it away";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        Ok(_socket) => {}
    }
    match timeout(DIAL_WITHIN, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "it is in use by another process; stop that one or choose another --state-dir",
        )),
    }
}

/// Binds under a mask that closes the socket to everybody else from its first instant.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
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
