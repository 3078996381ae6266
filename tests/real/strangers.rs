//! Who is left alone: whatever is not proven to be of the life.

use crate::support::{
    Lab, NOTHING_LEFT, SOON, alone, alone_as_first_process, kill, wait_for, wait_for_exit,
};
use stayd::sys::process;
use stayd::sys::reaper::{self, Status};

#[test]
fn an_unproven_orphan_dies_only_where_nobody_else_can_have_left_it() {
    alone(|| {
        let lab = Lab::new();
        let sole = lab.life_that_leaves_an_unproven_orphan();
        assert_eq!(kill(&sole), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn an_unproven_orphan_is_left_alone_while_another_life_runs() {
    alone(|| {
        let lab = Lab::new();
        let (other, _) = lab.life("sleep", |_| {});
        let tree = lab.life_that_leaves_an_unproven_orphan();
        process::Handle::open(other.process)
            .expect("it")
            .signal(9)
            .expect("killed");
        assert_eq!(wait_for_exit(other), Status::Signal(9));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(lab.alive().len(), 1, "the other may have left it");
    });
}

#[test]
fn an_unproven_orphan_is_left_alone_once_a_helper_has_run() {
    alone(|| {
        let lab = Lab::new();
        let tree = lab.life_that_leaves_an_unproven_orphan();
        let (helper, _) = lab.life("exit 0", |_| {});
        assert_eq!(wait_for_exit(helper), Status::Code(0));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(lab.alive().len(), 1, "the helper may have left it");
    });
}

#[test]
fn other_lives_and_strangers_are_left_alone() {
    alone(|| {
        let lab = Lab::new();
        let (_victim, doomed) = lab.life("children 3 setsid sleep", |_| {});
        let (other, _) = lab.life("sleep", |plan| {
            plan.env.pop();
        });
        let mut stranger = std::process::Command::new(&lab.victim)
            .arg("sleep")
            .spawn()
            .expect("started");
        lab.wait_for_alive(7);
        assert_eq!(kill(&doomed), NOTHING_LEFT);
        let mut alive = lab.alive();
        alive.sort_unstable();
        assert_eq!(alive, [other.process.pid, stranger.id().cast_signed()]);
        stranger.kill().expect("killed");
        stranger.wait().expect("reaped");
    });
}

#[test]
fn item_94_as_the_first_process_strangers_are_reaped_and_never_killed() {
    alone_as_first_process(|| {
        assert_eq!(stayd::sys::identity::pid(), 1);
        let lab = Lab::new();
        let tree = lab.life_that_leaves_an_unproven_orphan();
        assert_eq!(kill(&tree), NOTHING_LEFT);
        let stranger = lab.alive();
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
