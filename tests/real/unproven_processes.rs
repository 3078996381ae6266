//! The kill of a tree leaves every process alone that is not proven to belong to the instance.

use crate::support::{
    Cgroup, NOTHING_LEFT, SOON, TreeFixture, alone, alone_as_pid_1, kill, plan, wait_for,
    wait_for_exit, wait_until,
};
use stayd::sys::process;
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::spawn;
use std::fs::File;

#[test]
fn an_unproven_orphan_is_killed_when_no_other_child_can_have_left_it() {
    alone(|| {
        let fixture = TreeFixture::new();
        let tree = fixture.instance_that_leaves_an_unproven_orphan();
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
    });
}

#[test]
fn an_unproven_orphan_is_left_alone_when_another_instance_has_run() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (other, _) = fixture.spawn("sleep", |_| {});
        let tree = fixture.instance_that_leaves_an_unproven_orphan();
        // The orphan is a member until it has left the session of the instance.
        wait_until("the orphan is unproven", SOON, || tree.members().is_empty());
        process::Handle::open(other.process)
            .expect("the other instance")
            .signal(9)
            .expect("killed");
        assert_eq!(wait_for_exit(other), Status::Signal(9));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(
            fixture.alive().len(),
            1,
            "the other instance may have left it"
        );
    });
}

#[test]
fn an_unproven_orphan_is_left_alone_when_a_helper_has_run() {
    alone(|| {
        let fixture = TreeFixture::new();
        let tree = fixture.instance_that_leaves_an_unproven_orphan();
        let (helper, _) = fixture.spawn("exit 0", |_| {});
        assert_eq!(wait_for_exit(helper), Status::Code(0));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(fixture.alive().len(), 1, "the helper may have left it");
    });
}

#[test]
fn other_instances_and_foreign_processes_are_left_alone() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_child, tree) = fixture.spawn("children 3 setsid sleep", |_| {});
        let (other, _) = fixture.spawn("sleep", |plan| {
            plan.env.pop();
        });
        let mut foreign = std::process::Command::new(&fixture.program)
            .arg("sleep")
            .spawn()
            .expect("started");
        fixture.wait_for_alive(7);
        assert_eq!(kill(&tree), NOTHING_LEFT);
        let mut alive = fixture.alive();
        alive.sort_unstable();
        assert_eq!(alive, [other.process.pid, foreign.id().cast_signed()]);
        foreign.kill().expect("killed");
        foreign.wait().expect("reaped");
    });
}

#[test]
fn as_pid_1_stayd_reaps_unproven_orphans_and_does_not_kill_them() {
    alone_as_pid_1(|| {
        assert_eq!(stayd::sys::identity::pid(), 1);
        let fixture = TreeFixture::new();
        let tree = fixture.instance_that_leaves_an_unproven_orphan();
        assert_eq!(kill(&tree), NOTHING_LEFT);
        let orphans = fixture.alive();
        assert_eq!(
            orphans.len(),
            1,
            "pid 1 is the parent of every orphan, so this one may be of any process"
        );
        let stat = process::stat(orphans[0]).expect("the orphan");
        assert_eq!(stat.ppid, 1);
        process::Handle::open(stat.process)
            .expect("the orphan")
            .signal(9)
            .expect("killed");
        let reaped = wait_for("the orphan's exit", SOON, || reaper::reap_exited(8).pop());
        assert_eq!(reaped.pid, orphans[0]);
        assert!(reaper::own_children().expect("ours").is_empty());
    });
}

/// Before exec a child of stayd has all descriptors of stayd, also those that prove other instances. A frozen cgroup
/// keeps the child in that state.
#[test]
#[ignore = "needs root"]
fn a_child_before_exec_belongs_to_no_other_instance() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_child, tree) = fixture.spawn("sleep", |_| {});
        let _claim = File::open(fixture.dir.join("claim-sleep")).expect("the claim");
        let cgroup = Cgroup::unified("unproven");
        cgroup.set("cgroup.freeze", "1");
        let mut plan = plan(&fixture.program, &["sleep"], &fixture.dir.join("out"));
        plan.cgroup = Some(File::open(cgroup.path()).expect("cgroup").into());
        let before = reaper::own_children().expect("ours");
        let spawning = std::thread::spawn(move || spawn(plan));
        let not_executed = wait_for("a new child", SOON, || {
            let ours = reaper::own_children().ok()?;
            ours.into_iter().find(|pid| !before.contains(pid))
        });
        let file = tree.claim_file.expect("a claim");
        wait_until("the child holds the claim's file", SOON, || {
            process::holds_file(not_executed, file.dev, file.ino).unwrap_or(false)
        });
        assert_eq!(kill(&tree), NOTHING_LEFT);
        cgroup.set("cgroup.freeze", "0");
        let child = spawning.join().expect("no panic").expect("not killed");
        fixture.wait_for_alive(1); // exec is reported before the process has its new command line
        assert_eq!(fixture.alive(), [child.process.pid]);
    });
}

#[test]
fn a_child_that_holds_another_instances_claim_file_does_not_belong_to_it() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_child, tree) = fixture.spawn("sleep", |_| {});
        let claim = File::open(fixture.dir.join("claim-sleep")).expect("the claim");
        let (other, _) = fixture.spawn("children 0 sleep", |plan| plan.fds[3].1 = claim.into());
        assert_eq!(kill(&tree), NOTHING_LEFT);
        fixture.wait_for_alive(1);
        assert_eq!(fixture.alive(), [other.process.pid]);
    });
}
