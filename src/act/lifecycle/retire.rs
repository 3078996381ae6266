//! Cleans up after an instance, and either releases its claim or records its exit in the claim.

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
    // After the claim, because the file behind the claim fd must exist for as long as the claim does.
    shared.output.retire(service.name(), life);
}

/// Cleans up after an instance after which no restart follows, and records that in its claim, which stays.
pub(crate) fn retire_keeping_claim(
    shared: &Rc<SharedContext>,
    service: &ServiceContext,
    life: Life,
    exit: Exit,
) {
    if !close(service, life) {
        return;
    }
    let recorded = shared.claims.record_exit(service.name(), life, exit);
    retry_until_written(shared, service, recorded);
    shared.output.retire(service.name(), life);
}

/// Closes what stayd holds for the instance. Returns false when it is closed already.
fn close(service: &ServiceContext, life: Life) -> bool {
    let Some(instance) = service.take(life) else {
        return false;
    };
    instance.retire();
    instance.messages.end();
    instance.cgroup.remove();
    true
}
