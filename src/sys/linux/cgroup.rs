//! Cgroups of a process, version 1 and version 2: frozen state, throttling, delegation (cgroups(7)).
#![expect(unsafe_code, reason = "getxattr(2)")]

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The most levels of nested cgroups that are read.
const DEPTH_MAX: usize = 32;
/// The extended attributes by which systemd marks a delegated cgroup. Only root can read the first one; systemd also sets
/// the second one since version 251.
const DELEGATED: [&CStr; 2] = [c"trusted.delegate", c"user.delegate"];

/// A cgroup of a process: the mount point of its hierarchy, and its directory below that.
struct Cgroup {
    root: PathBuf,
    dir: PathBuf,
}

pub(in super::super) fn is_any_frozen(pids: &[i32]) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut distinct = HashSet::new();
    for pid in pids {
        distinct.insert(if_exists(fs::read_to_string(format!(
            "/proc/{pid}/cgroup"
        )))?);
    }
    for groups in distinct {
        if are_frozen(&groups, &mounts)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether one of the cgroups in `groups`, the content of a /proc/PID/cgroup, is frozen.
fn are_frozen(groups: &str, mounts: &str) -> io::Result<bool> {
    if let Some(group) = find(groups, mounts, None) {
        let events = if_exists(fs::read_to_string(group.dir.join("cgroup.events")))?;
        if number(&events, "frozen") == Some(1) {
            return Ok(true);
        }
    }
    let Some(group) = find(groups, mounts, Some("freezer")) else {
        return Ok(false);
    };
    let state = if_exists(fs::read_to_string(group.dir.join("freezer.state")))?;
    Ok(matches!(state.trim(), "FROZEN" | "FREEZING"))
}

/// What was read; nothing where the process or the file does not exist. A mount that is not visible here counts as one
/// that does not exist, and so does a file below it that stayd may not see.
fn if_exists(read: io::Result<String>) -> io::Result<String> {
    match read {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            Ok(String::new())
        }
        read => read,
    }
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
    let mut value = [0_u8; 2]; // getxattr fails for a longer value, which is not "1"
    // SAFETY: the names are C strings, and the kernel writes at most `value.len()` bytes into `value`.
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

/// Sums the counts of the cgroup and its ancestors, because the quota may be set on any of them.
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

/// The value of `key` in a text of "key number" lines.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// The cgroup that /proc/PID/cgroup names for a version 1 `controller`, or for version 2 if none is given.
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

/// The cgroup at `path` if this line of mountinfo mounts its hierarchy. The format of a line is "id parent dev root
/// mount-point options … - type source super-options".
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
    fn cgroups_of_both_versions_are_found_below_their_mount_points() {
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
    fn a_key_matches_only_as_a_whole_word() {
        let recorded = "usage_usec 9\nnr_periods 4\nnr_throttled 3\nthrottled_usec 1\n"; // recorded from a version 2 cpu.stat
        assert_eq!(number(recorded, "nr_throttled"), Some(3));
        assert_eq!(number(recorded, "throttled"), None);
    }

    #[test]
    fn the_test_process_is_not_frozen() -> io::Result<()> {
        assert!(!is_any_frozen(&[crate::sys::identity::pid(), i32::MAX])?);
        Ok(())
    }
}
