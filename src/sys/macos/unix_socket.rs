//! The Unix sockets that listen at a path, by libproc. Never run on a Mac yet.
//!
//! macOS reports the path that was given to bind(2), and not the file that it created.

use super::descriptors::u32_at;
use super::process;
use super::socket::{HANDLE, KIND, SOCKET_BYTES, sockets};
use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

// Offsets as in `descriptors`.
const OPTIONS: usize = 188; // short soi_options
const PATH: usize = 282; // unsi_addr.ua_sun.sun_path
const KIND_UNIX: u32 = 3; // SOCKINFO_UN
const ACCEPTS_CONNECTIONS: u16 = 2; // SO_ACCEPTCONN

/// The kernel's handles of the listening sockets whose path leads to the file at `path`.
pub(in super::super) fn listeners_at_path(path: &Path) -> io::Result<Vec<u64>> {
    let file = match identity_of(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut found = BTreeSet::new(); // one socket can be open in many processes
    for pid in process::all()? {
        let open = sockets(pid).unwrap_or_default().into_iter();
        let listening = open.filter(|socket| {
            bound_to(socket).is_some_and(|bound| {
                bound.is_absolute() && identity_of(bound).is_ok_and(|other| other == file)
            })
        });
        found.extend(listening.map(|socket| super::descriptors::u64_at(&socket, HANDLE)));
    }
    Ok(found.into_iter().collect())
}

/// The path of a listening Unix socket; none for any other socket.
fn bound_to(socket: &[u8; SOCKET_BYTES]) -> Option<&Path> {
    let options = u16::from_ne_bytes(*socket[OPTIONS..].first_chunk()?);
    if u32_at(socket, KIND) != KIND_UNIX || options & ACCEPTS_CONNECTIONS == 0 {
        return None;
    }
    let path = CStr::from_bytes_until_nul(&socket[PATH..]).ok()?;
    Some(Path::new(OsStr::from_bytes(path.to_bytes())))
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}
