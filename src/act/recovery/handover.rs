//! Lives that go over from one version of stayd to the next in the same process, and stay children of it.
//!
//! A child that is not reaped keeps its number, so the one that was left is the one that is found, dead or alive; its
//! exit status is waited for as before. What is not our child is looked for and proven like anything of an earlier
//! stayd.

use super::adoptable::leftover;
use super::scan::{cgroup_of, go_on_with_output, listen_again};
use crate::act::claims::{Claim, Member};
use crate::act::context::SharedContext;
use crate::act::context::{Asked, Instance, ServiceContext};
use crate::act::executor::Executor;
use crate::act::lifecycle::instance::{keep_trying, main_ended};
use crate::act::notify::socket::NotifySocket;
use crate::act::sockets::{Held, Origin};
use crate::act::spawn::spawner::{Running, Spawner};
use crate::act::tree::Tree;
use crate::decide::event::{Check, Exit, Life, ScanOutcome, ServiceEvent};
use crate::sys::process::{self, Process};
use crate::sys::{identity, spawn};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// One life as it is left; descriptors by their places in a list.
#[derive(Debug, Serialize, Deserialize)]
pub struct InstanceHandover {
    /// As it is in memory; the disk may have refused it.
    claim: Claim,
    /// Its main process, if that is our child.
    child: Option<Member>,
    /// That came out of a spawn of ours; else it landed with us as an orphan.
    spawned: bool,
    /// A stayd in another process began the life.
    adopted: bool,
    /// A read end of its output.
    output: Option<usize>,
    /// Its notify socket, and where that is.
    notify: Option<(usize, PathBuf)>,
}

/// A socket that was held for a service.
#[derive(Debug, Serialize, Deserialize)]
pub struct SocketHandover {
    place: usize,
    /// By the OS supervisor; else it was bound by a stayd.
    given: bool,
}

impl SocketHandover {
    /// Takes it; none when it does not listen any more.
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

/// One life as it is found.
#[derive(Debug)]
pub struct InheritedInstance {
    claim: Claim,
    child: Option<Running>,
    adopted: bool,
    /// While this is open the life's output has a reader.
    output: Option<File>,
    notify: Option<(OwnedFd, PathBuf)>,
}

/// Descriptors that were left, each to be taken once.
#[derive(Debug, Default)]
pub struct InheritedDescriptors(Vec<Option<OwnedFd>>);

impl InheritedDescriptors {
    /// All of them.
    #[must_use]
    pub fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter().map(Some).collect())
    }

    /// The one at this place; none when it was taken, or never was there.
    pub fn take(&mut self, place: usize) -> Option<OwnedFd> {
        self.0.get_mut(place)?.take()
    }
}

impl InstanceHandover {
    /// Takes it. To be called before anything is reaped.
    #[must_use]
    pub fn receive(
        self,
        spawner: &Spawner,
        descriptors: &mut InheritedDescriptors,
    ) -> InheritedInstance {
        let child = self.child.map(Process::from).and_then(|main| {
            let running = spawner.inherit(main).ok()?;
            if self.spawned {
                spawn::inherit(main.pid);
            }
            Some(running)
        });
        InheritedInstance {
            claim: self.claim,
            child,
            adopted: self.adopted,
            output: self
                .output
                .and_then(|place| descriptors.take(place))
                .map(File::from),
            notify: self
                .notify
                .and_then(|(place, path)| Some((descriptors.take(place)?, path))),
        }
    }
}

impl InheritedInstance {
    /// What listens and reads for it goes on; true for what did not have to be made anew: output, notify socket.
    pub(crate) fn hand_on(
        &mut self,
        shared: &Rc<SharedContext>,
        context: &Rc<ServiceContext>,
        instance: &Rc<Instance>,
    ) -> (bool, bool) {
        let config = &context.config;
        let output = self.output.take().is_some_and(|reader| {
            let mut output = shared.output.borrow_mut();
            let resumed = output.resume(&config.name, instance.life, &config.log, reader);
            resumed.is_ok()
        });
        let notify = self.notify.take().is_some_and(|(socket, path)| {
            let socket = NotifySocket::resume(socket, path);
            socket.is_ok_and(|socket| {
                crate::act::lifecycle::prepare::hear(shared, context, instance, socket);
                true
            })
        });
        (output, notify)
    }
}

