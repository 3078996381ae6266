//! Watches a foreign process on a service's port until it leaves. stayd never signals it.
//!
//! The process's pidfd reports its end. stayd also polls the kernel for the listeners on the port: that shows when the process
//! closes the port, and when a process that is hidden from stayd has ended.

use crate::act::listeners;
use crate::act::off_loop::off_loop;
use crate::act::process_exit::{exit_of, wait_until_reaped};
use crate::act::tree::Usage;
use crate::decide::event::{Exit, PortRelease};
use crate::sys::exit;
use crate::sys::process::{self, Handle, Process};
use crate::sys::socket::{self, Listener};
use std::io;
use std::time::Duration;

/// The most time to search the descriptors of the process.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval between two reads of the port's listeners.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// After this many consecutive reads without its port the process has left the port. One read is not enough, because a
/// server may close the port for a moment to bind it anew.
const POLLS_WITHOUT_MAX: u32 = 2;

/// Waits until the process has left the port, and returns how. `in_the_way` selects the listeners on the port that keep it from
/// the service.
pub(crate) async fn until_it_leaves(
    process: Option<Process>,
    port: u16,
    in_the_way: impl Fn(Vec<Listener>) -> Vec<Listener>,
) -> PortRelease {
    tokio::select! {
        exit = end_of(process) => PortRelease::Ended(exit),
        () = leaves(port, in_the_way, process) => PortRelease::LeftPort,
    }
}

/// Returns when the process has ended. Never returns if stayd cannot watch the process; then its port shows the end.
async fn end_of(foreign: Option<Process>) -> Exit {
    let Some(foreign) = foreign else {
        return std::future::pending().await;
    };
    let ended = match Handle::open(foreign) {
        Ok(handle) => exit::wait(&handle).await,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Ok(status) = ended else {
        return std::future::pending().await;
    };
    wait_until_reaped(foreign).await;
    status.map_or(Exit::Unknown, exit_of)
}

/// Returns when the port is free, or when another process has it.
async fn leaves(
    port: u16,
    in_the_way: impl Fn(Vec<Listener>) -> Vec<Listener>,
    foreign: Option<Process>,
) {
    let listed = async || listeners::on_port(port).await.map(&in_the_way);
    let mut known = listed().await.unwrap_or_default();
    let mut without = 0;
    while without < POLLS_WITHOUT_MAX {
        tokio::time::sleep(POLL_INTERVAL).await;
        // A table that cannot be read proves nothing.
        let Ok(listeners) = listed().await else {
            continue;
        };
        let (now, before) = (listeners.clone(), known.clone());
        let searching = move || are_its(&now, &before, foreign);
        match off_loop("port", SEARCH_TIMEOUT, searching).await {
            Ok(true) => {
                known = listeners;
                without = 0;
            }
            Ok(false) => without += 1,
            // What could not be read in time proves nothing.
            Err(_) => {}
        }
    }
}

/// Whether one of the listeners belongs to the foreign process. Searches its descriptors only when all sockets are new.
fn are_its(listeners: &[Listener], known: &[Listener], foreign: Option<Process>) -> bool {
    let is_known = |listener: &Listener| known.iter().any(|one| one.inode == listener.inode);
    let holds = |pid: i32, listener| socket::holds_listener(pid, listener).unwrap_or(false);
    listeners.iter().any(is_known)
        || foreign.is_some_and(|one| listeners.iter().any(|listener| holds(one.pid, listener)))
}

/// The resources that a foreign process has used so far, without its running children; none when it has ended.
pub(crate) fn usage(foreign: Process) -> Option<Usage> {
    let stat = process::stat(foreign.pid).ok()?;
    let mut usage = Usage {
        throttled: process::throttled_count(foreign.pid).unwrap_or(0),
        ..Usage::default()
    };
    usage.add(&stat);
    (stat.process == foreign).then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::{Process, are_its, socket};
    use crate::sys::{identity, process};
    use std::net::TcpListener;

    /// The process of this test, in the role of the foreign process.
    fn this_process() -> Option<Process> {
        let stat = process::stat(identity::pid()).expect("this process exists");
        Some(stat.process)
    }

    fn bound() -> (TcpListener, Vec<socket::Listener>) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("bound").port();
        let listeners = socket::listeners(port).expect("listed");
        assert_eq!(listeners.len(), 1);
        (socket, listeners)
    }

    #[test]
    fn a_socket_is_its_by_being_known_or_by_being_open_in_it() {
        let (_first, known) = bound();
        let (_second, new) = bound();
        assert!(
            are_its(&known, &known, None),
            "a known socket belongs to it"
        );
        assert!(are_its(&new, &known, this_process()), "it has bound anew");
        assert!(!are_its(&new, &known, None), "another process has the port");
        assert!(!are_its(&[], &known, this_process()), "the port is free");
    }
}
