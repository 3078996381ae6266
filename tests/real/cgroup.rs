//! A process in a frozen or throttled cgroup, and a child that enters its cgroup by itself. Needs root.

use crate::support::seccomp;
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
        seccomp::refuse(libc::SYS_clone3, libc::ENOSYS);
        let fixture = TreeFixture::new();
        let (child, tree) = fixture.spawn("sleep", |plan| {
            plan.cgroup = Some(File::open(group.path()).expect("cgroup").into());
        });
        let members = fs::read_to_string(group.path().join("cgroup.procs")).expect("members");
        assert_eq!(members.trim(), child.process.pid.to_string());
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}
