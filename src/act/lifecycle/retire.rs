//! A life is over: what it had is closed, and its claim goes, or says so.

use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::act::failpoint::{Failpoint, reached};
use crate::decide::event::{Exit, Life};
use std::rc::Rc;

/// The life is over, and none follows by itself: all is closed, and its claim says so.
pub(crate) fn conclude(
    shared: &Rc<SharedContext>,
    context: &ServiceContext,
    life: Life,
    exit: Exit,
) {
    if !close(context, life) {
        return;
    }
    let concluded = shared.claims.record_exit(&context.config.name, life, exit);
    super::instance::keep_trying(shared, context, concluded);
    shared.output.retire(&context.config.name, life);
}

/// The life is over: whatever it had is closed.
pub(crate) fn retire(shared: &Rc<SharedContext>, context: &ServiceContext, life: Life) {
    if !close(context, life) {
        return;
    }
    reached(Failpoint::BeforeRelease);
    if let Err(error) = shared.claims.release(&context.config.name, life) {
        tracing::warn!(
            service = context.config.name,
            "cannot remove its claim: {error}; the next life replaces it"
        );
    }
    reached(Failpoint::AfterRelease);
    // After the claim: a claim's file is not unlinked while its record exists.
    shared.output.retire(&context.config.name, life);
}

/// Closes what the life had of ours; false when it is not there any more.
fn close(context: &ServiceContext, life: Life) -> bool {
    let Some(instance) = context.take(life) else {
        return false;
    };
    instance.over.notify_waiters();
    if let Some(hearing) = instance.hearing.take() {
        hearing.abort();
    }
    instance.notify.replace(None);
    crate::act::tree::cgroups::take_back(&instance);
    true
}