/// The life that was left of this service, if its main process is our child.
pub(crate) fn child(shared: &SharedContext, context: &ServiceContext) -> Option<InheritedInstance> {
    let mut left = shared.inherited.borrow_mut();
    left.get(&context.config.name)?.child.as_ref()?;
    left.remove(&context.config.name)
}

/// The claim of the life that was left of this service; newer than the one on disk, which may have been refused.
pub(crate) fn claim(shared: &SharedContext, context: &ServiceContext) -> Option<Claim> {
    let left = shared.inherited.borrow();
    Some(left.get(&context.config.name)?.claim.clone())
}

/// Goes on with a life whose main process is our child, and tells of its end when that comes.
pub(crate) async fn go_on(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    mut inherited: InheritedInstance,
) {
    let Some(Running {
        process,
        handle,
        exit,
    }) = inherited.child.take()
    else {
        return;
    };
    let instance = living_of(&shared, &context, &inherited.claim);
    instance.main.replace(Some(handle));
    let tree = tree_of(&context, &instance, &inherited, process);
    instance.tree.replace(Some(tree));
    context.life.replace(Some(Rc::clone(&instance)));
    take_up(&shared, &context, &instance, &mut inherited).await;
    let left = leftover(&context, &inherited.claim, Some(process));
    let written = shared
        .claims
        .borrow_mut()
        .intend(&context.config.name, inherited.claim);
    keep_trying(&shared, &context, written);
    shared
        .tell(
            context.id,
            ServiceEvent::RecoveryScanned(ScanOutcome::Adoptable(left)),
        )
        .await;
    let exit = exit
        .await
        .map_or(Exit::Unknown, crate::act::lifecycle::successor::exit_of);
    main_ended(&shared, &context, &instance, exit).await;
}

fn living_of(shared: &SharedContext, context: &ServiceContext, claim: &Claim) -> Rc<Instance> {
    let life = Life(claim.life);
    let instance = Instance::new(life, claim.token.clone());
    let file = claim.claim_fd;
    instance.claim_file.set(Some((file.dev, file.inode)));
    instance.cgroup.replace(cgroup_of(shared, context, life));
    instance.oom_kills.set(process::oom_kill_count());
    Rc::new(instance)
}

/// What the life runs from, writes to, talks to and listens on: what was not left is had as after a crash.
async fn take_up(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    inherited: &mut InheritedInstance,
) {
    let (reads, hears) = inherited.hand_on(shared, context, instance);
    let claim = &inherited.claim;
    crate::act::runtime::materialize::adopt(
        shared,
        context,
        claim.fingerprint.as_deref(),
        claim.runtime.as_deref(),
    );
    if !reads {
        go_on_with_output(shared, context, claim);
    }
    if context.config.offers_notify_socket() && !hears {
        listen_again(shared, context, instance).await;
    }
    crate::act::sockets::regain(shared, context, instance).await;
}

/// As the version before knew it.
fn tree_of(
    context: &ServiceContext,
    instance: &Instance,
    inherited: &InheritedInstance,
    main: Process,
) -> Tree {
    let claim = &inherited.claim;
    let first = claim.first.map_or(main, Process::from);
    let mut tree = if inherited.adopted {
        Tree::of_an_earlier_stayd(main, first.pid, first.start_time)
    } else {
        Tree::new(main, identity::euid())
    };
    tree.session = first.pid;
    tree.born = first.start_time;
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    claim.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = instance.claim_file.get();
    tree.cgroup.clone_from(&instance.cgroup.borrow());
    tree.members = claim.members.iter().copied().map(Into::into).collect();
    tree.group_only = context.config.kill_group_only;
    tree
}

