//! Who is left alone: whatever is not proven to be of the life.

use crate::support::{
    Cgroup, NOTHING_LEFT, SOON, TreeFixture, alone, alone_as_pid_1, kill, plan, wait_for,
    wait_for_exit, wait_until,
};
use stayd::sys::process;
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::spawn;
use std::fs::File;

#[test]
fn an_unproven_orphan_dies_only_where_nobody_else_can_have_left_it() {
    alone(|| {
        let fixture = TreeFixture::new();
        let sole = fixture.instance_that_leaves_an_unproven_orphan();
        assert_eq!(kill(&sole), NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
    });
}

#[test]
fn an_unproven_orphan_is_left_alone_while_another_life_runs() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (other, _) = fixture.spawn("sleep", |_| {});
        let tree = fixture.instance_that_leaves_an_unproven_orphan();
        process::Handle::open(other.process)
            .expect("it")
            .signal(9)
            .expect("killed");
        assert_eq!(wait_for_exit(other), Status::Signal(9));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(fixture.alive().len(), 1, "the other may have left it");
    });
}

#[test]
fn an_unproven_orphan_is_left_alone_once_a_helper_has_run() {
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
fn other_lives_and_strangers_are_left_alone() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_victim, doomed) = fixture.spawn("children 3 setsid sleep", |_| {});
        let (other, _) = fixture.spawn("sleep", |plan| {
            plan.env.pop();
        });
        let mut stranger = std::process::Command::new(&fixture.program)
            .arg("sleep")
            .spawn()
            .expect("started");
        fixture.wait_for_alive(7);
        assert_eq!(kill(&doomed), NOTHING_LEFT);
        let mut alive = fixture.alive();
        alive.sort_unstable();
        assert_eq!(alive, [other.process.pid, stranger.id().cast_signed()]);
        stranger.kill().expect("killed");
        stranger.wait().expect("reaped");
    });
}

#[test]
fn item_94_as_the_first_process_strangers_are_reaped_and_never_killed() {
    alone_as_pid_1(|| {
        assert_eq!(stayd::sys::identity::pid(), 1);
        let fixture = TreeFixture::new();
        let tree = fixture.instance_that_leaves_an_unproven_orphan();
        assert_eq!(kill(&tree), NOTHING_LEFT);
        let stranger = fixture.alive();
        assert_eq!(stranger.len(), 1, "everybody's orphans land with pid 1");
        let stat = process::stat(stranger[0]).expect("the stranger");
        assert_eq!(stat.ppid, 1);
        process::Handle::open(stat.process)
            .expect("the stranger")
            .signal(9)
            .expect("killed");
        let reaped = wait_for("its exit", SOON, || reaper::drain(8).pop());
        assert_eq!(reaped.pid, stranger[0]);
        assert!(process::own_children().expect("ours").is_empty());
    });
}

/// Before exec a child of ours has all that we have, the descriptors that prove other lives included.
#[test]
#[ignore = "needs root"]
fn a_child_before_exec_belongs_to_nobody_else() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_victim, tree) = fixture.spawn("sleep", |_| {});
        let _read_here = File::open(fixture.dir.join("claim-sleep")).expect("the claim");
        let cgroup = Cgroup::unified("unborn");
        cgroup.set("cgroup.freeze", "1");
        let mut plan = plan(&fixture.program, &["sleep"], &fixture.dir.join("out"));
        plan.cgroup = Some(File::open(cgroup.path()).expect("cgroup").into());
        let before = process::own_children().expect("ours");
        let spawning = std::thread::spawn(move || spawn(plan));
        let unborn = wait_for("a child", SOON, || {
            let ours = process::own_children().ok()?;
            ours.into_iter().find(|pid| !before.contains(pid))
        });
        let (dev, ino) = tree.claim_file.expect("a claim");
        wait_until("it holds what we hold", SOON, || {
            process::holds_file(unborn, dev, ino).unwrap_or(false)
        });
        assert_eq!(kill(&tree), NOTHING_LEFT);
        cgroup.set("cgroup.freeze", "0");
        let child = spawning.join().expect("no panic").expect("not killed");
        fixture.wait_for_alive(1); // exec is reported before it has a command line
        assert_eq!(fixture.alive(), [child.process.pid]);
    });
}

#[test]
fn a_child_of_ours_belongs_to_no_other_life_whatever_it_holds() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_victim, tree) = fixture.spawn("sleep", |_| {});
        let claim = File::open(fixture.dir.join("claim-sleep")).expect("the claim");
        let (other, _) = fixture.spawn("children 0 sleep", |plan| plan.fds[3].1 = claim.into());
        assert_eq!(kill(&tree), NOTHING_LEFT);
        fixture.wait_for_alive(1);
        assert_eq!(fixture.alive(), [other.process.pid]);
    });
}
