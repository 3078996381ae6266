//! What cgroups do to a process, and what we see of it. Only who may make cgroups can run these.

use crate::support::{Cgroup, Lab, NOTHING_LEFT, SOON, alone, kill, wait_until};
use stayd::sys::process;
use std::fs::{self, File};

#[test]
fn item_11_a_frozen_cgroup_is_seen_in_both_versions() {
    alone(|| {
        let lab = Lab::new();
        let version_2 = Cgroup::unified("frozen").map(|group| (group, "cgroup.freeze", ["1", "0"]));
        let version_1 = Cgroup::of_controller("freezer", "frozen")
            .map(|group| (group, "freezer.state", ["FROZEN", "THAWED"]));
        for (group, file, [freeze, thaw]) in version_2.into_iter().chain(version_1) {
            let (_child, tree) = lab.life("sleep", |_| {});
            let pid = tree.main.pid;
            group.set("cgroup.procs", &pid.to_string());
            assert!(!process::is_any_frozen(&[pid]).expect("told"));
            group.set(file, freeze);
            wait_until("seen as frozen", SOON, || {
                process::is_any_frozen(&[pid]).expect("told")
            });
            group.set(file, thaw);
            wait_until("seen as thawed", SOON, || {
                !process::is_any_frozen(&[pid]).expect("told")
            });
            assert_eq!(kill(&tree), NOTHING_LEFT);
        }
    });
}

#[test]
fn item_13_a_cgroup_over_its_quota_is_seen_as_throttled() {
    alone(|| {
        let Some(group) = Cgroup::of_controller("cpu", "throttled") else {
            return;
        };
        group.set("cpu.cfs_period_us", "20000");
        group.set("cpu.cfs_quota_us", "2000");
        let lab = Lab::new();
        let (_child, tree) = lab.life("spin", |_| {});
        let before = tree.usage().throttled;
        group.set("cgroup.procs", &tree.main.pid.to_string());
        wait_until("throttled", SOON, || tree.usage().throttled > before + 2);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

/// Containers refuse clone3(2), and with it the way into a cgroup at birth.
#[test]
fn a_child_enters_its_cgroup_by_itself_where_clone3_is_refused() {
    alone(|| {
        let Some(group) = Cgroup::unified("entered") else {
            return;
        };
        refuse_clone3();
        let lab = Lab::new();
        let (child, tree) = lab.life("sleep", |plan| {
            plan.cgroup = Some(File::open(group.path()).expect("cgroup").into());
        });
        let members = fs::read_to_string(group.path().join("cgroup.procs")).expect("members");
        assert_eq!(members.trim(), child.process.pid.to_string());
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

/// From now on clone3(2) says ENOSYS in the calling thread, as it does under Docker's seccomp profile.
#[allow(unsafe_code, reason = "seccomp(2) has no safe face")]
fn refuse_clone3() {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let clone3 = libc::SYS_clone3 as u32;
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut lines = [
        line(load, 0, 0, 0), // the number of the system call
        line(equal, 0, 1, clone3),
        line(answer, 0, 0, refused),
        line(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: 4,
        filter: lines.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter; its lines live until then.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
