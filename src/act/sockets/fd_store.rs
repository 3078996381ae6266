//! systemd's descriptor store: systemd passes its sockets to the next start of this unit (sd_notify(3), FDSTORE=1).

use super::HeldSocket;
use crate::act::notify::parent::{ParentSupervisor, StartContext};
use crate::act::notify::supervisor;
use crate::config::Listen;
use crate::sys::datagram;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Begins the names of sockets that stayd has stored; .socket units use other names.
const PREFIX: &str = "stayd-held-";

/// The store of stayd's unit; there is none without systemd.
#[derive(Debug)]
pub(super) struct FdStore {
    to: Option<PathBuf>,
}

impl FdStore {
    /// The store of the unit in `start_context`.
    pub(super) fn of(start_context: &StartContext) -> Self {
        let systemd = start_context.supervisor() == ParentSupervisor::Systemd;
        let to = start_context.notify_path().filter(|_| systemd);
        Self {
            to: to.map(Path::to_owned),
        }
    }

    /// Whether there is a store, in which systemd keeps the sockets after stayd has ended.
    pub(super) const fn exists(&self) -> bool {
        self.to.is_some()
    }

    /// Puts a socket into the store; systemd ignores one that it has already. With FDPOLL=0 a child's shutdown(2) does not
    /// remove it.
    pub(super) fn keep(&self, held: &HeldSocket) {
        let message = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={}", name(&held.address));
        if let Err(error) = self.send(&message, Some(held.socket.as_fd())) {
            tracing::warn!(
                "systemd does not keep the socket {}: {error}; a crash of stayd closes it unless its service still runs",
                held.address
            );
        }
    }

    /// Removes a socket from the store.
    pub(super) fn forget(&self, address: &Listen) {
        let message = format!("FDSTOREREMOVE=1\nFDNAME={}", name(address));
        if let Err(error) = self.send(&message, None) {
            tracing::warn!(
                "systemd still keeps the socket {address}, so connections to it wait: {error}"
            );
        }
    }

    fn send(&self, message: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let Some(path) = &self.to else {
            return Ok(());
        };
        let connection = supervisor::connected(path)?;
        datagram::send(connection.as_fd(), message.as_bytes(), socket)
    }
}

/// Whether a socket of this name comes from the store.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The FDNAME of a socket. systemd accepts ASCII without colons and control characters. stayd reads only the prefix of the
/// name.
fn name(address: &Listen) -> String {
    let fits = |c: char| {
        if c.is_ascii_graphic() && c != ':' {
            c
        } else {
            '_'
        }
    };
    let address = address.to_string();
    format!("{PREFIX}{}", address.chars().map(fits).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_systemd_takes_them() {
        let tcp = Listen::Tcp("[::1]:80".parse().expect("an address"));
        assert_eq!(name(&tcp), "stayd-held-[__1]_80");
        let path = Listen::Unix("/run/my app/ü".into());
        assert_eq!(name(&path), "stayd-held-/run/my_app/_");
        assert!(is_ours(&name(&path)) && !is_ours("stayd.socket"));
    }
}
