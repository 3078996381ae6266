//! Who belongs to a life's tree, and its end.

use crate::support::{
    Cgroup, SOON, TempDir, alone, alone_as_first_process, free_port, plan, program, victim,
    wait_for, wait_for_exit, wait_until,
};
use nix::sys::resource::{Resource, setrlimit};
use stayd::act::tree::{KillOutcome, Tree};
use stayd::decide::ownership::Proof;
use stayd::sys::process;
use stayd::sys::reaper::{self, Reaped, Status};
use stayd::sys::spawn::{Child, Plan, User, spawn};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Mutex;

const NOTHING_LEFT: KillOutcome = KillOutcome { left: 0, stuck: 0 };
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A folder that another user can enter, with the victim in it.
struct Lab {
    dir: TempDir,
    victim: PathBuf,
}

impl Lab {
    fn new() -> Self {
        reaper::become_subreaper().expect("subreaper");
        let dir = TempDir::new();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let own = dir.join("victim");
        fs::copy(victim(), &own)
            .expect("the victim: `cargo build --example victim`, or test everything");
        Self { dir, victim: own }
    }

    /// A life of the victim with everything that a life gets: claim file, token, session.
    fn life(&self, words: &str, change: impl FnOnce(&mut Plan)) -> (Child, Tree) {
        let words: Vec<&str> = words.split(' ').collect();
        let mut plan = plan(&self.victim, &words, &self.dir.join("out"));
        let claim =
            File::create(self.dir.join(&format!("claim-{}", words.join("-")))).expect("claim");
        let meta = claim.metadata().expect("claim");
        plan.fds.push((3, claim.into()));
        plan.env
            .push(CString::new(format!("STAYD_TOKEN={TOKEN}")).expect("no NUL"));
        change(&mut plan);
        let uid = plan
            .user
            .as_ref()
            .map_or_else(stayd::sys::identity::euid, |user| user.uid);
        let child = spawn(plan).expect("spawned");
        let mut tree = Tree::new(child.process, uid);
        tree.claim_file = Some((meta.dev(), meta.ino()));
        tree.token = TOKEN.to_owned();
        (child, tree)
    }

    /// All that run this lab's victim, whoever their parents are; the dead have no command line.
    fn alive(&self) -> Vec<i32> {
        let path = self.victim.to_str().expect("a plain path");
        let runs = |pid: i32| process::command_line(pid).is_ok_and(|line| line.starts_with(path));
        process::all()
            .expect("/proc")
            .into_iter()
            .filter(|&pid| runs(pid))
            .collect()
    }

    fn wait_for_alive(&self, count: usize) {
        wait_until("the tree stands", SOON, || {
            reaper::drain(64);
            self.alive().len() == count
        });
    }

    /// The main process has ended; its child is in a session of its own, holds nothing and carries nothing.
    fn life_that_leaves_an_unproven_orphan(&self) -> Tree {
        let (gate, opener) = std::io::pipe().expect("pipe");
        let (child, mut tree) = self.life("gate double-fork close-fds sleep", |plan| {
            plan.fds[0].1 = gate.into();
            plan.env.pop();
        });
        drop(opener); // only now: the tree was made while the main process was our only child
        assert_eq!(wait_for_exit(child), Status::Code(0));
        self.wait_until_outside(&tree);
        tree.claim_file = None; // as if it had closed it already
        tree
    }

