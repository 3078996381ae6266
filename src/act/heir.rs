//! A main process that this stayd did not spawn as one: a launcher's heir, or an earlier stayd's child.
//!
//! Its parent may be anybody. If we are it, the reaper tells of its end; else its pidfd does.

use super::life::{main_ended, name_main};
use super::shared::Shared;
use super::ward::{Living, Ward};
use crate::decide::event::{Exit, Life, Proc};
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

/// The launcher has left: from now on `heir` is the main process.
pub(super) fn inherit(shared: &Rc<Shared>, ward: &Rc<Ward>, life: Life, heir: Proc) {
    let Some(living) = ward.living(life) else {
        return;
    };
    let heir = Process {
        pid: heir.pid,
        birth: heir.birth,
    };
    living.main_gone.send_replace(false);
    living.heir.set(Some(heir));
    if let Some(tree) = living.tree.borrow_mut().as_mut() {
        tree.members.push(tree.main);
        tree.main = heir;
    }
    name_main(shared, ward, life, heir);
    match Handle::open(heir) {
        Ok(handle) => {
            let handle = Arc::new(handle);
            living.main.replace(Some(Arc::clone(&handle)));
            if process::stat(heir.pid).is_ok_and(|stat| stat.ppid != identity::pid()) {
                let (shared, ward) = (Rc::clone(shared), Rc::clone(ward));
                tokio::task::spawn_local(watch(shared, ward, living, handle));
            }
        }
        // It ended between the look and now; its exit is reaped or will be.
        Err(_) => begin_end(shared, ward, &living, Exit::Unknown),
    }
}

/// Whether `stranger` is the heir of this ward; then its end is the life's.
pub(super) fn ended(shared: &Rc<Shared>, ward: &Rc<Ward>, stranger: &Reaped) -> bool {
    let Some(living) = ward.life.borrow().as_ref().map(Rc::clone) else {
        return false;
    };
    if living
        .heir
        .get()
        .is_none_or(|heir| heir.pid != stranger.pid)
    {
        return false;
    }
    begin_end(shared, ward, &living, exit_of(stranger.status));
    true
}

pub(super) const fn exit_of(status: Status) -> Exit {
    match status {
        Status::Code(code) => Exit::Code(code),
        Status::Signal(number) => Exit::Signal(number),
    }
}

/// A zombie holds no port and no lock; only its number is taken until its parent has reaped it. A PostgreSQL that finds
/// its predecessor's number in use does not start (`CreateLockFile` in miscinit.c), so it is worth waiting for; for nobody
/// else the next life waits longer than a prompt init takes.
pub(super) async fn reaped_by_its_parent(ended: Process) {
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
pub(super) async fn watch(
    shared: Rc<Shared>,
    ward: Rc<Ward>,
    living: Rc<Living>,
    main: Arc<Handle>,
) {
    let exit = match exit::of(&main).await {
        Ok(status) => status.map_or(Exit::Unknown, exit_of),
        Err(error) => {
            tracing::warn!(
                service = ward.config.name,
                "cannot wait for the end of pid {}: {error}; only its probe tells from now on",
                main.process.pid
            );
            return;
        }
    };
    reaped_by_its_parent(main.process).await;
    // it may have become our child meanwhile, and been reaped
    if living.heir.get() == Some(main.process) {
        begin_end(&shared, &ward, &living, exit);
    }
}

pub(super) fn begin_end(shared: &Rc<Shared>, ward: &Rc<Ward>, living: &Rc<Living>, exit: Exit) {
    living.heir.set(None);
    let (shared, ward, living) = (Rc::clone(shared), Rc::clone(ward), Rc::clone(living));
    tokio::task::spawn_local(async move { main_ended(&shared, &ward, &living, exit).await });
}
