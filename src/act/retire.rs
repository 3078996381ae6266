//! A life is over: what it had is closed, and its claim goes, or says so.

use super::shared::Shared;
use super::step::{Step, reached};
use super::ward::Ward;
use crate::decide::event::{Exit, Life};
use std::rc::Rc;

/// The life is over, and none follows by itself: all is closed, and its claim says so.
pub(super) fn conclude(shared: &Rc<Shared>, ward: &Ward, life: Life, exit: Exit) {
    if !close(ward, life) {
        return;
    }
    let concluded = shared
        .claims
        .borrow_mut()
        .conclude(&ward.config.name, life, exit);
    super::life::keep_trying(shared, ward, concluded);
    shared.output.borrow_mut().retire(&ward.config.name, life);
}

/// The life is over: whatever it had is closed.
pub(super) fn retire(shared: &Rc<Shared>, ward: &Ward, life: Life) {
    if !close(ward, life) {
        return;
    }
    reached(Step::BeforeRelease);
    if let Err(error) = shared.claims.borrow_mut().release(&ward.config.name, life) {
        tracing::warn!(
            service = ward.config.name,
            "cannot remove its claim: {error}; the next life replaces it"
        );
    }
    reached(Step::AfterRelease);
    // After the claim: a claim's file is not unlinked while its record exists.
    shared.output.borrow_mut().retire(&ward.config.name, life);
}

/// Closes what the life had of ours; false when it is not there any more.
fn close(ward: &Ward, life: Life) -> bool {
    let Some(living) = ward.take(life) else {
        return false;
    };
    living.over.notify_waiters();
    if let Some(hearing) = living.hearing.take() {
        hearing.abort();
    }
    living.notify.replace(None);
    super::cgroup::take_back(&living);
    true
}
