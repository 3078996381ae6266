//! Finds orphaned services: processes of an earlier stayd whose service is no longer configured. Continues to capture their
//! output.

use super::claimed::is_of_this_boot;
use crate::act::claims::{Claim, ClaimOnDisk};
use crate::act::context::SharedContext;
use crate::act::foreign::reported::ReportedProcess;
use crate::act::process_exit::still_runs;
use crate::config::Log;
use crate::decide::event::Life;

/// One running process of each orphaned service.
#[must_use]
pub fn orphaned_services(shared: &SharedContext, configured: &[&str]) -> Vec<ReportedProcess> {
    let (claims, output) = (&shared.claims, &shared.output);
    let mut claimed = claims.services().unwrap_or_default();
    claimed.retain(|name| !configured.contains(&name.as_str()));
    let left = claimed
        .into_iter()
        .filter_map(|name| match claims.read(&name) {
            ClaimOnDisk::Valid(claim) if is_of_this_boot(shared, &claim) => {
                let left = left_of(name.clone(), &claim)?;
                // Without a reader, the process would block when the FIFO is full. Fails if there is no FIFO; then there
                // is nothing to read.
                let _ = output.adopt(&name, Life(claim.life), &Log::BY_DEFAULT, claim.claim_fd);
                Some(left)
            }
            ClaimOnDisk::Valid(_) | ClaimOnDisk::Absent | ClaimOnDisk::Unverifiable(_) => None,
        });
    left.collect()
}

/// The main process or, where that has ended, another process of its tree.
fn left_of(name: String, claim: &Claim) -> Option<ReportedProcess> {
    let members = claim.members.iter().copied().map(Into::into);
    let process = claim
        .main()
        .into_iter()
        .chain(members)
        .find(|&each| still_runs(each))?;
    let (pid, life) = (process.pid, claim.life);
    let message = format!(
        "pid {pid} was started as life {life} of {name}, which is not in the configuration any more; stayd leaves it alone and \
         does not watch it: stop it with `kill {pid}`, or put [service.{name}] back"
    );
    Some(ReportedProcess {
        process,
        of: Some((name, Life(life))),
        message,
    })
}
