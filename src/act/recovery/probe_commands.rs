//! Ends the probe commands of an earlier stayd that were under way when it died, so that there is never more than one
//! command of a check.
//!
//! The commands carry the instance's token under a name of its own. It is compared with the claim, like the token of the
//! instance itself.

use super::claimed::{NO_PROCESS, provable_file};
use crate::act::claims::Claim;
use crate::act::context::{ServiceContext, SharedContext};
use crate::act::off_loop::off_loop;
use crate::act::tree::{COMMAND_OF_INSTANCE, Member, Tree};
use crate::sys::identity;
use std::time::Duration;

/// Environments are read from the processes' own memory, which a sick process may not show.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Commands that have not ended within this time hang in the kernel with a disk that is gone. stayd does not wait longer.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Ends the commands of the instance in `claim`, and what they have started.
pub(super) async fn end(shared: &SharedContext, service: &ServiceContext, claim: &Claim) {
    let Some(tree) = commands_of(shared, service, claim) else {
        return;
    };
    let looked_at = tree.clone();
    let look = move || looked_at.members_full_scan();
    let left = off_loop("recovery", LOOK_DEADLINE, look).await;
    // A process that does not show itself in time also hides the instance; then both are looked for again.
    let mut left = left.unwrap_or_default();
    left.retain(Member::is_alive);
    if left.is_empty() {
        return;
    }
    tracing::info!(
        service = service.name(),
        "{} processes of probe commands that an earlier stayd had started for life {} are ended",
        left.len(),
        claim.life
    );
    let ended = shared.spawner.tree_killer().end(tree);
    if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
        tracing::warn!(
            service = service.name(),
            "these processes have not ended within {} s; stayd does not wait for them",
            END_WITHIN.as_secs()
        );
    }
}

/// The tree of all processes that carry the commands' token. None where the claim may be another stayd's.
fn commands_of(shared: &SharedContext, service: &ServiceContext, claim: &Claim) -> Option<Tree> {
    provable_file(shared, service, claim)?;
    let born = claim.first?.start_time;
    let mut tree = Tree::new_adopted(NO_PROCESS, 0, born);
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    tree.token_name = COMMAND_OF_INSTANCE;
    claim.token.as_str().clone_into(&mut tree.token);
    Some(tree)
}
