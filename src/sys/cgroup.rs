//! Control groups that stayd may divide for its services (Linux, cgroups(7)).

use super::platform;
use std::fs;
use std::path::{Path, PathBuf};

/// The most cgroups that [`with_descendants`] returns.
const DESCENDANTS_MAX: usize = 1024;

/// The directory of stayd's own version 2 cgroup; none on a machine with only version 1, and on macOS.
#[must_use]
pub fn own() -> Option<PathBuf> {
    platform::own_cgroup()
}

/// Whether `cgroup` is marked as delegated to the processes in it. The system's systemd sets the mark for `Delegate=yes`
/// (systemd.resource-control(5)); a user's systemd does not. A cgroup without the mark belongs to its manager alone, even
/// where stayd has permission to write it.
#[must_use]
pub fn is_delegated(cgroup: &Path) -> bool {
    platform::is_delegated(cgroup)
}

/// Whether neither the cgroup nor any of its descendants has a running process ("populated 0", cgroups(7)).
#[must_use]
pub fn is_empty(path: &Path) -> bool {
    let events = fs::read_to_string(path.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 0")
}

/// The cgroup and its descendants, at most 1024, each parent before its children.
#[must_use]
pub fn with_descendants(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while next < found.len() && found.len() < DESCENDANTS_MAX {
        let entries = fs::read_dir(&found[next]).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        found.extend(folders.map(|entry| entry.path()));
        next += 1;
    }
    found
}

/// Removes the cgroup and its descendants, except those with a running process, which the kernel refuses to remove.
pub fn remove(path: &Path) {
    for cgroup in with_descendants(path).iter().rev() {
        // The kernel refuses it, or it has already gone.
        let _ = fs::remove_dir(cgroup);
    }
}
