//! Finds the processes that are left of an instance after its main process has ended.

use super::claim::READ_TIMEOUT;
use crate::act::context::{Instance, ServiceContext};
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
    // The scan did not end in time, so no process can be named. The kill that follows scans again.
    let undecided = Survivors { count: 1, ..none };
    let port = searched_port(service);
    let find = move |tree: Option<&mut Tree>| tree.map(|tree| find(tree, port));
    // This updates only the tree in memory. The claim is written when members are recorded the next time.
    let Some(reading) = instance.tree.read(READ_TIMEOUT, find).await else {
        return undecided;
    };
    let Some(found) = reading.value else {
        return none;
    };
    let Some(left) = found.left else {
        return undecided;
    };
    let processes = left.iter().map(|member| member.process);
    let Some(oldest) = processes.min_by_key(|process| process.start_time) else {
        return none;
    };
    // What the service itself says needs no other proof that this process serves.
    let named = instance.tree.named_main();
    let named = named.filter(|named| left.iter().any(|member| member.process == *named));
    let listening = named.map(Some).or(found.listening);
    Survivors {
        count: left.len(),
        successor: Some(listening.flatten().unwrap_or(oldest)),
        successor_listens: listening.map(|holder| holder.is_some()),
        oom_kills,
    }
}

/// What a scan has found.
struct Found {
    /// The survivors; none when the scan did not end in time.
    left: Option<Vec<Member>>,
    /// The survivor that listens on the port, if one does. None where that is not known.
    listening: Option<Option<Process>>,
}

/// Scans the tree. Can take long, and can hang.
fn find(tree: &mut Tree, port: Option<u16>) -> Found {
    tree.update_members();
    let nothing = Found {
        left: Some(Vec::new()),
        listening: None,
    };
    if tree.is_known_gone() {
        return nothing;
    }
    let mut left = tree.members();
    left.retain(Member::is_alive);
    let left = if left.is_empty() {
        tree.confirmed_survivors(Instant::now() + SCAN_TIMEOUT)
    } else {
        Some(left)
    };
    Found {
        left,
        listening: port.and_then(|port| tree.holds_listener(port).ok()),
    }
}

/// The port on which a survivor may listen. None where that shows nothing: if stayd holds the socket for the service, every
/// process of the tree has it open.
fn searched_port(service: &ServiceContext) -> Option<u16> {
    let port = service.config.port?;
    let listeners = socket::listeners(port).ok()?;
    let is_held = listeners.iter().any(|each| service.sockets.holds(each));
    (!is_held).then_some(port)
}
