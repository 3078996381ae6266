//! Control groups that stayd may divide for its services (Linux, cgroups(7)).

use super::platform;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// What the processes of a cgroup and of its descendants have used since it was made, ended ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupUse {
    /// CPU time (cgroup v2, cpu.stat: `usage_usec`; without a controller, too).
    pub cpu: Duration,
    /// Bytes read from and written to disks (cgroup v2, io.stat); 0 where the io controller is not enabled.
    pub disk: u64,
}

/// Reads [`CgroupUse`]; zero where the kernel does not report it.
#[must_use]
pub fn used(path: &Path) -> CgroupUse {
    let read = |file| fs::read_to_string(path.join(file)).unwrap_or_default();
    CgroupUse {
        cpu: cpu_time(&read("cpu.stat")),
        disk: disk_bytes(&read("io.stat")),
    }
}

/// The CPU time in a cpu.stat: lines of a name and a number.
fn cpu_time(stat: &str) -> Duration {
    let usage = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    Duration::from_micros(usage.and_then(|usage| usage.parse().ok()).unwrap_or(0))
}

/// The bytes in an io.stat: a line for each device, "8:0 rbytes=1 wbytes=2 rios=1 …".
fn disk_bytes(stat: &str) -> u64 {
    let counts = stat.split_ascii_whitespace().filter_map(|field| {
        let bytes = field
            .strip_prefix("rbytes=")
            .or_else(|| field.strip_prefix("wbytes="))?;
        bytes.parse::<u64>().ok()
    });
    counts.fold(0, u64::saturating_add)
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

#[cfg(test)]
mod tests {
    use super::{cpu_time, disk_bytes};
    use std::time::Duration;

    #[test]
    fn the_files_of_a_cgroup_are_parsed() {
        // Recorded from Linux 6.18.
        let cpu = "usage_usec 1250000\nuser_usec 1000000\nsystem_usec 250000\nnice_usec 0\n";
        assert_eq!(cpu_time(cpu), Duration::from_millis(1250));
        assert_eq!(cpu_time(""), Duration::ZERO);
        let io = "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=99 dios=0\n7:0 rbytes=1 wbytes=0 rios=1\n";
        assert_eq!(disk_bytes(io), 4096 + 8192 + 1);
        assert_eq!(disk_bytes("8:0 \n"), 0);
    }
}
