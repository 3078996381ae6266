//! The process tree of an instance: which processes belong to it, what it uses, and how it is ended.

use crate::support::{
    Cgroup, NOTHING_LEFT, SOON, TreeFixture, alone, alone_in_pid_namespace, free_port, kill,
    wait_for_exit, wait_until,
};
use nix::sys::resource::{Resource, setrlimit};
use stayd::decide::ownership::Proof;
use stayd::sys::process;
use stayd::sys::reaper::{Reaped, Status};
use stayd::sys::schedule;
use stayd::sys::socket;
use stayd::sys::spawn::User;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

#[test]
fn descendants_that_call_setsid_or_fork_twice_are_killed() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_child, tree) = fixture.spawn("setsid double-fork setsid ignore-term sleep", |_| {});
        fixture.wait_for_alive(3);
        assert_eq!(
            tree.members()
                .iter()
                .filter(|member| member.is_alive())
                .count(),
            3
        );
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
    });
}

#[test]
fn an_orphan_that_closed_every_descriptor_is_found_by_its_token() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (child, mut tree) = fixture.spawn("double-fork close-fds sleep", |_| {});
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let (helper, _) = fixture.spawn("exit 0", |_| {});
        // Without this other child, an orphan could only be of this instance and would need no token.
        assert_eq!(wait_for_exit(helper), Status::Code(0));
        wait_until("the orphan has closed its descriptors", SOON, || {
            tree.members().is_empty()
        });
        let token = std::mem::replace(&mut tree.token, "of another instance".to_owned());
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(
            fixture.alive().len(),
            1,
            "a process with another token is left alone"
        );
        tree.token = token;
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
    });
}

#[test]
fn a_member_seen_while_its_parent_lived_is_killed_without_any_other_proof() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (child, mut tree) = fixture.spawn("setsid close-fds sleep", |plan| {
            plan.env.pop();
        });
        fixture.wait_for_alive(2);
        wait_until("the child is remembered as a member", SOON, || {
            tree.update_members();
            tree.members.len() == 1
        });
        process::Handle::open(child.process)
            .expect("the main process")
            .signal(9)
            .expect("killed");
        assert_eq!(wait_for_exit(child), Status::Signal(9));
        let members = tree.members();
        assert_eq!(
            members
                .iter()
                .map(|member| member.proof)
                .collect::<Vec<_>>(),
            [Proof::Member]
        );
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
    });
}

/// The limit on processes counts per user: the test runs the bomb as a user of its own.
#[test]
#[ignore = "needs root"]
fn a_fork_bomb_is_ended() {
    alone_in_pid_namespace(|| {
        const LIMIT: u64 = 300;
        let fixture = TreeFixture::new();
        setrlimit(Resource::RLIMIT_NPROC, LIMIT, LIMIT).expect("limit");
        // Without this the test would hardly get any CPU time beside the bomb.
        schedule::use_realtime_priority().expect("root may set the scheduler");
        let namespace = process_namespace();
        let uid = 1_000_000 + u32::try_from(namespace % 1_000_000).expect("small");
        let (_child, tree) = fixture.spawn("bomb", |plan| {
            plan.user = Some(User {
                uid,
                gid: uid,
                groups: Vec::new(),
            });
        });
        wait_until("the bomb has reached its limit", SOON, || {
            fixture.alive().len() >= 290
        });
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
    });
}

/// The inode of the pid namespace: test runs at the same time have different ones.
fn process_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let namespace = std::fs::metadata("/proc/self/ns/pid");
    namespace.expect("a namespace").ino()
}

#[test]
fn a_process_forked_between_listing_and_killing_is_killed() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (child, tree) = fixture.spawn("restless", |_| {});
        assert_eq!(wait_for_exit(child), Status::Code(0));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
    });
}

#[test]
#[ignore = "needs root"]
fn a_process_proven_by_its_cgroup_alone_is_killed_and_the_main_exit_reported() {
    alone(|| {
        let cgroup = Cgroup::unified("kill");
        let fixture = TreeFixture::new();
        let (_child, mut tree) = fixture.spawn("setsid double-fork close-fds sleep", |plan| {
            plan.cgroup = Some(File::open(cgroup.path()).expect("cgroup").into());
            plan.env.pop();
        });
        tree.cgroup = Some(cgroup.path().to_owned());
        wait_until("the orphan has no other proof", SOON, || {
            let members = tree.members();
            members.iter().any(|member| member.proof == Proof::Cgroup)
        });
        let exits = Mutex::new(Vec::new());
        let outcome = tree
            .clone()
            .kill(SOON, &|reaped| exits.lock().expect("no panic").push(reaped));
        assert_eq!(outcome, NOTHING_LEFT);
        assert!(fixture.alive().is_empty());
        let main = |reaped: &Reaped| reaped.pid == tree.main.pid;
        let exits = exits.into_inner().expect("no panic");
        assert!(
            exits
                .iter()
                .any(|reaped| main(reaped) && reaped.status == Status::Signal(9))
        );
    });
}

#[test]
fn a_kill_of_the_process_group_only_leaves_other_groups_alone() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_child, mut tree) = fixture.spawn("setsid sleep", |_| {});
        fixture.wait_until_outside(&tree);
        tree.group_only = true;
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(fixture.alive().len(), 1);
    });
}

#[test]
fn terminate_signals_every_member_once() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (child, tree) = fixture.spawn("children 2 sleep", |_| {});
        fixture.wait_for_alive(3);
        assert_eq!(tree.terminate(15), 3);
        assert_eq!(wait_for_exit(child), Status::Signal(15));
        wait_until("all members have ended", SOON, || {
            fixture.alive().is_empty()
        });
    });
}

#[test]
fn a_listener_belongs_to_the_tree_if_a_member_holds_it() {
    alone(|| {
        let fixture = TreeFixture::new();
        let port = free_port();
        let (_child, tree) = fixture.spawn(&format!("setsid serve {port}"), |_| {});
        let held = |port: u16| {
            let listeners = socket::listeners(port).expect("listed");
            tree.held_listeners(&listeners).expect("read").held
        };
        wait_until("the listener", SOON, || held(port).len() == 1);
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        assert!(foreign.as_raw_fd() > 2);
        let port = foreign.local_addr().expect("bound").port();
        assert_eq!(held(port), []);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

#[test]
fn the_cpu_time_of_a_tree_grows_while_it_works() {
    alone(|| {
        let fixture = TreeFixture::new();
        let (_child, tree) = fixture.spawn("setsid spin", |_| {});
        let before = tree.usage().cpu;
        wait_until("the tree has used CPU time", SOON, || {
            tree.usage().cpu > before + std::time::Duration::from_millis(100)
        });
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}
