//! Finds the process that serves among those that are left of an instance: the one that has a listening socket of the service
//! open.

use crate::act::tree::Member;
use crate::config::{Listen, ListeningAddresses};
use crate::decide::event::{Process, ServingEvidence};
use crate::sys::identity;
use crate::sys::socket::{self, held_sockets};
use std::collections::HashSet;
use std::io;

/// What is known of the service's listening sockets. A socket is identified as in `Listener::inode`.
struct Sockets {
    /// Those that listen at the addresses of the service, whichever process has them open.
    listening: Vec<u64>,
    /// Those of them that stayd holds for the service.
    held: HashSet<u64>,
    /// Whether the sockets of every address could be listed.
    are_complete: bool,
}

/// The process among `left` with the best evidence that it serves, and that evidence. `has_held_sockets`: stayd may hold sockets
/// at these addresses for the service. Reads the descriptors of processes, and paths that lead to a file system: can take long,
/// and can hang.
pub(super) fn find(
    addresses: &ListeningAddresses,
    has_held_sockets: bool,
    left: &[Member],
) -> (Option<Process>, ServingEvidence) {
    if left.is_empty() {
        return (None, ServingEvidence::Unknown);
    }
    let sockets = Sockets::list(addresses, has_held_sockets);
    let mut is_known = sockets.are_complete;
    let (mut listening, mut with_held) = (Vec::new(), Vec::new());
    for member in left {
        match held_sockets(member.process.pid, &sockets.listening) {
            Ok(open) if open.is_empty() => {}
            Ok(open) if open.is_subset(&sockets.held) => with_held.push(member),
            Ok(_) => listening.push(member),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => is_known = false,
        }
    }
    if let Some(process) = main_of(&listening) {
        (Some(process), ServingEvidence::Listens)
    } else if let Some(process) = main_of(&with_held) {
        (Some(process), ServingEvidence::HasHeldSocket)
    } else if is_known {
        (None, ServingEvidence::Nothing)
    } else {
        (None, ServingEvidence::Unknown)
    }
}

/// The main process among those that have a socket open: a server shares its socket with its workers, which are its children,
/// and with the server that is to replace it. Workers of the former server may still run, and are older than the new server.
fn main_of(holders: &[&Member]) -> Option<Process> {
    let is_holder = |pid: i32| holders.iter().any(|member| member.process.pid == pid);
    let servers = holders.iter().filter(|member| !is_holder(member.stat.ppid));
    servers
        .map(|member| member.process)
        .max_by_key(|process| process.start_time)
}

impl Sockets {
    fn list(addresses: &ListeningAddresses, has_held_sockets: bool) -> Self {
        let mut listening = Vec::new();
        let mut are_known = false;
        let mut are_complete = true;
        let mut add = |found: io::Result<Vec<u64>>| {
            are_known = true;
            match found {
                Ok(found) => listening.extend(found),
                Err(_) => are_complete = false,
            }
        };
        for port in &addresses.ports {
            add(socket::listeners(*port).map(inodes));
        }
        for address in &addresses.addresses {
            match address {
                Listen::Tcp(address) if socket::is_own_address(address.ip()) => {
                    add(socket::listeners_reached_at(*address).map(inodes));
                }
                Listen::Tcp(_) => {}
                Listen::Unix(path) => add(socket::listeners_at_path(path)),
            }
        }
        let held = if has_held_sockets {
            held_sockets(identity::pid(), &listening)
        } else {
            Ok(HashSet::new())
        };
        Self {
            are_complete: are_known && are_complete && held.is_ok(),
            // If it is not known which ones stayd holds, it may hold each of them.
            held: held.unwrap_or_else(|_| listening.iter().copied().collect()),
            listening,
        }
    }
}

fn inodes(listeners: Vec<socket::Listener>) -> Vec<u64> {
    listeners.into_iter().map(|one| one.inode).collect()
}
