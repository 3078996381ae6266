//! Cleans up after an instance, and releases its claim or lets the claim say how it ended.

use super::claim::retry_until_written;
use crate::act::context::{ServiceContext, SharedContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::decide::event::{Exit, Life};
use std::rc::Rc;

/// Cleans up after an instance and removes its claim.
pub(crate) fn retire(shared: &Rc<SharedContext>, service: &ServiceContext, life: Life) {
    if !close(service, life) {
        return;
    }
    reached(Failpoint::BeforeRelease);
    if let Err(error) = shared.claims.release(service.name(), life) {
        tracing::warn!(
            service = service.name(),
            "cannot remove its claim: {error}; the next instance replaces it"
        );
    }
    reached(Failpoint::AfterRelease);
    // After the claim: the file behind the claim fd stays linked while the claim's record exists.
    shared.output.retire(service.name(), life);
}

/// Cleans up after an instance that no other one follows by itself. Its claim stays and says so.
pub(crate) fn conclude(
    shared: &Rc<SharedContext>,
    service: &ServiceContext,
    life: Life,
    exit: Exit,
) {
    if !close(service, life) {
        return;
    }
    let concluded = shared.claims.record_exit(service.name(), life, exit);
    retry_until_written(shared, service, concluded);
    shared.output.retire(service.name(), life);
}

/// Closes what stayd holds for the instance. Returns false when that was done before.
fn close(service: &ServiceContext, life: Life) -> bool {
    let Some(instance) = service.take(life) else {
        return false;
    };
    instance.retire();
    instance.messages.end();
    instance.cgroup.remove();
    true
}
