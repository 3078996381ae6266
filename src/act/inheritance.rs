//! Lives that go over from one version of stayd to the next in the same process, and stay children of it.
//!
//! A child that is not reaped keeps its number, so the one that was left is the one that is found, dead or alive; its
//! exit status is waited for as before. What is not our child is looked for and proven like anything of an earlier
//! stayd.

use super::child::{Nursery, Running};
use super::claim::{Claim, Member};
use super::leftover::leftover;
use super::life::{keep_trying, main_ended};
use super::notify_socket::NotifySocket;
use super::performer::Performer;
use super::shared::Shared;
use super::sockets::{Held, Origin};
use super::survey::{cgroup_of, go_on_with_output, listen_again};
use super::tree::Tree;
use super::ward::{Asked, Living, Ward};
use crate::decide::event::{Check, Exit, Fact, Life, Survey};
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
pub struct LifeLeft {
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
pub struct SocketLeft {
    place: usize,
    /// By the OS supervisor; else it was bound by a stayd.
    given: bool,
}

impl SocketLeft {
    /// Takes it; none when it does not listen any more.
    #[must_use]
    pub fn receive(self, luggage: &mut Luggage) -> Option<Held> {
        let origin = if self.given {
            Origin::Given
        } else {
            Origin::Bound
        };
        Held::new(luggage.take(self.place)?, origin)
    }
}

/// One life as it is found.
#[derive(Debug)]
pub struct Inherited {
    claim: Claim,
    child: Option<Running>,
    adopted: bool,
    /// While this is open the life's output has a reader.
    output: Option<File>,
    notify: Option<(OwnedFd, PathBuf)>,
}

/// Descriptors that were left, each to be taken once.
#[derive(Debug, Default)]
pub struct Luggage(Vec<Option<OwnedFd>>);

impl Luggage {
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

impl LifeLeft {
    /// Takes it. To be called before anything is reaped.
    #[must_use]
    pub fn receive(self, nursery: &Nursery, luggage: &mut Luggage) -> Inherited {
        let child = self.child.map(Process::from).and_then(|main| {
            let running = nursery.inherit(main).ok()?;
            if self.spawned {
                spawn::inherit(main.pid);
            }
            Some(running)
        });
        Inherited {
            claim: self.claim,
            child,
            adopted: self.adopted,
            output: self
                .output
                .and_then(|place| luggage.take(place))
                .map(File::from),
            notify: self
                .notify
                .and_then(|(place, path)| Some((luggage.take(place)?, path))),
        }
    }
}

impl Inherited {
    /// What listens and reads for it goes on; true for what did not have to be made anew: output, notify socket.
    pub(super) fn hand_on(
        &mut self,
        shared: &Rc<Shared>,
        ward: &Rc<Ward>,
        living: &Rc<Living>,
    ) -> (bool, bool) {
        let config = &ward.config;
        let output = self.output.take().is_some_and(|reader| {
            let mut output = shared.output.borrow_mut();
            let resumed = output.resume(&config.name, living.life, &config.log, reader);
            resumed.is_ok()
        });
        let notify = self.notify.take().is_some_and(|(socket, path)| {
            let socket = NotifySocket::resume(socket, path);
            socket.is_ok_and(|socket| {
                super::prepare::hear(shared, ward, living, socket);
                true
            })
        });
        (output, notify)
    }
}

/// The life that was left of this service, if its main process is our child.
pub(super) fn child(shared: &Shared, ward: &Ward) -> Option<Inherited> {
    let mut left = shared.inherited.borrow_mut();
    left.get(&ward.config.name)?.child.as_ref()?;
    left.remove(&ward.config.name)
}

/// The claim of the life that was left of this service; newer than the one on disk, which may have been refused.
pub(super) fn claim(shared: &Shared, ward: &Ward) -> Option<Claim> {
    let left = shared.inherited.borrow();
    Some(left.get(&ward.config.name)?.claim.clone())
}

/// Goes on with a life whose main process is our child, and tells of its end when that comes.
pub(super) async fn go_on(shared: Rc<Shared>, ward: Rc<Ward>, mut inherited: Inherited) {
    let Some(Running {
        process,
        handle,
        exit,
    }) = inherited.child.take()
    else {
        return;
    };
    let living = living_of(&shared, &ward, &inherited.claim);
    living.main.replace(Some(handle));
    let tree = tree_of(&ward, &living, &inherited, process);
    living.tree.replace(Some(tree));
    ward.life.replace(Some(Rc::clone(&living)));
    take_up(&shared, &ward, &living, &mut inherited).await;
    let left = leftover(&ward, &inherited.claim, Some(process));
    let written = shared
        .claims
        .borrow_mut()
        .intend(&ward.config.name, inherited.claim);
    keep_trying(&shared, &ward, written);
    shared
        .tell(ward.id, Fact::Surveyed(Survey::Ours(left)))
        .await;
    let exit = exit.await.map_or(Exit::Unknown, super::heir::exit_of);
    main_ended(&shared, &ward, &living, exit).await;
}

fn living_of(shared: &Shared, ward: &Ward, claim: &Claim) -> Rc<Living> {
    let life = Life(claim.life);
    let living = Living::new(life, claim.token.clone());
    let file = claim.claim_fd;
    living.claim_file.set(Some((file.dev, file.inode)));
    living.cgroup.replace(cgroup_of(shared, ward, life));
    living.oom_kills.set(process::oom_kill_count());
    Rc::new(living)
}

/// What the life runs from, writes to, talks to and listens on: what was not left is had as after a crash.
async fn take_up(
    shared: &Rc<Shared>,
    ward: &Rc<Ward>,
    living: &Rc<Living>,
    inherited: &mut Inherited,
) {
    let (reads, hears) = inherited.hand_on(shared, ward, living);
    let claim = &inherited.claim;
    super::materialize::adopt(
        shared,
        ward,
        claim.fingerprint.as_deref(),
        claim.runtime.as_deref(),
    );
    if !reads {
        go_on_with_output(shared, ward, claim);
    }
    if ward.config.offers_notify_socket() && !hears {
        listen_again(shared, ward, living).await;
    }
    super::sockets::regain(shared, ward, living).await;
}

/// As the version before knew it.
fn tree_of(ward: &Ward, living: &Living, inherited: &Inherited, main: Process) -> Tree {
    let claim = &inherited.claim;
    let first = claim.first.map_or(main, Process::from);
    let mut tree = if inherited.adopted {
        Tree::of_an_earlier_stayd(main, first.pid, first.birth)
    } else {
        Tree::new(main, identity::euid())
    };
    tree.session = first.pid;
    tree.born = first.birth;
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    claim.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = living.claim_file.get();
    tree.cgroup.clone_from(&living.cgroup.borrow());
    tree.members = claim.members.iter().copied().map(Into::into).collect();
    tree.group_only = ward.config.kill_group_only;
    tree
}

impl Performer {
    /// Asks nothing any more, ends what was only kept for the next question, and says what is still under way that
    /// would be cut if another version took our place now; none when nothing is. To be asked again until then, or
    /// until [`Performer::carry_on`].
    #[must_use]
    pub fn settle(&self) -> Option<String> {
        self.shared.settling.set(true);
        let mains = match self.mains_at_rest() {
            Ok(mains) => mains,
            Err(why) => return Some(why),
        };
        let nursery = &self.shared.nursery;
        if nursery.is_starting() {
            return Some("the start of a program has not returned".into());
        }
        let mut others = nursery.unreaped();
        others.retain(|pid| !mains.contains(pid));
        if let Some(pid) = others.first() {
            return Some(format!(
                "pid {pid}, which stayd had started for itself, has not ended"
            ));
        }
        let kills = nursery.undertaker().is_at_work();
        kills.then(|| "processes are being killed".into())
    }

