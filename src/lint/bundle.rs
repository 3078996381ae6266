//! Checks an app bundle: the jobs in it that SMAppService registers.

use super::codes;
use super::finding::{Finding, Findings};
use super::plist::{self, InBundle};
use super::source::Bundle;

/// Checks the jobs of a bundle.
pub(super) fn check(bundle: &Bundle) -> Vec<Finding> {
    if bundle.jobs.is_empty() {
        let mut findings = Findings::new(&bundle.root);
        let message = "the bundle has no job in Contents/Library/LaunchAgents or Contents/Library/LaunchDaemons";
        findings.add(
            1,
            &codes::APP_NO_JOBS,
            message,
            "copy the plist there before the app is signed",
        );
        return findings.into_list();
    }
    let place = InBundle {
        root: &bundle.root,
        is_program: bundle.is_program,
    };
    let jobs = bundle.jobs.iter();
    jobs.flat_map(|job| plist::check(job, Some(place)))
        .collect()
}
