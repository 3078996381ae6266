//! Whether the claim of an earlier stayd can name present processes, and which evidence it provides for them.

use crate::act::claims::Claim;
use crate::act::context::{ServiceContext, SharedContext};
use crate::act::tree::Tree;
use crate::decide::event::Life;
use crate::sys::identity;
use crate::sys::process::{self, InheritedFile, Process};

/// Whether the claim was written in this boot and pid namespace. Processes of another boot are gone, and pids of another
/// namespace mean nothing here. The kernel reuses the number of a namespace, so a process that is older than the first process
/// of this namespace was in another one.
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

/// The tree to scan for. It contains only evidence: not the claimed main process, and not the id of its session.
pub(super) fn suspected_tree(
    shared: &SharedContext,
    service: &ServiceContext,
    claim: &Claim,
) -> Tree {
    let first_start_time = claim.first.map_or(0, |first| first.start_time);
    let mut tree = Tree::new_adopted(Process::NONE, 0, first_start_time);
    tree.claimed = claim.main().unwrap_or(Process::NONE);
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    claim.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = provable_file(shared, service, claim);
    tree.cgroup = shared.cgroups.of(service.name(), Life(claim.life));
    tree.members = claim.members.iter().copied().map(Into::into).collect();
    tree.group_only = false;
    tree
}

/// The claim file, if it still exists. File systems reuse inode numbers at once, so the number is
/// evidence only while the claim file exists.
pub(super) fn provable_file(
    shared: &SharedContext,
    service: &ServiceContext,
    claim: &Claim,
) -> Option<InheritedFile> {
    let files = shared.output.claim_files(service.name());
    let is_there = files.contains(&claim.claim_fd);
    is_there.then(|| claim.inherited_file())
}
