//! Finds the processes that are left of an instance after its main process has ended.

use super::claim::READ_TIMEOUT;
use super::serving;
use crate::act::context::{Instance, ServiceContext};
use crate::act::tree::{Member, Tree};
use crate::config::ListeningAddresses;
use crate::decide::event::{Exit, ServingEvidence, Survivors};
use crate::sys::process::Process;
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
    // A main process that has failed has no successor.
    let addresses = (exit == Exit::Code(0)).then(|| ListeningAddresses::of(&service.config));
    let has_held_sockets = service.sockets.are_declared();
    let find = move |tree: Option<&mut Tree>| {
        tree.map(|tree| find(tree, addresses.as_ref(), has_held_sockets))
    };
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
    let (successor, evidence) = match named {
        Some(named) => (Some(named), ServingEvidence::Named),
        None => found.serving,
    };
    Survivors {
        count: left.len(),
        successor: Some(successor.unwrap_or(oldest)),
        evidence,
        oom_kills,
    }
}

/// What a scan has found.
struct Found {
    /// The survivors; none when the scan did not end in time.
    left: Option<Vec<Member>>,
    /// The survivor that serves, and what shows that.
    serving: (Option<Process>, ServingEvidence),
}

/// Scans the tree, and searches the process that serves at `addresses`, if given. Can take long, and can hang.
fn find(tree: &mut Tree, addresses: Option<&ListeningAddresses>, has_held_sockets: bool) -> Found {
    let not_searched = (None, ServingEvidence::Unknown);
    tree.update_members();
    if tree.is_known_gone() {
        return Found {
            left: Some(Vec::new()),
            serving: not_searched,
        };
    }
    let mut left = tree.members();
    left.retain(Member::is_alive);
    let left = if left.is_empty() {
        tree.confirmed_survivors(Instant::now() + SCAN_TIMEOUT)
    } else {
        Some(left)
    };
    let candidates = left.as_deref().unwrap_or_default();
    let serving = addresses.map_or(not_searched, |addresses| {
        serving::find(addresses, has_held_sockets, candidates)
    });
    Found { left, serving }
}
