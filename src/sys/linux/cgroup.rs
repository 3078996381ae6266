//! What a process's cgroups say about it, in version 2 and in version 1 (cgroups(7)).
#![expect(unsafe_code, reason = "getxattr(2)")]

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Deeper nesting is not looked at.
const DEPTH_MAX: usize = 32;
/// systemd marks what it delegates with the first, which only root sees, and since 251 with the second too.
const DELEGATED: [&CStr; 2] = [c"trusted.delegate", c"user.delegate"];

/// A cgroup of a process: where its hierarchy is mounted, and its folder below that.
struct Cgroup {
    root: PathBuf,
    dir: PathBuf,
}

pub(in super::super) fn is_any_frozen(pids: &[i32]) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    let asked: HashSet<String> = pids.iter().filter_map(groups).collect();
    Ok(asked.iter().any(|groups| are_frozen(groups, &mounts)))
}

/// Whether one of the cgroups that a process is in, as its /proc/PID/cgroup tells them, is frozen.
fn are_frozen(groups: &str, mounts: &str) -> bool {
    if let Some(group) = find(groups, mounts, None)
        && let Ok(events) = fs::read_to_string(group.dir.join("cgroup.events"))
        && number(&events, "frozen") == Some(1)
    {
        return true;
    }
    let Some(group) = find(groups, mounts, Some("freezer")) else {
        return false;
    };
    let state = fs::read_to_string(group.dir.join("freezer.state")).unwrap_or_default();
    matches!(state.trim(), "FROZEN" | "FREEZING")
}

pub(in super::super) fn own_cgroup() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&groups, &mounts, None).map(|group| group.dir)
}

pub(in super::super) fn is_delegated(cgroup: &Path) -> bool {
    CString::new(cgroup.as_os_str().as_bytes())
        .is_ok_and(|path| DELEGATED.iter().any(|mark| is_set(&path, mark)))
}

/// Whether the extended attribute `name` of `path` is "1".
fn is_set(path: &CStr, name: &CStr) -> bool {
    let mut value = [0_u8; 2]; // a longer one is not "1", and refused
    // SAFETY: two C strings; the kernel writes at most as many bytes as said.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    length == 1 && value[0] == b'1'
}

/// The quota may sit on any cgroup above, so all are counted; only the growth of the sum means something.
pub(in super::super) fn throttled_count(pid: i32) -> Option<u64> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let group = find(&groups, &mounts, Some("cpu")).or_else(|| find(&groups, &mounts, None))?;
    group
        .dir
        .ancestors()
        .take(DEPTH_MAX)
        .take_while(|dir| dir.starts_with(&group.root))
        .filter_map(|dir| {
            number(
                &fs::read_to_string(dir.join("cpu.stat")).ok()?,
                "nr_throttled",
            )
        })
        .reduce(u64::saturating_add)
}

/// `key` in a file of "key number" lines.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// The cgroup named in /proc/PID/cgroup for a version 1 `controller`, or version 2's.
fn find(groups: &str, mounts: &str, controller: Option<&str>) -> Option<Cgroup> {
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':'); // hierarchy:controllers:path
        let (hierarchy, controllers) = (parts.next()?, parts.next()?);
        let fits = match controller {
            None => hierarchy == "0",
            Some(name) => controllers.split(',').any(|each| each == name),
        };
        fits.then(|| parts.next())?
    })?;
    mounts
        .lines()
        .find_map(|line| at_mount(line, path, controller))
}

/// One line of mountinfo: "id parent dev root mount-point options … - type source super-options".
fn at_mount(line: &str, path: &str, controller: Option<&str>) -> Option<Cgroup> {
    let (front, back) = line.split_once(" - ")?;
    let mut back = back.split(' ');
    let kind = back.next()?;
    let fits = match controller {
        None => kind == "cgroup2",
        Some(name) => kind == "cgroup" && back.nth(1)?.split(',').any(|each| each == name),
    };
    if !fits {
        return None;
    }
    let mut front = front.split(' ').skip(3);
    let (mounted, point) = (front.next()?, Path::new(front.next()?));
    let below = Path::new(path).strip_prefix(mounted).ok()?;
    Some(Cgroup {
        root: point.to_owned(),
        dir: point.join(below),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 29 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
31 29 0:27 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
32 29 0:28 /box /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
";
    const GROUPS: &str = "6:freezer:/a/b\n1:cpu,cpuacct:/box/web\n0::/system.slice/web.service\n";

    #[test]
    fn both_versions_are_found_where_they_are_mounted() {
        let dir = |controller| find(GROUPS, MOUNTS, controller).map(|group| group.dir);
        assert_eq!(
            dir(None),
            Some("/sys/fs/cgroup/unified/system.slice/web.service".into())
        );
        assert_eq!(
            dir(Some("freezer")),
            Some("/sys/fs/cgroup/freezer/a/b".into())
        );
        assert_eq!(
            dir(Some("cpu")),
            Some("/sys/fs/cgroup/cpu,cpuacct/web".into())
        );
        assert_eq!(dir(Some("cpuset")), None);
    }

    #[test]
    fn numbers_are_read_from_whole_words() {
        let recorded = "usage_usec 9\nnr_periods 4\nnr_throttled 3\nthrottled_usec 1\n"; // of a version 2 cpu.stat
        assert_eq!(number(recorded, "nr_throttled"), Some(3));
        assert_eq!(number(recorded, "throttled"), None);
    }

    #[test]
    fn we_are_not_frozen() -> io::Result<()> {
        assert!(!is_any_frozen(&[crate::sys::identity::pid(), i32::MAX])?);
        Ok(())
    }
}