    fn mains_at_rest(&self) -> Result<Vec<i32>, String> {
        let mut mains = Vec::new();
        for ward in &self.wards {
            let living = ward.life.borrow().as_ref().map(Rc::clone);
            if let Some(living) = living {
                let main = at_rest(&living);
                mains.extend(main.map_err(|what| format!("{}: {what}", ward.config.name))?);
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
    pub fn leave(&self, fds: &mut Vec<OwnedFd>) -> BTreeMap<String, LifeLeft> {
        let mut left = BTreeMap::new();
        for ward in &self.wards {
            let living = ward.life.borrow().as_ref().map(Rc::clone);
            let life = living.and_then(|living| self.leave_one(ward, &living, fds));
            if let Some(life) = life {
                left.insert(ward.config.name.clone(), life);
            }
        }
        left
    }

    /// Leaves the sockets that are held, for lives and between them.
    #[must_use]
    pub fn leave_sockets(&self, fds: &mut Vec<OwnedFd>) -> Vec<SocketLeft> {
        let copy = |held: &Held| {
            let socket = held.socket().try_clone();
            socket.map(|socket| (socket, held.origin() == Origin::Given))
        };
        let held = super::sockets::list(&self.shared, &self.wards, copy);
        let mut left = Vec::new();
        // One that cannot be copied is taken from the living process, or bound anew.
        for (socket, given) in held.into_iter().flatten() {
            left.push(SocketLeft {
                place: fds.len(),
                given,
            });
            fds.push(socket);
        }
        left
    }

    fn leave_one(&self, ward: &Ward, living: &Living, fds: &mut Vec<OwnedFd>) -> Option<LifeLeft> {
        let claim = self.shared.claims.borrow().get(&ward.config.name)?.clone();
        let main = living.main.borrow().as_ref().map(|main| main.process)?;
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
                .leave(&ward.config.name, living.life),
        );
        if let Some(hearing) = living.hearing.take() {
            hearing.abort(); // what comes from now on waits in the socket
        }
        let notify = living.notify.borrow().as_ref().and_then(|socket| {
            let place = pack(socket.leave().ok())?;
            Some((place, socket.path().to_owned()))
        });
        Some(LifeLeft {
            claim,
            child: is_child.then(|| main.into()),
            spawned: spawn::is_ours(main.pid),
            adopted: living
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
fn at_rest(living: &Living) -> Result<Option<i32>, String> {
    for check in [Check::Liveness, Check::Readiness] {
        let mut asked = living.prober(check).borrow_mut();
        if matches!(*asked, Asked::UnderWay) {
            return Err("it is being asked".into());
        }
        // A prober is made anew at the next round; dropping it ends its helper.
        *asked = Asked::Never;
    }
    if living.tree.borrow().is_none() {
        return Ok(None); // a stranger, or nobody yet
    }
    let main = living.main.borrow().as_ref().map(|main| main.process);
    let main = main.ok_or("it is being ended")?;
    // A zombie is nobody's news yet; once it is reaped, its end is on its way to the loop.
    if process::stat(main.pid).is_ok_and(|stat| stat.process == main) {
        Ok(Some(main.pid))
    } else {
        Err("its end is being looked into".into())
    }
}
