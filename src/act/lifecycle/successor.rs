//! Waits for the end of a main process that this stayd did not spawn as one: the successor of a launcher, or an adopted
//! process.
//!
//! Its parent may be any process. If stayd is the parent, the reaper reports its end; otherwise its pidfd does.

use super::claim::set_main_process;
use super::start::main_ended;
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::process_exit::{exit_of, wait_until_reaped};
use crate::decide::event::{Exit, Life};
use crate::sys::process::{self, Handle, Process};
use crate::sys::reaper::Reaped;
use crate::sys::{exit, identity};
use std::rc::Rc;
use std::sync::Arc;

/// Makes `successor` the main process, because the launcher has exited.
pub(crate) fn supervise(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    life: Life,
    successor: Process,
) {
    let Some(instance) = service.instance(life) else {
        return;
    };
    instance.tree.set_successor(successor);
    set_main_process(shared, service, life, successor);
    match instance.main.set_not_spawned(successor) {
        Ok(handle) => {
            if process::stat(successor.pid).is_ok_and(|stat| stat.ppid != identity::pid()) {
                let (shared, service) = (Rc::clone(shared), Rc::clone(service));
                tokio::task::spawn_local(watch(shared, service, instance, handle));
            }
        }
        // It has ended since it was found.
        Err(_) => report_end(shared, service, &instance, Exit::Unknown),
    }
}

/// Handles a reaped orphan. Returns true when it was the main process of this service's instance.
pub(crate) fn reaped(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    reaped: &Reaped,
) -> bool {
    let Some(instance) = service.current() else {
        return false;
    };
    let main = instance.main.not_spawned();
    if main.is_none_or(|main| main.pid != reaped.pid) {
        return false;
    }
    report_end(shared, service, &instance, exit_of(reaped.status));
    true
}

/// Waits for the end of an adopted main process, which is not our child.
pub(crate) async fn await_end(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    instance: Rc<Instance>,
) {
    if let Some(handle) = instance.main.handle() {
        watch(shared, service, instance, handle).await;
    } else if instance.main.not_spawned().is_some() {
        // It has ended since it was found.
        report_end(&shared, &service, &instance, Exit::Unknown);
    }
}

/// Waits for the end of a main process that is not our child, or was not when it became the main process.
async fn watch(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    instance: Rc<Instance>,
    main: Arc<Handle>,
) {
    let exit = match exit::wait(&main).await {
        Ok(status) => status.map_or(Exit::Unknown, exit_of),
        Err(error) => {
            return tracing::warn!(
                service = service.name(),
                "cannot wait for the end of pid {}: {error}; from now on only its probe shows whether it runs",
                main.process.pid
            );
        }
    };
    wait_until_reaped(main.process).await;
    // The process may have become our child meanwhile, and the reaper may have reported its end.
    if instance.main.not_spawned() == Some(main.process) {
        report_end(&shared, &service, &instance, exit);
    }
}

fn report_end(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    exit: Exit,
) {
    instance.main.end_noticed();
    let (shared, service, instance) = (Rc::clone(shared), Rc::clone(service), Rc::clone(instance));
    tokio::task::spawn_local(async move { main_ended(&shared, &service, &instance, exit).await });
}
