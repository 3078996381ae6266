//! Finds what is left of an instance whose main process has ended.

use crate::act::context::{Instance, ServiceContext};
use crate::act::off_loop::off_loop;
use crate::act::tree::{Member, Tree};
use crate::decide::event::{Exit, Survivors};
use crate::sys::process::Process;
use crate::sys::socket;
use std::time::{Duration, Instant};

/// Environments are read from the processes' own memory, which a sick process may not show. And processes that may belong
/// to the instance may start and end for ever.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);

/// What of the instance is left after its main process has ended with `exit`.
pub(super) async fn of(service: &ServiceContext, instance: &Instance, exit: Exit) -> Survivors {
    let oom_kills = match exit {
        Exit::Signal(libc::SIGKILL) => instance.main.oom_kills_since_start(),
        Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => 0,
    };
    let none = Survivors {
        oom_kills,
        ..Survivors::default()
    };
    // Only for this tree: the claim is written again when stayd remembers members the next time.
    instance.tree.update_members();
    let tree = instance.tree.get();
    let Some(tree) = tree.filter(|tree| !tree.is_known_gone()) else {
        return none;
    };
    let mut left = tree.members();
    left.retain(Member::is_alive);
    if left.is_empty() {
        let Some(found) = confirmed_survivors(tree.clone()).await else {
            // No process can be named. The kill that follows looks again.
            return Survivors { count: 1, ..none };
        };
        left = found;
    }
    if left.is_empty() {
        return none;
    }
    let processes = left.iter().map(|member| member.process);
    let oldest = processes.min_by_key(|process| process.start_time);
    let listening = listening(service, &tree);
    Survivors {
        count: left.len(),
        successor: listening.flatten().or(oldest),
        successor_listens: listening.map(|holder| holder.is_some()),
        oom_kills,
    }
}

/// The survivor that listens on the port, if one does. None where nothing can be told: every process of the tree has a
/// socket open that stayd holds.
fn listening(service: &ServiceContext, tree: &Tree) -> Option<Option<Process>> {
    let port = service.config.port?;
    let listeners = socket::listeners(port).ok()?;
    if listeners.iter().any(|each| service.sockets.holds(each)) {
        return None;
    }
    tree.holds_listener(port).ok()
}

/// None when a process did not show its memory in time, or when suspects start and end all the time.
async fn confirmed_survivors(tree: Tree) -> Option<Vec<Member>> {
    let look = move || tree.confirmed_survivors(Instant::now() + LOOK_DEADLINE);
    off_loop("survivors", LOOK_DEADLINE, look).await.ok()?
}
