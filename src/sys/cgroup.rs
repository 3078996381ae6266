//! Cgroups that are ours to divide (Linux, cgroups(7)).

use super::imp;
use std::fs;
use std::path::{Path, PathBuf};

/// More than these below one cgroup are not looked at.
const BELOW_MAX: usize = 1024;

/// The directory of our own version 2 cgroup.
///
/// None on a machine with version 1 alone, and on macOS.
#[must_use]
pub fn own() -> Option<PathBuf> {
    imp::own_cgroup()
}

/// Whether `cgroup` is marked as delegated to those in it: the system's systemd does so for `Delegate=yes`
/// (systemd.resource-control(5)), a user's does not. What is not delegated is its manager's alone, whoever may write it.
#[must_use]
pub fn is_delegated(cgroup: &Path) -> bool {
    imp::is_delegated(cgroup)
}

/// Whether neither the cgroup nor any below it has a living process ("populated 0", cgroups(7)).
#[must_use]
pub fn is_empty(path: &Path) -> bool {
    let events = fs::read_to_string(path.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 0")
}

/// The cgroup and those below it, 1024 at most, those above before those below.
#[must_use]
pub fn with_those_below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while next < found.len() && found.len() < BELOW_MAX {
        let below = fs::read_dir(&found[next]).into_iter().flatten().flatten();
        let folders = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        found.extend(folders.map(|entry| entry.path()));
        next += 1;
    }
    found
}

/// Removes it and all below it, except those with a living process: the kernel refuses them.
pub fn remove(path: &Path) {
    for cgroup in with_those_below(path).iter().rev() {
        // Refused, or gone already.
        let _ = fs::remove_dir(cgroup);
    }
}
