//! Who is left of a life whose main process has ended.

use super::instance::seen;
use crate::act::context::{Instance, ServiceContext};
use crate::act::sockets;
use crate::act::tree::{Member, Tree};
use crate::decide::event::{Exit, Survivors};
use crate::sys::process::{self, Process};
use crate::sys::socket;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Environments are read from the processes' own memory, which a sick one may keep for itself; and those who may be of
/// the life may come and go for ever.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// Stack of the thread that looks.
const LOOK_STACK_BYTES: usize = 256 * 1024;

/// Who of the life is left, its main process having ended with `exit`.
pub(crate) async fn of(context: &ServiceContext, instance: &Instance, exit: Exit) -> Survivors {
    let oom_kills = match exit {
        Exit::Signal(libc::SIGKILL) => oom_kills_since(instance),
        Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => 0,
    };
    let nobody = Survivors {
        oom_kills,
        ..Survivors::default()
    };
    let tree = instance.tree.borrow_mut().as_mut().map(|tree| {
        tree.update_members();
        tree.clone()
    });
    let Some(tree) = tree.filter(|tree| !tree.is_known_gone()) else {
        return nobody;
    };
    let mut left = tree.members();
    left.retain(Member::is_alive);
    if left.is_empty() {
        let Some(found) = confirmed_survivors(tree.clone()).await else {
            // Nobody is named, and the kill that follows goes on looking.
            return Survivors { count: 1, ..nobody };
        };
        left = found;
    }
    if left.is_empty() {
        return nobody;
    }
    let processes = left.iter().map(|member| member.process);
    let oldest = processes.min_by_key(|process| process.start_time);
    let listening = listening(context, &tree);
    Survivors {
        count: left.len(),
        successor: listening.flatten().or(oldest).map(seen),
        successor_listens: listening.map(|holder| holder.is_some()),
        oom_kills,
    }
}

/// The survivor that listens on the port, if one does; none where nothing can be told. A socket that we hold tells nothing:
/// all that it has started have it open.
fn listening(context: &ServiceContext, tree: &Tree) -> Option<Option<Process>> {
    let port = context.config.port?;
    let listeners = socket::listeners(port).ok()?;
    if listeners.iter().any(|each| sockets::holds(context, each)) {
        return None;
    }
    tree.holds_listener(port).ok()
}

/// None when a process did not show its memory in time, or those who may be of it come and go.
async fn confirmed_survivors(tree: Tree) -> Option<Vec<Member>> {
    let (answer, left) = oneshot::channel();
    let looking = std::thread::Builder::new()
        .name("look".into())
        .stack_size(LOOK_STACK_BYTES)
        .spawn(move || {
            // Nobody waits any more after the deadline.
            let _ = answer.send(tree.confirmed_survivors(Instant::now() + LOOK_DEADLINE));
        });
    looking.ok()?;
    let left = tokio::time::timeout(LOOK_DEADLINE, left).await;
    left.ok()?.ok()?
}

fn oom_kills_since(instance: &Instance) -> u64 {
    let (before, now) = (instance.oom_kills.get(), process::oom_kill_count());
    before
        .zip(now)
        .map_or(0, |(before, now)| now.saturating_sub(before))
}
