//! Explains why an address cannot be bound, and names the process that holds it.

use crate::act::helper::Helpers;
use crate::act::off_loop::off_loop;
use crate::act::process_info::ProcessInspector;
use crate::config::Listen;
use crate::decide::event::SpawnFailure;
use crate::sys::listen;
use crate::sys::socket;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::time::Duration;

/// The most time to find and describe the process that holds the address.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Describes the error in a sentence, and names the process that holds the address if there is one.
pub(super) async fn explain(
    helpers: &Helpers,
    address: &Listen,
    error: &io::Error,
) -> SpawnFailure {
    if error.kind() == io::ErrorKind::AddrInUse {
        return SpawnFailure {
            message: taken(helpers, address).await,
            lasting: true,
        };
    }
    let (cure, lasting) = match error.raw_os_error() {
        // The message of `listen::bind` says already what to do.
        None if error.kind() == io::ErrorKind::PermissionDenied => ("", true),
        Some(libc::EACCES | libc::EPERM) => (
            "; the folder must be writable for stayd, and ports below 1024 are root's or CAP_NET_BIND_SERVICE's",
            true,
        ),
        Some(libc::ENOENT) => ("; make its folder", true),
        Some(libc::EADDRNOTAVAIL) => ("; no interface of this machine has that address", true),
        _ => ("; trying again", false),
    };
    SpawnFailure {
        message: format!("cannot listen on {address}: {error}{cure}"),
        lasting,
    }
}

async fn taken(helpers: &Helpers, address: &Listen) -> String {
    let holder = match address {
        Listen::Tcp(wanted) => {
            let wanted = *wanted;
            let searching = move || holder_of_port(wanted);
            let found = off_loop("port", DESCRIBE_TIMEOUT, searching).await;
            found.ok().flatten()
        }
        Listen::Unix(path) => holder_of_path(path.clone()).await,
    };
    let mut inspector = ProcessInspector::new(helpers, DESCRIBE_TIMEOUT);
    let process_info = match holder {
        Some(pid) => inspector.describe(pid).await,
        None => None,
    };
    let Some(holder) = process_info else {
        if let Listen::Unix(path) = address
            && !is_socket(path.clone()).await
        {
            return format!(
                "{address} exists already and is no socket; stayd leaves it alone: remove it, or choose another address"
            );
        }
        return format!(
            "the socket {address} is held by a process that is hidden from stayd; stayd does not touch it"
        );
    };
    format!(
        "the socket {address} is held by {}, not started by stayd; stayd does not touch it: stop it, or choose another address",
        holder.in_words(),
    )
}

/// Whether the path is a socket; true also where the disk does not answer in time.
async fn is_socket(path: PathBuf) -> bool {
    let check = tokio::task::spawn_blocking(move || {
        path.symlink_metadata()
            .is_ok_and(|found| found.file_type().is_socket())
    });
    tokio::time::timeout(DESCRIBE_TIMEOUT, check)
        .await
        .map_or(true, |seen| seen.unwrap_or(true))
}

/// The process whose listener on the port conflicts with the wanted address. Reads the descriptors of all processes.
fn holder_of_port(wanted: SocketAddr) -> Option<i32> {
    let listeners = socket::listeners(wanted.port()).ok()?;
    let mut listeners = listeners.iter();
    let conflicting = listeners.find(|each| each.conflicts_with(wanted.ip()))?;
    socket::find_holder(conflicting).ok().flatten()
}

/// The process that listens at a path. Reads it off the loop, because the path's disk may hang.
async fn holder_of_path(path: PathBuf) -> Option<i32> {
    let search = tokio::task::spawn_blocking(move || listen::listener_pid(&path));
    tokio::time::timeout(DESCRIBE_TIMEOUT, search)
        .await
        .ok()?
        .ok()?
}