impl Executor {
    /// Asks nothing any more, ends what was only kept for the next question, and says what is still under way that
    /// would be cut if another version took our place now; none when nothing is. To be asked again until then, or
    /// until [`Executor::carry_on`].
    #[must_use]
    pub fn settle(&self) -> Option<String> {
        self.shared.settling.set(true);
        let mains = match self.mains_at_rest() {
            Ok(mains) => mains,
            Err(why) => return Some(why),
        };
        let spawner = &self.shared.spawner;
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

    fn mains_at_rest(&self) -> Result<Vec<i32>, String> {
        let mut mains = Vec::new();
        for context in &self.contexts {
            let instance = context.life.borrow().as_ref().map(Rc::clone);
            if let Some(instance) = instance {
                let main = at_rest(&instance);
                mains.extend(main.map_err(|what| format!("{}: {what}", context.config.name))?);
            }
        }
        Ok(mains)
    }

    /// Asks again: nobody takes our place.
    pub fn carry_on(&self) {
        self.shared.settling.set(false);
    }

    /// Leaves every life to the next version; call it at rest, and nothing else afterwards. The descriptors go to `fds`.
    #[must_use]
    pub fn leave(&self, fds: &mut Vec<OwnedFd>) -> BTreeMap<String, InstanceHandover> {
        let mut left = BTreeMap::new();
        for context in &self.contexts {
            let instance = context.life.borrow().as_ref().map(Rc::clone);
            let life = instance.and_then(|instance| self.leave_one(context, &instance, fds));
            if let Some(life) = life {
                left.insert(context.config.name.clone(), life);
            }
        }
        left
    }

    /// Leaves the sockets that are held, for lives and between them.
    #[must_use]
    pub fn leave_sockets(&self, fds: &mut Vec<OwnedFd>) -> Vec<SocketHandover> {
        let copy = |held: &Held| {
            let socket = held.socket().try_clone();
            socket.map(|socket| (socket, held.origin() == Origin::Given))
        };
        let held = crate::act::sockets::list(&self.shared, &self.contexts, copy);
        let mut left = Vec::new();
        // One that cannot be copied is taken from the living process, or bound anew.
        for (socket, given) in held.into_iter().flatten() {
            left.push(SocketHandover {
                place: fds.len(),
                given,
            });
            fds.push(socket);
        }
        left
    }

    fn leave_one(
        &self,
        context: &ServiceContext,
        instance: &Instance,
        fds: &mut Vec<OwnedFd>,
    ) -> Option<InstanceHandover> {
        let claim = self
            .shared
            .claims
            .borrow()
            .get(&context.config.name)?
            .clone();
        let main = instance.main.borrow().as_ref().map(|main| main.process)?;
        let is_child = process::stat(main.pid)
            .is_ok_and(|stat| stat.process == main && stat.ppid == identity::pid());
        let mut pack = |fd: Option<OwnedFd>| {
            fds.push(fd?);
            Some(fds.len() - 1)
        };
        let output = pack(
            self.shared
                .output
                .borrow()
                .leave(&context.config.name, instance.life),
        );
        if let Some(hearing) = instance.hearing.take() {
            hearing.abort(); // what comes from now on waits in the socket
        }
        let notify = instance.notify.borrow().as_ref().and_then(|socket| {
            let place = pack(socket.leave().ok())?;
            Some((place, socket.path().to_owned()))
        });
        Some(InstanceHandover {
            claim,
            child: is_child.then(|| main.into()),
            spawned: spawn::is_ours(main.pid),
            adopted: instance
                .tree
                .borrow()
                .as_ref()
                .is_some_and(|tree| tree.adopted),
            output,
            notify,
        })
    }
}

/// The main process of a life that nothing is under way with (none where it is somebody else's), or what is.
fn at_rest(instance: &Instance) -> Result<Option<i32>, String> {
    for check in [Check::Liveness, Check::Readiness] {
        let mut asked = instance.prober(check).borrow_mut();
        if matches!(*asked, Asked::UnderWay) {
            return Err("it is being asked".into());
        }
        // A prober is made anew at the next round; dropping it ends its helper.
        *asked = Asked::Never;
    }
    if instance.tree.borrow().is_none() {
        return Ok(None); // a stranger, or nobody yet
    }
    let main = instance.main.borrow().as_ref().map(|main| main.process);
    let main = main.ok_or("it is being ended")?;
    // A zombie is nobody's news yet; once it is reaped, its end is on its way to the loop.
    if process::stat(main.pid).is_ok_and(|stat| stat.process == main) {
        Ok(Some(main.pid))
    } else {
        Err("its end is being looked into".into())
    }
}
