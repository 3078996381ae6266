//! A main process that this stayd did not spawn as one: a launcher's heir, or an earlier stayd's child.
//!
//! Its parent may be anybody. If we are it, the reaper tells of its end; else its pidfd does.

use super::instance::{main_ended, name_main};
use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::decide::event::{Exit, Life};
use crate::sys::process::{self, Handle, Process};
use crate::sys::reaper::{Reaped, Status};
use crate::sys::{exit, identity};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// An init that waits for its orphans takes milliseconds; after that a zombie is as good as gone.
const REAPING_GRACE: Duration = Duration::from_millis(100);
/// For PostgreSQL an init that looks after its orphans every few seconds only is waited for.
const REAPING_DEADLINE: Duration = Duration::from_secs(5);
const REAPING_PAUSE: Duration = Duration::from_millis(5);

/// The launcher has left: from now on `successor` is the main process.
pub(crate) fn inherit(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    life: Life,
    successor: Process,
) {
    let Some(instance) = context.instance(life) else {
        return;
    };
    let successor = Process {
        pid: successor.pid,
        start_time: successor.start_time,
    };
    instance.main_gone.send_replace(false);
    instance.successor.set(Some(successor));
    if let Some(tree) = instance.tree.borrow_mut().as_mut() {
        tree.members.push(tree.main);
        tree.main = successor;
    }
    name_main(shared, context, life, successor);
    match Handle::open(successor) {
        Ok(handle) => {
            let handle = Arc::new(handle);
            instance.main.replace(Some(Arc::clone(&handle)));
            if process::stat(successor.pid).is_ok_and(|stat| stat.ppid != identity::pid()) {
                let (shared, context) = (Rc::clone(shared), Rc::clone(context));
                tokio::task::spawn_local(watch(shared, context, instance, handle));
            }
        }
        // It ended between the look and now; its exit is reaped or will be.
        Err(_) => begin_end(shared, context, &instance, Exit::Unknown),
    }
}

/// Whether `stranger` is the heir of this ward; then its end is the life's.
pub(crate) fn ended(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    stranger: &Reaped,
) -> bool {
    let Some(instance) = context.life.borrow().as_ref().map(Rc::clone) else {
        return false;
    };
    if instance
        .successor
        .get()
        .is_none_or(|successor| successor.pid != stranger.pid)
    {
        return false;
    }
    begin_end(shared, context, &instance, exit_of(stranger.status));
    true
}

pub(crate) const fn exit_of(status: Status) -> Exit {
    match status {
        Status::Code(code) => Exit::Code(code),
        Status::Signal(number) => Exit::Signal(number),
    }
}

/// A zombie holds no port and no lock; only its number is taken until its parent has reaped it. A PostgreSQL that finds
/// its predecessor's number in use does not start (`CreateLockFile` in miscinit.c), so it is worth waiting for; for nobody
/// else the next life waits longer than a prompt init takes.
pub(crate) async fn reaped_by_its_parent(ended: Process) {
    let zombie = || {
        let stat = process::stat(ended.pid).ok()?;
        (stat.process == ended).then_some(stat)
    };
    let heeds_numbers = zombie().is_some_and(|stat| stat.comm == "postgres");
    let gone = async {
        while zombie().is_some() {
            tokio::time::sleep(REAPING_PAUSE).await;
        }
    };
    let within = if heeds_numbers {
        REAPING_DEADLINE
    } else {
        REAPING_GRACE
    };
    // A parent that never reaps is not waited for.
    let _ = tokio::time::timeout(within, gone).await;
}

/// Waits for the end of a main process that is not our child, or was not when it became the main process.
pub(crate) async fn watch(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    instance: Rc<Instance>,
    main: Arc<Handle>,
) {
    let exit = match exit::wait(&main).await {
        Ok(status) => status.map_or(Exit::Unknown, exit_of),
        Err(error) => {
            tracing::warn!(
                service = context.config.name,
                "cannot wait for the end of pid {}: {error}; only its probe tells from now on",
                main.process.pid
            );
            return;
        }
    };
    reaped_by_its_parent(main.process).await;
    // it may have become our child meanwhile, and been reaped
    if instance.successor.get() == Some(main.process) {
        begin_end(&shared, &context, &instance, exit);
    }
}

pub(crate) fn begin_end(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    exit: Exit,
) {
    instance.successor.set(None);
    let (shared, context, instance) = (Rc::clone(shared), Rc::clone(context), Rc::clone(instance));
    tokio::task::spawn_local(async move { main_ended(&shared, &context, &instance, exit).await });
}
