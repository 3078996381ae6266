//! Hands the instances and sockets of this stayd over to another version in the same process (`stayd upgrade`).
//!
//! The children stay children of this process. What this version leaves is written to the upgrade's manifest, with
//! descriptors as places in a list.

use super::inherited::InheritedInstance;
use crate::act::claims::{Claim, Member};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::sockets::{Held, Origin};
use crate::act::spawn::spawner::Spawner;
use crate::decide::event::Check;
use crate::sys::process::{self, Process};
use crate::sys::{identity, spawn};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// One instance as this version leaves it. Descriptors are places in the list of inherited descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct InstanceHandover {
    /// The claim in memory; the disk may have refused it.
    claim: Claim,
    /// The main process, if it is our child.
    child: Option<Member>,
    /// stayd spawned that child; otherwise it landed with stayd as an orphan.
    spawned: bool,
    /// A stayd in another process began the instance.
    adopted: bool,
    /// A read end of its output.
    output: Option<usize>,
    /// Its notify socket, and the socket's path.
    notify: Option<(usize, PathBuf)>,
}

/// A socket that this version holds for a service.
#[derive(Debug, Serialize, Deserialize)]
pub struct SocketHandover {
    place: usize,
    /// The parent supervisor gave it; otherwise a stayd bound it.
    given: bool,
}

/// Descriptors that the version before has left. Each can be taken once.
#[derive(Debug, Default)]
pub struct InheritedDescriptors(Vec<Option<OwnedFd>>);

impl InheritedDescriptors {
    /// All of them, in their order.
    #[must_use]
    pub fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter().map(Some).collect())
    }

    /// Takes the descriptor at this place; none when it was taken, or was never there.
    pub fn take(&mut self, place: usize) -> Option<OwnedFd> {
        self.0.get_mut(place)?.take()
    }
}

impl SocketHandover {
    /// Takes the socket; none when it does not listen any more.
    #[must_use]
    pub fn receive(self, descriptors: &mut InheritedDescriptors) -> Option<Held> {
        let origin = if self.given {
            Origin::Given
        } else {
            Origin::Bound
        };
        Held::new(descriptors.take(self.place)?, origin)
    }
}

impl InstanceHandover {
    /// Takes the instance. Call this before any child is reaped.
    #[must_use]
    pub fn receive(
        self,
        spawner: &Spawner,
        descriptors: &mut InheritedDescriptors,
    ) -> InheritedInstance {
        let child = self.child.map(Process::from).and_then(|main| {
            let running = spawner.inherit(main).ok()?;
            if self.spawned {
                spawn::register_inherited(main.pid);
            }
            Some(running)
        });
        let output = self.output.and_then(|place| descriptors.take(place));
        let notify = self.notify;
        InheritedInstance {
            claim: self.claim,
            child,
            adopted: self.adopted,
            output: output.map(File::from),
            notify: notify.and_then(|(place, path)| Some((descriptors.take(place)?, path))),
        }
    }
}

/// What is under way and would be cut off if another version took over now; none: nothing is. Ends what was kept only for
/// the next probe attempt.
pub(crate) fn obstacle(shared: &SharedContext, services: &[Rc<ServiceContext>]) -> Option<String> {
    let mains = match mains_at_rest(services) {
        Ok(mains) => mains,
        Err(why) => return Some(why),
    };
    let spawner = &shared.spawner;
    if spawner.is_starting() {
        return Some("the start of a program has not returned".into());
    }
    let mut others = spawner.unreaped();
    others.retain(|pid| !mains.contains(pid));
    if let Some(pid) = others.first() {
        return Some(format!(
            "pid {pid}, which stayd had started for itself, has not ended"
        ));
    }
    let kills = spawner.tree_killer().is_at_work();
    kills.then(|| "processes are being killed".into())
}

fn mains_at_rest(services: &[Rc<ServiceContext>]) -> Result<Vec<i32>, String> {
    let mut mains = Vec::new();
    for service in services {
        if let Some(instance) = service.current() {
            let main = main_at_rest(&instance);
            mains.extend(main.map_err(|what| format!("{}: {what}", service.name()))?);
        }
    }
    Ok(mains)
}

/// The main process of an instance that nothing is under way with, or what is under way. None for a foreign process, and
/// while nothing was started yet.
fn main_at_rest(instance: &Instance) -> Result<Option<i32>, String> {
    for check in [Check::Liveness, Check::Readiness] {
        let cleared = instance.checks.prober(check).clear();
        cleared.map_err(|_| "it is being asked")?;
    }
    if !instance.tree.is_known() {
        return Ok(None);
    }
    let main = instance.main.process().ok_or("it is being ended")?;
    // The end of a zombie is still unknown to the loop. Once it is reaped, the event is on its way to the loop.
    if process::stat(main.pid).is_ok_and(|stat| stat.process == main) {
        Ok(Some(main.pid))
    } else {
        Err("its end is being looked into".into())
    }
}

/// Leaves every instance to the next version and appends their descriptors to `fds`. Call it when there is no obstacle, and
/// execute no action afterwards.
pub(crate) fn leave_instances(
    shared: &SharedContext,
    services: &[Rc<ServiceContext>],
    fds: &mut Vec<OwnedFd>,
) -> BTreeMap<String, InstanceHandover> {
    let mut left = BTreeMap::new();
    for service in services {
        let instance = service.current();
        let handover = instance.and_then(|instance| leave(shared, service, &instance, fds));
        if let Some(handover) = handover {
            left.insert(service.name().to_owned(), handover);
        }
    }
    left
}

fn leave(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    fds: &mut Vec<OwnedFd>,
) -> Option<InstanceHandover> {
    let claim = shared.claims.get(service.name())?;
    let main = instance.main.process()?;
    let is_child = process::stat(main.pid)
        .is_ok_and(|stat| stat.process == main && stat.ppid == identity::pid());
    let mut pack = |fd: Option<OwnedFd>| {
        fds.push(fd?);
        Some(fds.len() - 1)
    };
    let output = pack(
        shared
            .output
            .open_handover_reader(service.name(), instance.life),
    );
    let notify = instance
        .messages
        .hand_over()
        .and_then(|(socket, path)| Some((pack(Some(socket))?, path)));
    Some(InstanceHandover {
        claim,
        child: is_child.then(|| main.into()),
        spawned: spawn::is_spawned(main.pid),
        adopted: instance.tree.is_adopted(),
        output,
        notify,
    })
}

/// Leaves the sockets that stayd holds, also between instances, and appends them to `fds`.
pub(crate) fn leave_sockets(
    shared: &SharedContext,
    services: &[Rc<ServiceContext>],
    fds: &mut Vec<OwnedFd>,
) -> Vec<SocketHandover> {
    let copy = |held: &Held| {
        let socket = held.socket().try_clone();
        socket.map(|socket| (socket, held.origin() == Origin::Given))
    };
    let mut held = shared.received.list(copy);
    for service in services {
        held.extend(service.sockets.list(copy));
    }
    let mut left = Vec::new();
    // A socket that cannot be copied is taken from the running process, or bound anew.
    for (socket, given) in held.into_iter().flatten() {
        let place = fds.len();
        left.push(SocketHandover { place, given });
        fds.push(socket);
    }
    left
}
