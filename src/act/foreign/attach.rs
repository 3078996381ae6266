//! Somebody else's process on a service's port: looked at until it leaves, and never signalled.
//!
//! Its pidfd tells its end. Whether it still has the port is asked of the kernel now and then: that is also how the end of
//! one shows that is hidden from us.

use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::act::lifecycle::successor::{exit_of, reaped_by_its_parent};
use crate::act::tree::Usage;
use crate::decide::event::{Exit, Life, PortRelease, ServiceEvent};
use crate::sys::exit;
use crate::sys::process::{self, Handle, Process};
use crate::sys::socket::{self, Listener};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Between two looks at the port.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Seen without its port so often in a row, it has left it: a server that binds anew is not raced.
const LOOKS_WITHOUT_MAX: u32 = 2;

/// Watches `foreign` for as long as `life` is the present one, and tells when it leaves.
pub(crate) async fn attach(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    life: Life,
    foreign: Option<Process>,
) {
    let (Some(instance), Some(port)) = (context.instance(life), context.config.port) else {
        return;
    };
    let foreign = foreign.map(|Process { pid, start_time }| Process { pid, start_time });
    instance.foreign.set(foreign);
    let departure = tokio::select! {
        exit = end_of(foreign) => PortRelease::Ended(exit),
        () = leaves(&context, port, foreign) => PortRelease::LeftPort,
        () = instance.over.notified() => return,
    };
    shared
        .tell(
            context.id,
            ServiceEvent::ForeignProcessLeft(life, departure),
        )
        .await;
}

/// Returns when it has ended; never where that cannot be watched: then its port tells.
async fn end_of(foreign: Option<Process>) -> Exit {
    let Some(foreign) = foreign else {
        return std::future::pending().await;
    };
    let ended = match Handle::open(foreign) {
        Ok(handle) => exit::of(&handle).await,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Ok(status) = ended else {
        return std::future::pending().await;
    };
    reaped_by_its_parent(foreign).await;
    status.map_or(Exit::Unknown, exit_of)
}

/// Returns when the port is nobody's, or somebody else's.
async fn leaves(context: &ServiceContext, port: u16, foreign: Option<Process>) {
    let mut known = others_listeners(context, port).unwrap_or_default();
    let mut without = 0;
    while without < LOOKS_WITHOUT_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
        // What cannot be seen has not left.
        let Ok(listeners) = others_listeners(context, port) else {
            continue;
        };
        if are_its(&listeners, &known, foreign) {
            known = listeners;
            without = 0;
        } else {
            without += 1;
        }
    }
}

/// Who listens on the port, but for the sockets that are held for the service.
fn others_listeners(context: &ServiceContext, port: u16) -> io::Result<Vec<Listener>> {
    let mut listeners = socket::listeners(port)?;
    listeners.retain(|listener| !crate::act::sockets::holds(context, listener));
    Ok(listeners)
}

/// Its descriptors are searched only when all sockets are new.
fn are_its(listeners: &[Listener], known: &[Listener], foreign: Option<Process>) -> bool {
    let is_known = |listener: &Listener| known.iter().any(|one| one.inode == listener.inode);
    let holds = |pid: i32, listener| socket::holds_listener(pid, listener).unwrap_or(false);
    listeners.iter().any(is_known)
        || foreign.is_some_and(|one| listeners.iter().any(|listener| holds(one.pid, listener)))
}

/// What the process has used so far, its children apart; none when it has gone.
pub(crate) fn usage(foreign: Process) -> Option<Usage> {
    let stat = process::stat(foreign.pid).ok()?;
    (stat.process == foreign).then(|| Usage {
        cpu: stat.cpu,
        io_bytes: process::io_bytes(foreign.pid).unwrap_or(0),
        throttled: process::throttled_count(foreign.pid).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::{Process, are_its, socket};
    use crate::sys::{identity, process};
    use std::net::TcpListener;

    /// The process of this test is the stranger.
    fn us() -> Option<Process> {
        let stat = process::stat(identity::pid()).expect("we live");
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
        assert!(are_its(&known, &known, None), "whoever it is");
        assert!(are_its(&new, &known, us()), "it has bound anew");
        assert!(!are_its(&new, &known, None), "the port changed hands");
        assert!(!are_its(&[], &known, us()), "the port is free");
    }
}
