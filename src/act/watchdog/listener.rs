//! Whether the process that a probe's connection reaches belongs to the service.
//!
//! The kernel lists the listeners that the connection can reach. stayd searches the processes for each new one, once: first
//! the tree, then all others, to name the foreign one. With SO_REUSEPORT several sockets share an address, and the kernel
//! chooses for each connection: one foreign socket among them is enough that no answer counts.

use super::holder_search::{self, Holder};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::lifecycle::claim::record_members;
use crate::act::listeners;
use crate::act::off_loop::off_loop;
use crate::act::probe::{ForeignHolder, JudgeError, Judgment, ListenerJudge, local_error_remedy};
use crate::act::process_info::ProcessInspector;
use crate::decide::clock::Duration;
use crate::decide::event::Life;
use crate::sys::socket::Listener;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

/// The most time to search all processes for the one that listens.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest number of searches in one attempt: the first may be one that was under way for other listeners.
const SEARCHES_MAX: usize = 2;
/// The most time to find the name of its user.
const NAME_TIMEOUT: Duration = Duration::from_secs(1);

/// The judge for the probes of an instance; none if every listener counts (`port_owner = "any"`).
pub(super) fn judge_of(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Instance,
) -> Option<Rc<dyn ListenerJudge>> {
    if service.config.any_port_owner {
        return None;
    }
    Some(Rc::new(TreeJudge {
        shared: Rc::downgrade(shared),
        service: Rc::downgrade(service),
        life: instance.life,
    }))
}

/// Judges the listeners that the probes of one instance reach.
struct TreeJudge {
    // Weak, because the prober that holds this judge belongs to the instance.
    shared: Weak<SharedContext>,
    service: Weak<ServiceContext>,
    life: Life,
}

impl ListenerJudge for TreeJudge {
    fn judge(&self, address: SocketAddr) -> Judgment<'_> {
        Box::pin(async move {
            let (shared, service) = (self.shared.upgrade(), self.service.upgrade());
            let instance = service.as_ref().and_then(|it| it.instance(self.life));
            match (shared, service, instance) {
                (Some(shared), Some(service), Some(instance)) => {
                    judge(&shared, &service, &instance, address).await
                }
                _ => Err(JudgeError::NotSeen("the instance has ended".into())),
            }
        })
    }
}

async fn judge(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    address: SocketAddr,
) -> Result<(), JudgeError> {
    // stayd keeps no tree of a foreign process that it is attached to.
    if !instance.tree.is_known() {
        return Ok(());
    }
    let listeners = match listeners::reached_at(address).await {
        Ok(listeners) => listeners,
        Err(error) if is_shortage(&error) => return Err(not_seen(address, &error)),
        // This kernel does not list listeners, so stayd believes every one.
        Err(_) => return Ok(()),
    };
    let judged = instance.checks.judged_listeners();
    let unjudged = || {
        let mut new = listeners.clone();
        new.retain(|one| judged.get(one.inode, (shared.now)()).is_none());
        new
    };
    for _ in 0..SEARCHES_MAX {
        let new = unjudged();
        if new.is_empty() {
            break;
        }
        // A search that takes longer than the attempt goes on, and the next attempt uses its result.
        let begin = || {
            let (shared, service) = (Rc::clone(shared), Rc::clone(service));
            search(shared, service, Rc::clone(instance), address, new)
        };
        judged.search(begin).await?;
    }
    if !unjudged().is_empty() {
        let why =
            format!("cannot find the process that listens on {address}: it changes too often");
        return Err(JudgeError::NotSeen(why));
    }
    let foreign = |one: &Listener| judged.get(one.inode, (shared.now)()).flatten();
    let is_shared = listeners.iter().any(|one| foreign(one).is_none());
    match listeners.iter().find_map(|one| Some((one, foreign(one)?))) {
        Some((listener, holder)) => {
            Err(JudgeError::Foreign(describe(listener, &holder, is_shared)))
        }
        None => Ok(()),
    }
}

/// Judges listeners that are new, and stores the judgments.
async fn search(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    instance: Rc<Instance>,
    address: SocketAddr,
    mut new: Vec<Listener>,
) -> Result<(), JudgeError> {
    let judged = instance.checks.judged_listeners();
    new.retain(|one| {
        let is_held = service.sockets.holds(one);
        if is_held {
            judged.set(one.inode, (shared.now)(), None);
        }
        !is_held
    });
    let Some(tree) = instance.tree.get().filter(|_| !new.is_empty()) else {
        return Ok(());
    };
    let searching = move || holder_search::holders(&tree, &new);
    let found = off_loop("listener", SEARCH_TIMEOUT, searching).await;
    let holders = match found {
        Ok(Ok(holders)) => holders,
        Ok(Err(error)) => return Err(not_seen(address, &error)),
        Err(error) => {
            return Err(JudgeError::NotSeen(format!(
                "cannot find the process that listens on {address}: {error}"
            )));
        }
    };
    let mut has_changed = false;
    for (listener, holder) in holders {
        has_changed |= holder == Holder::Tree;
        let foreign = match holder {
            Holder::Tree | Holder::MayBeTree => None,
            Holder::Process { pid, name } => Some(ForeignHolder {
                who: format!("pid {pid} ({name})"),
                why: "is not of this service's tree",
            }),
            Holder::AnotherUser => Some(ForeignHolder {
                who: user_in_words(&shared, listener.uid).await,
                why: "is hidden from stayd and runs as neither stayd's user nor the service's",
            }),
        };
        judged.set(listener.inode, (shared.now)(), foreign);
    }
    if has_changed {
        // A new listener means that the tree has changed. Record members that have left it now, while there is evidence for
        // them.
        record_members(&shared, &service, &instance).await;
    }
    Ok(())
}

async fn user_in_words(shared: &SharedContext, uid: u32) -> String {
    let mut inspector = ProcessInspector::new(&shared.helpers, NAME_TIMEOUT);
    match inspector.user_name(uid).await {
        Some(name) => format!("a process of user {name} (uid {uid})"),
        None => format!("a process of uid {uid}"),
    }
}

fn describe(listener: &Listener, holder: &ForeignHolder, is_shared: bool) -> String {
    let Listener { addr, .. } = listener;
    let (port, ForeignHolder { who, why }) = (addr.port(), holder);
    if is_shared {
        format!(
            "port {port} is also answered by {who} on {addr}, which {why}; the kernel chooses between it and the service \
             (SO_REUSEPORT), so stayd ignores all answers (port_owner = \"any\" accepts them)"
        )
    } else {
        format!(
            "port {port} is answered by {who} on {addr}, which {why}; stayd sends it nothing and ignores its answers \
             (port_owner = \"any\" accepts them)"
        )
    }
}

fn not_seen(address: SocketAddr, error: &io::Error) -> JudgeError {
    let remedy = local_error_remedy(error).unwrap_or("stayd asks again at the next attempt");
    JudgeError::NotSeen(format!(
        "cannot find the process that listens on {address}: {remedy} ({error})"
    ))
}

/// Whether stayd lacks a descriptor or memory.
fn is_shortage(error: &io::Error) -> bool {
    const OF_RESOURCES: [i32; 5] = [
        libc::EAGAIN,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOBUFS,
    ];
    let errno = error.raw_os_error();
    error.kind() == io::ErrorKind::TimedOut
        || errno.is_some_and(|errno| OF_RESOURCES.contains(&errno))
}
