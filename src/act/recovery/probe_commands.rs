//! Commands that an earlier stayd had asked with, and whose answer it did not live to hear. They are ended before anything
//! is asked anew, so that there is never more than one of a check.
//!
//! The life's token in their environment, under a name of its own, is held against the claim, as with the life itself.

use super::scan::{NOBODY, off_the_loop, provable_file};
use crate::act::claims::Claim;
use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::act::spawn::launch::ASKED_FOR;
use crate::act::tree::{Member, Tree};
use crate::sys::identity;
use std::time::Duration;

/// What has not ended by then is left to the kernel: nobody is kept waiting by a disk that is gone.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Ends the commands of the life in `claim`, and what they have started.
pub(crate) async fn end(shared: &SharedContext, context: &ServiceContext, claim: &Claim) {
    let Some(tree) = commands_of(shared, context, claim) else {
        return;
    };
    let looked_at = tree.clone();
    let look = move || looked_at.members_full_scan();
    // Who cannot be seen in time keeps the life from being seen too, and then both are looked for again.
    let mut left = off_the_loop(look).await.unwrap_or_default();
    left.retain(Member::is_alive);
    if left.is_empty() {
        return;
    }
    tracing::info!(
        service = context.config.name,
        "{} of the commands that an earlier stayd had asked life {} with are ended",
        left.len(),
        claim.life
    );
    let ended = shared.spawner.tree_killer().end(tree);
    if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
        tracing::warn!(
            service = context.config.name,
            "they have not ended within {} s; nobody waits for them",
            END_WITHIN.as_secs()
        );
    }
}

/// Whoever carries their mark; none where the claim may be another instance's.
fn commands_of(shared: &SharedContext, context: &ServiceContext, claim: &Claim) -> Option<Tree> {
    provable_file(shared, context, claim)?;
    let born = claim.first?.start_time;
    let mut tree = Tree::new_adopted(NOBODY, 0, born);
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    tree.token_name = ASKED_FOR;
    claim.token.as_str().clone_into(&mut tree.token);
    Some(tree)
}
