//! Finds the processes that are left of an instance after its main process has ended.

use crate::act::context::{Instance, ServiceContext};
use crate::act::off_loop::off_loop;
use crate::act::tree::{Member, Tree};
use crate::decide::event::{Exit, Survivors};
use crate::sys::process::Process;
use crate::sys::socket;
use std::time::{Duration, Instant};

/// The most time for the scan. It reads environments from the processes' own memory, which can hang, and processes that may
/// belong to the instance can start and end forever.
const SCAN_TIMEOUT: Duration = Duration::from_secs(1);

/// The survivors of the instance after its main process has ended with `exit`.
pub(super) async fn of(service: &ServiceContext, instance: &Instance, exit: Exit) -> Survivors {
    let oom_kills = match exit {
        Exit::Signal(libc::SIGKILL) => instance.main.oom_kills_since_start(),
        Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => 0,
    };
    let none = Survivors {
        oom_kills,
        ..Survivors::default()
    };
    // This updates only the tree in memory. The claim is written when members are recorded the next time.
    instance.tree.update_members();
    let tree = instance.tree.get();
    let Some(tree) = tree.filter(|tree| !tree.is_known_gone()) else {
        return none;
    };
    let mut left = tree.members();
    left.retain(Member::is_alive);
    if left.is_empty() {
        let Some(found) = confirmed_survivors(tree.clone()).await else {
            // The scan did not end in time, so no process can be named. The kill that follows scans again.
            return Survivors { count: 1, ..none };
        };
        left = found;
    }
    if left.is_empty() {
        return none;
    }
    let processes = left.iter().map(|member| member.process);
    let oldest = processes.min_by_key(|process| process.start_time);
    // What the service itself says needs no other proof that this process serves.
    let named = instance.tree.named_main();
    let named = named.filter(|named| left.iter().any(|member| member.process == *named));
    let listening = match named {
        Some(named) => Some(Some(named)),
        None => listening(service, &tree),
    };
    Survivors {
        count: left.len(),
        successor: listening.flatten().or(oldest),
        successor_listens: listening.map(|holder| holder.is_some()),
        oom_kills,
    }
}

/// The survivor that listens on the port, if one does. None where that is not known: if stayd holds the socket for the
/// service, every process of the tree has it open.
fn listening(service: &ServiceContext, tree: &Tree) -> Option<Option<Process>> {
    let port = service.config.port?;
    let listeners = socket::listeners(port).ok()?;
    if listeners.iter().any(|each| service.sockets.holds(each)) {
        return None;
    }
    tree.holds_listener(port).ok()
}

/// The survivors, found by full scans; none when the scans did not end in time.
async fn confirmed_survivors(tree: Tree) -> Option<Vec<Member>> {
    let scan = move || tree.confirmed_survivors(Instant::now() + SCAN_TIMEOUT);
    off_loop("survivors", SCAN_TIMEOUT, scan).await.ok()?
}
