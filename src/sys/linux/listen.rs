//! Listening sockets that are shared with other processes: detecting a shutdown, and copying a socket by pidfd_getfd(2).
#![expect(unsafe_code, reason = "poll(2), pidfd_getfd(2)")]

use super::super::check;
use super::super::listen::{Address, address_of};
use super::super::process::Process;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The most descriptors that are examined. Sockets that a process received at its start have low numbers; a server may
/// have tens of thousands of descriptors.
const EXAMINED_MAX: usize = 4096;

/// The table of all sockets of the network namespace with their paths, readable by every user.
const UNIX_SOCKETS: &str = "/proc/net/unix";
/// The flag of a listening socket in /proc/net/unix (`__SO_ACCEPTCON` in linux/net.h).
const ACCEPTS_CONNECTIONS: u32 = 1 << 16;

/// poll(2) reports POLLRDHUP for a socket that was shut down, and not for one with waiting connections.
pub(in super::super) fn is_shut_down(socket: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one pollfd, the local variable; the call returns at once.
    let found = unsafe { libc::poll(&raw mut poll, 1, 0) };
    found == 1 && poll.revents & (libc::POLLRDHUP | libc::POLLHUP) != 0
}

pub(in super::super) fn copy_from_process(
    process: Process,
    wanted: &[Address],
) -> io::Result<Vec<(Address, OwnedFd)>> {
    let Some(pidfd) = super::open_handle(process)? else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut numbers = super::descriptors::socket_numbers(process.pid)?;
    numbers.sort_unstable();
    numbers.truncate(EXAMINED_MAX);
    let mut found: Vec<(Address, OwnedFd)> = Vec::new();
    for number in numbers {
        if found.len() == wanted.len() {
            break;
        }
        let Some(socket) = copy(&pidfd, number)? else {
            continue;
        };
        let address = address_of(socket.as_fd()).filter(|address| wanted.contains(address));
        if let Some(address) = address
            && found.iter().all(|(known, _)| *known != address)
        {
            found.push((address, socket));
        }
    }
    Ok(found)
}

/// Copies the descriptor `number` of the process; none when it was closed in the meantime.
fn copy(pidfd: &OwnedFd, number: RawFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the call takes only numbers; the result is a new close-on-exec descriptor that no other code owns.
    let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let taken = i32::try_from(taken).map_err(io::Error::other)?;
    match check(taken) {
        // SAFETY: as above.
        Ok(taken) => Ok(Some(unsafe { OwnedFd::from_raw_fd(taken) })),
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The absolute paths in /proc/net/unix.
pub(in super::super) fn unix_listeners() -> Vec<PathBuf> {
    let table = fs::read(UNIX_SOCKETS).unwrap_or_default();
    let paths = table
        .split(|byte| *byte == b'\n')
        .filter_map(listening_path);
    paths
        .filter(|path| path.is_absolute())
        .map(Path::to_owned)
        .collect()
}

pub(in super::super) fn may_have_listener(path: &Path) -> bool {
    fs::read(UNIX_SOCKETS).map_or(true, |table| lists_listener(&table, path))
}

/// Whether `table`, in the format of /proc/net/unix (proc(5)), has a listener at `path`. The process may have bound it by
/// another path to the same folder.
fn lists_listener(table: &[u8], path: &Path) -> bool {
    let real_folder = |path: &Path| {
        path.parent()
            .and_then(|folder| fs::canonicalize(folder).ok())
    };
    let wanted = real_folder(path);
    let is_at = |found: &Path| {
        found == path
            || found.file_name() == path.file_name()
                && wanted.is_some()
                && real_folder(found) == wanted
    };
    let mut listeners = table
        .split(|byte| *byte == b'\n')
        .filter_map(listening_path);
    listeners.any(is_at)
}

/// The path in a line of /proc/net/unix: `Num: RefCount Protocol Flags Type St Inode Path`; none if the socket does not listen.
fn listening_path(line: &[u8]) -> Option<&Path> {
    let mut fields = [&line[..0]; 7];
    let mut rest = line;
    for field in &mut fields {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        (*field, rest) = rest.split_at(end);
    }
    let flags = u32::from_str_radix(std::str::from_utf8(fields[3]).ok()?, 16).ok()?;
    let path = rest.strip_prefix(b" ")?;
    (flags & ACCEPTS_CONNECTIONS != 0).then(|| Path::new(OsStr::from_bytes(path)))
}

/// Only launchd passes sockets by name.
pub(in super::super) const fn from_launchd(_name: &str) -> Vec<OwnedFd> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::listen::bind;
    use crate::sys::process::stat;

    #[test]
    fn a_socket_is_copied_by_address_from_the_process_that_has_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::Tcp(taken.local_addr().expect("bound"));
        drop(taken);
        let socket = bind(&address, None).expect("bound");
        let own = stat(crate::sys::identity::pid()).expect("it runs").process;
        let other = Address::Unix("/nowhere".into());
        let found = copy_from_process(own, &[other, address.clone()]).expect("copied");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, address);
        assert_ne!(found[0].1.as_raw_fd(), socket.as_raw_fd());
        let reused_pid = Process {
            pid: own.pid,
            start_time: own.start_time + 1,
        };
        assert_eq!(
            copy_from_process(reused_pid, &[address])
                .expect_err("another process")
                .kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_listener_is_found_by_any_path_to_its_folder_until_it_closes() {
        let dir = tempfile::tempdir().expect("folder");
        let (folder, link) = (dir.path().join("a b"), dir.path().join("link"));
        fs::create_dir(&folder).expect("made");
        std::os::unix::fs::symlink(&folder, &link).expect("linked");
        let path = folder.join("s.sock");
        assert!(!may_have_listener(&path));
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert!(may_have_listener(&path));
        assert!(may_have_listener(&link.join("s.sock")));
        assert!(!may_have_listener(&folder.join("other.sock")));
        drop(listener);
        assert!(!may_have_listener(&path), "only the file is left");
        let connected = b"00: 00000003 00000000 00000000 0001 03 17 /run/x.sock\n";
        assert!(!lists_listener(connected, Path::new("/run/x.sock")));
    }
}