    fn wait_until_outside(&self, tree: &Tree) {
        let is_outside = |pid| process::stat(pid).is_ok_and(|stat| stat.sid != tree.session);
        wait_until("one has left the session", SOON, || {
            self.alive().into_iter().any(is_outside)
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for pid in self.alive() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
    }
}

fn kill(tree: &Tree) -> KillOutcome {
    tree.clone().kill(SOON, &|_| {})
}

#[test]
fn item_38_setsid_and_double_fork_are_killed() {
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
fn item_38_one_that_closed_every_descriptor_is_found_by_its_token() {
    alone(|| {
        let lab = Lab::new();
        let (child, mut tree) = lab.life("double-fork close-fds sleep", |_| {});
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let (helper, _) = lab.life("exit 0", |_| {});
        assert_eq!(wait_for_exit(helper), Status::Code(0)); // or it were the only one to leave orphans
        wait_until("it has closed them", SOON, || tree.members().is_empty());
        tree.token = "of another life".to_owned();
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert_eq!(lab.alive().len(), 1, "a stranger is left alone");
        tree.token = TOKEN.to_owned();
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn item_38_one_seen_in_time_is_remembered_without_any_other_proof() {
    alone(|| {
        let lab = Lab::new();
        let (child, mut tree) = lab.life("setsid close-fds sleep", |plan| {
            plan.env.pop();
        });
        lab.wait_for_alive(2);
        wait_until("seen below its parent", SOON, || {
            tree.remember();
            tree.members.len() == 1
        });
        process::Handle::open(child.process)
            .expect("main")
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
fn item_39_a_fork_bomb_is_ended() {
    if !nix::unistd::geteuid().is_root() {
        return; // needs a user of its own to be bounded by a limit of its own
    }
    alone(|| {
        const LIMIT: u64 = 400;
        let lab = Lab::new();
        setrlimit(Resource::RLIMIT_NPROC, LIMIT, LIMIT).expect("limit");
        let uid = 1_000_000 + std::process::id();
        let (_child, tree) = lab.life("bomb", |plan| {
            plan.user = Some(User {
                uid,
                gid: uid,
                groups: Vec::new(),
            });
        });
        wait_until("the bomb is full", SOON, || lab.alive().len() >= 350);
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn item_40_a_child_born_between_listing_and_killing_is_killed() {
    alone(|| {
        let lab = Lab::new();
        let (child, tree) = lab.life("restless", |_| {});
        assert_eq!(wait_for_exit(child), Status::Code(0));
        assert_eq!(kill(&tree), NOTHING_LEFT);
        assert!(lab.alive().is_empty());
    });
}

#[test]
fn a_cgroup_is_killed_as_one() {
    alone(|| {
        let Some(cgroup) = Cgroup::unified("kill") else {
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
fn kill_group_leaves_what_has_left_the_group() {
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
fn terminate_asks_every_member_once() {
    alone(|| {
        let lab = Lab::new();
        let (child, tree) = lab.life("children 2 sleep", |_| {});
        lab.wait_for_alive(3);
        assert_eq!(tree.terminate(15), 3);
        assert_eq!(wait_for_exit(child), Status::Signal(15));
        wait_until("all obey", SOON, || lab.alive().is_empty());
    });
}

#[test]
fn item_44_the_exit_comes_from_wait_while_a_grandchild_holds_the_output() {
    alone(|| {
        let lab = Lab::new();
        let (mut read, write) = std::io::pipe().expect("pipe");
        let (child, tree) = lab.life("double-fork say held sleep", |plan| {
            plan.fds[1].1 = OwnedFd::from(write)
        });
        assert_eq!(wait_for_exit(child), Status::Code(0));
        let mut line = [0; 5];
        std::io::Read::read_exact(&mut read, &mut line).expect("the grandchild's words");
        assert_eq!(&line, b"held\n");
        assert_eq!(lab.alive().len(), 1);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

#[test]
fn item_94_five_hundred_exits_at_once_and_none_is_lost_or_stolen() {
    const CHILDREN: i32 = 500;
    alone(|| {
        let lab = Lab::new();
        let (gate, opener) = std::io::pipe().expect("pipe");
        let mut expected = Vec::new();
        for number in 0..CHILDREN {
            let code = number % 200;
            let script = format!("read line; exit {code}");
            let mut plan = plan(&program("sh"), &["-c", &script], &lab.dir.join("out"));
            plan.fds[0].1 = gate.try_clone().expect("gate").into();
            let child = spawn(plan).expect("spawned");
            expected.push((child.process.pid, Status::Code(code)));
        }
        drop(opener);
        let heard = Mutex::new(Vec::new());
        let count = || heard.lock().expect("no panic").len();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    wait_until("every exit", SOON, || {
                        let ended = reaper::drain(64);
                        heard.lock().expect("no panic").extend(ended);
                        count() >= expected.len()
                    });
                });
            }
        });
        let heard = heard.into_inner().expect("no panic");
        assert!(heard.iter().all(|reaped| !reaped.in_flight));
        let mut heard: Vec<_> = heard
            .into_iter()
            .map(|reaped| (reaped.pid, reaped.status))
            .collect();
        heard.sort_by_key(|(pid, _)| *pid);
        expected.sort_by_key(|(pid, _)| *pid);
        assert_eq!(heard, expected);
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

#[test]
fn item_30_a_listener_is_known_to_be_the_trees_or_somebody_elses() {
    alone(|| {
        let lab = Lab::new();
        let port = free_port();
        let (_child, tree) = lab.life(&format!("setsid serve {port}"), |_| {});
        let holder = wait_for("the listener", SOON, || {
            tree.holds_listener(port).expect("listed")
        });
        assert_ne!(holder, tree.main);
        let ours = std::net::TcpListener::bind("127.0.0.1:0").expect("a stranger's");
        assert!(ours.as_raw_fd() > 2);
        let port = ours.local_addr().expect("bound").port();
        assert_eq!(tree.holds_listener(port).expect("listed"), None);
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}

#[test]
fn what_a_tree_uses_grows_while_it_works() {
    alone(|| {
        let lab = Lab::new();
        let (_child, tree) = lab.life("setsid spin", |_| {});
        let before = tree.usage().cpu;
        wait_until("CPU time", SOON, || {
            tree.usage().cpu > before + std::time::Duration::from_millis(100)
        });
        assert_eq!(kill(&tree), NOTHING_LEFT);
    });
}
