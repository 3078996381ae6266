//! Hands the instances and sockets of this stayd over to another version in the same process (`stayd upgrade`).
//!
//! The children stay children of this process. The handover is written to the upgrade's manifest, with descriptors as
//! indices into a list.

use super::inherited::InheritedInstance;
use crate::act::claims::{Claim, RecordedProcess};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::sockets::{HeldSocket, SocketOrigin};
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

/// One instance as this version hands it over. Descriptors are indices into the list of inherited descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct InstanceHandover {
    /// The claim in memory; the disk may have refused it.
    claim: Claim,
    /// The main process, if it is our child.
    child: Option<RecordedProcess>,
    /// stayd spawned that child; otherwise it was reparented to stayd as an orphan.
    spawned: bool,
    /// A stayd in another process started the instance.
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

/// Descriptors that the version before handed over. Each can be taken once.
#[derive(Debug, Default)]
pub struct InheritedDescriptors(Vec<Option<OwnedFd>>);

impl InheritedDescriptors {
    /// These descriptors, in their order.
    #[must_use]
    pub fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter().map(Some).collect())
    }

    /// Takes the descriptor at index `place`; none when it was taken already or does not exist.
    pub fn take(&mut self, place: usize) -> Option<OwnedFd> {
        self.0.get_mut(place)?.take()
    }
}

impl SocketHandover {
    /// Takes the socket; none when it does not listen any more.
    #[must_use]
    pub fn receive(self, descriptors: &mut InheritedDescriptors) -> Option<HeldSocket> {
        let origin = if self.given {
            SocketOrigin::Given
        } else {
            SocketOrigin::Bound
        };
        HeldSocket::new(descriptors.take(self.place)?, origin)
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

/// Returns what is under way that a takeover by another version would interrupt; none if nothing is. Drops the probers, which
/// are kept only for the next attempt.
pub(crate) fn obstacle(shared: &SharedContext, services: &[Rc<ServiceContext>]) -> Option<String> {
    let mains = match settled_mains(services) {
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

fn settled_mains(services: &[Rc<ServiceContext>]) -> Result<Vec<i32>, String> {
    let mut mains = Vec::new();
    for service in services {
        if let Some(instance) = service.current() {
            let main = settled_main(&instance);
            mains.extend(main.map_err(|what| format!("{}: {what}", service.name()))?);
        }
    }
    Ok(mains)
}

/// The main process of an instance, or an error that says what is under way with the instance. None for a foreign process, and
/// while nothing is started yet.
fn settled_main(instance: &Instance) -> Result<Option<i32>, String> {
    for check in [Check::Liveness, Check::Readiness] {
        let cleared = instance.checks.prober(check).clear();
        cleared.map_err(|_| "it is being asked")?;
    }
    if !instance.tree.is_known() {
        return Ok(None);
    }
    let main = instance.main.process().ok_or("it is being ended")?;
    // The end of a zombie is not reported to the loop yet. Once the zombie is reaped, the event is on its way.
    if process::exists(main) {
        Ok(Some(main.pid))
    } else {
        Err("its end is being handled".into())
    }
}

/// Hands every instance over to the next version and appends their descriptors to `fds`. Call it when there is no obstacle,
/// and execute no action afterwards.
pub(crate) fn hand_over_instances(
    shared: &SharedContext,
    services: &[Rc<ServiceContext>],
    fds: &mut Vec<OwnedFd>,
) -> BTreeMap<String, InstanceHandover> {
    let mut handovers = BTreeMap::new();
    for service in services {
        let instance = service.current();
        let handover = instance.and_then(|instance| hand_over(shared, service, &instance, fds));
        if let Some(handover) = handover {
            handovers.insert(service.name().to_owned(), handover);
        }
    }
    handovers
}

fn hand_over(
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

/// Hands over the sockets that stayd holds, also between instances, and appends them to `fds`.
pub(crate) fn hand_over_sockets(
    shared: &SharedContext,
    services: &[Rc<ServiceContext>],
    fds: &mut Vec<OwnedFd>,
) -> Vec<SocketHandover> {
    let copy = |held: &HeldSocket| {
        let socket = held.socket().try_clone();
        socket.map(|socket| (socket, held.origin() == SocketOrigin::Given))
    };
    let mut held = shared.received.list(copy);
    for service in services {
        held.extend(service.sockets.list(copy));
    }
    let mut handovers = Vec::new();
    // The next version fetches a socket that cannot be copied from the running process, or binds it again.
    for (socket, given) in held.into_iter().flatten() {
        let place = fds.len();
        handovers.push(SocketHandover { place, given });
        fds.push(socket);
    }
    handovers
}
