//! Ends the probe commands that were under way when an earlier stayd died, so that there is never more than one command of a
//! check.
//!
//! The commands carry the instance's token in a variable with a different name. The token is compared with the claim, like
//! that of the instance itself.

use super::claimed::provable_file;
use crate::act::claims::Claim;
use crate::act::context::{ServiceContext, SharedContext};
use crate::act::off_loop::off_loop;
use crate::act::tree::{INSTANCE_TOKEN_OF_COMMAND, Member, Tree};
use crate::sys::identity;
use crate::sys::process::Process;
use std::time::Duration;

/// The most time for the scan. It reads environments from the processes' own memory, which can hang.
const SCAN_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that have not ended within this time hang in the kernel with a disk that is gone. stayd does not wait longer.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Ends the commands of the instance in `claim`, and what they have started.
pub(super) async fn end(shared: &SharedContext, service: &ServiceContext, claim: &Claim) {
    let Some(tree) = commands_of(shared, service, claim) else {
        return;
    };
    let searched = tree.clone();
    let scan = move || searched.members_full_scan();
    let left = off_loop("recovery", SCAN_TIMEOUT, scan).await;
    // If the scan does not end in time, the scan for the instance does not either, and both are repeated.
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
    if tokio::time::timeout(END_TIMEOUT, ended).await.is_err() {
        tracing::warn!(
            service = service.name(),
            "these processes have not ended within {} s; stayd does not wait for them",
            END_TIMEOUT.as_secs()
        );
    }
}

/// The tree of all processes that carry the commands' token. None where the claim may be another stayd's.
fn commands_of(shared: &SharedContext, service: &ServiceContext, claim: &Claim) -> Option<Tree> {
    provable_file(shared, service, claim)?;
    let first_start_time = claim.first?.start_time;
    let mut tree = Tree::new_adopted(Process::NONE, 0, first_start_time);
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    tree.token_name = INSTANCE_TOKEN_OF_COMMAND;
    claim.token.as_str().clone_into(&mut tree.token);
    Some(tree)
}
