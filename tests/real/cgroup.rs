//! A process in a frozen or throttled cgroup, and a child that enters its cgroup by itself. Needs root.

use crate::support::{
    Cgroup, Freezer, NOTHING_LEFT, SOON, TreeFixture, alone, kill, require_root, wait_until,
};
use stayd::sys::process;
use std::fs::{self, File};

#[test]
#[ignore = "needs root"]
fn a_frozen_cgroup_is_recognized_in_each_mounted_version() {
    require_root();
    alone(|| {
        let fixture = TreeFixture::new();
        for freezer in Freezer::of_each_version("frozen") {
            let (_child, tree) = fixture.spawn("sleep", |_| {});
            let pid = tree.main.pid;
            let is_frozen = || process::is_any_frozen(&[pid]).expect("its cgroup");
            freezer.add_process(pid);
            assert!(!is_frozen());
            freezer.freeze();
            wait_until("it is frozen", SOON, is_frozen);
            freezer.thaw();
            wait_until("it is thawed", SOON, || !is_frozen());
            assert_eq!(kill(&tree), NOTHING_LEFT);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_cgroup_over_its_cpu_quota_is_recognized_as_throttled() {
    require_root();
    alone(|| {
        let group = Cgroup::with_cpu_quota("throttled", 2000);
        let fixture = TreeFixture::new();
        let (_child, tree) = fixture.spawn("spin", |_| {});
        let before = tree.usage().throttled;
        group.add_process(tree.main.pid);
        wait_until("throttled", SOON, || tree.usage().throttled > before + 2);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

/// A container's seccomp profile may refuse clone3(2), which alone can start a child in a cgroup.
#[test]
#[ignore = "needs root"]
fn a_child_enters_its_cgroup_by_itself_where_clone3_is_refused() {
    require_root();
    alone(|| {
        let group = Cgroup::unified("entered");
        refuse_clone3();
        let fixture = TreeFixture::new();
        let (child, tree) = fixture.spawn("sleep", |plan| {
            plan.cgroup = Some(File::open(group.path()).expect("cgroup").into());
        });
        let members = fs::read_to_string(group.path().join("cgroup.procs")).expect("members");
        assert_eq!(members.trim(), child.process.pid.to_string());
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

/// From now on clone3(2) fails with ENOSYS in the calling thread, as under Docker's seccomp profile.
#[allow(unsafe_code, reason = "seccomp(2) has no safe wrapper")]
fn refuse_clone3() {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let result = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let clone3 = libc::SYS_clone3 as u32;
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut lines = [
        line(load, 0, 0, 0), // the number of the system call
        line(equal, 0, 1, clone3),
        line(result, 0, 0, refused),
        line(result, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: 4,
        filter: lines.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter; its lines live until then.
    let status = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}
