//! The process tree of an instance: which processes belong to it, what it uses, and how it is ended.

use crate::support::{
    Cgroup, Lab, NOTHING_LEFT, SOON, alone, alone_in_a_namespace_of_processes, free_port, kill,
    wait_for, wait_for_exit, wait_until,
};
use nix::sys::resource::{Resource, setrlimit};
use stayd::decide::ownership::Proof;
use stayd::sys::process;
use stayd::sys::reaper::{Reaped, Status};
use stayd::sys::schedule;
use stayd::sys::spawn::User;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

#[test]
fn descendants_that_call_setsid_or_fork_twice_are_killed() {
    alone(|| {
        let lab = Lab::new();
        let (_child, tree) = lab.life("setsid double-fork setsid ignore-term sleep", |_| {});
        lab.wait_for_alive(3);
        assert_eq!(
            tree.members()
                .iter()
                .filter(|member| member.is_alive())
                .count(),
            3
        );
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn an_orphan_that_closed_every_descriptor_is_found_by_its_token() {
    alone(|| {
        let lab = Lab::new();
        let (child, mut tree) = lab.life("double-fork close-fds sleep", |_| {});
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let (helper, _) = lab.life("exit 0", |_| {});
        // Without this other child, an orphan could only be of this instance and would need no token.
        assert_eq!(wait_for_exit(helper), Status::Code(0));
        wait_until("the orphan has closed its descriptors", SOON, || {
            tree.members().is_empty()
        });
        let token = std::mem::replace(&mut tree.token, "of another instance".to_owned());
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(
            lab.alive().len(),
            1,
            "a process with another token is left alone"
        );
        tree.token = token;
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn a_member_seen_while_its_parent_lived_is_killed_without_any_other_proof() {
    alone(|| {
        let lab = Lab::new();
        let (child, mut tree) = lab.life("setsid close-fds sleep", |plan| {
            plan.env.pop();
        });
        lab.wait_for_alive(2);
        wait_until("the child is remembered as a member", SOON, || {
            tree.remember();
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
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn a_fork_bomb_is_ended() {
    if !nix::unistd::geteuid().is_root() {
        return; // needs a user of its own to be bounded by a limit of its own
    }
    alone_in_a_namespace_of_processes(|| {
        const LIMIT: u64 = 300;
        let lab = Lab::new();
        setrlimit(Resource::RLIMIT_NPROC, LIMIT, LIMIT).expect("limit");
        // Without this the test would hardly get any CPU time beside the bomb.
        schedule::put_this_thread_first().expect("root may set the scheduler");
        let namespace = process_namespace();
        let uid = 1_000_000 + u32::try_from(namespace % 1_000_000).expect("small");
        let (_child, tree) = lab.life("bomb", |plan| {
            plan.user = Some(User {
                uid,
                gid: uid,
                groups: Vec::new(),
            });
        });
        wait_until("the bomb has reached its limit", SOON, || {
            lab.alive().len() >= 290
        });
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
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
        let lab = Lab::new();
        let (child, tree) = lab.life("restless", |_| {});
        assert_eq!(wait_for_exit(child), Status::Code(0));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn a_process_proven_by_its_cgroup_alone_is_killed_and_the_main_exit_reported() {
    alone(|| {
        let Some(cgroup) = Cgroup::unified_or_private("kill") else {
            return; // only who may make cgroups
        };
        let lab = Lab::new();
        let (_child, mut tree) = lab.life("setsid double-fork close-fds sleep", |plan| {
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
        assert!(lab.alive().is_empty());
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
        let lab = Lab::new();
        let (_child, mut tree) = lab.life("setsid sleep", |_| {});
        lab.wait_until_outside(&tree);
        tree.group_only = true;
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(lab.alive().len(), 1);
    });
}

#[test]
fn terminate_signals_every_member_once() {
    alone(|| {
        let lab = Lab::new();
        let (child, tree) = lab.life("children 2 sleep", |_| {});
        lab.wait_for_alive(3);
        assert_eq!(tree.terminate(15), 3);
        assert_eq!(wait_for_exit(child), Status::Signal(15));
        wait_until("all members have ended", SOON, || lab.alive().is_empty());
    });
}

#[test]
fn a_listener_is_attributed_to_the_member_of_the_tree_that_holds_it_or_to_none() {
    alone(|| {
        let lab = Lab::new();
        let port = free_port();
        let (_child, tree) = lab.life(&format!("setsid serve {port}"), |_| {});
        let holder = wait_for("the listener", SOON, || {
            tree.holds_listener(port).expect("listed")
        });
        assert_ne!(holder, tree.main);
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        assert!(foreign.as_raw_fd() > 2);
        let port = foreign.local_addr().expect("bound").port();
        assert_eq!(tree.holds_listener(port).expect("listed"), None);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

#[test]
fn the_cpu_time_of_a_tree_grows_while_it_works() {
    alone(|| {
        let lab = Lab::new();
        let (_child, tree) = lab.life("setsid spin", |_| {});
        let before = tree.usage().cpu;
        wait_until("the tree has used CPU time", SOON, || {
            tree.usage().cpu > before + std::time::Duration::from_millis(100)
        });
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}
