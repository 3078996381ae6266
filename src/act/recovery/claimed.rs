//! What a claim of an earlier stayd is worth: whether it can name processes of today, and which evidence it gives for them.

use crate::act::claims::{Claim, ClaimFile};
use crate::act::context::{ServiceContext, SharedContext};
use crate::act::tree::Tree;
use crate::decide::event::Life;
use crate::sys::identity;
use crate::sys::process::{self, Process};

/// Stands for a main process that is not known: no process has this number.
pub(super) const NO_PROCESS: Process = Process {
    pid: 0,
    start_time: 0,
};

/// Whether the claim was written in this boot and pid namespace. Processes of another boot are gone, and numbers of another
/// namespace mean nothing here. The kernel uses a namespace's number again, so a process that is older than the first
/// process of this namespace was in another one.
pub(super) fn is_of_this_boot(shared: &SharedContext, claim: &Claim) -> bool {
    let same = (&claim.boot_id, claim.pid_ns) == (&shared.boot.0, shared.boot.1);
    let is_older = |first: Process| {
        claim
            .main()
            .is_some_and(|main| main.start_time < first.start_time)
    };
    let first = Some(identity::pid()).filter(|&pid| pid == 1);
    let first = first.and_then(|pid| process::stat(pid).ok());
    same && !first.is_some_and(|first| is_older(first.process))
}

/// The tree with nothing believed but evidence: not the main process, and not its session's number.
pub(super) fn suspected_tree(
    shared: &SharedContext,
    service: &ServiceContext,
    claim: &Claim,
) -> Tree {
    let born = claim.first.map_or(0, |first| first.start_time);
    let mut tree = Tree::new_adopted(NO_PROCESS, 0, born);
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    claim.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = provable_file(shared, service, claim);
    tree.cgroup = shared.cgroups.of(service.name(), Life(claim.life));
    tree.members = claim.members.iter().copied().map(Into::into).collect();
    tree.group_only = false;
    tree
}

/// Device and inode of the claim file, if it still exists. File systems use an inode's number again at once: only while the
/// claim file exists, no other file has its number.
pub(super) fn provable_file(
    shared: &SharedContext,
    service: &ServiceContext,
    claim: &Claim,
) -> Option<(u64, u64)> {
    let files = shared.output.claim_files(service.name());
    let ClaimFile { dev, inode, .. } = claim.claim_fd;
    files.contains(&claim.claim_fd).then_some((dev, inode))
}
