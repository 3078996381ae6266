//! Lives of the victim, with everything that a life gets, and the trees that come of them.

use super::{SOON, TempDir, plan, victim, wait_for_exit, wait_until};
use stayd::act::tree::{KillOutcome, Tree};
use stayd::sys::process::{self, Handle};
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::{Child, Plan, spawn};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

/// A lab that ends kills what is left, again and again if that forks.
const ROUNDS_MAX: usize = 200;

/// What a kill says that has ended everything.
pub(crate) const NOTHING_LEFT: KillOutcome = KillOutcome { left: 0, stuck: 0 };
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A folder that another user can enter, with the victim in it.
pub(crate) struct Lab {
    /// Its folder.
    pub(crate) dir: TempDir,
    /// The victim's copy in it: no other test's processes run that file.
    pub(crate) victim: PathBuf,
}

impl Lab {
    /// Makes it; from now on orphans land here.
    pub(crate) fn new() -> Self {
        reaper::become_subreaper().expect("subreaper");
        let dir = TempDir::new();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let own = dir.join("victim");
        fs::copy(victim(), &own)
            .expect("the victim: `cargo build --example victim`, or test everything");
        Self { dir, victim: own }
    }

    /// A life of the victim with everything that a life gets: claim file, token, session.
    pub(crate) fn life(&self, words: &str, change: impl FnOnce(&mut Plan)) -> (Child, Tree) {
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
    pub(crate) fn alive(&self) -> Vec<i32> {
        let path = self.victim.to_str().expect("a plain path");
        let runs = |pid: i32| process::command_line(pid).is_ok_and(|line| line.starts_with(path));
        process::all()
            .expect("/proc")
            .into_iter()
            .filter(|&pid| runs(pid))
            .collect()
    }

    /// Waits until so many run.
    pub(crate) fn wait_for_alive(&self, count: usize) {
        wait_until("the tree stands", SOON, || {
            reaper::reap_exited(64);
            self.alive().len() == count
        });
    }

    /// The main process has ended; its child is in a session of its own, holds nothing and carries nothing.
    pub(crate) fn life_that_leaves_an_unproven_orphan(&self) -> Tree {
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

    /// Waits until a process is in another session than the life's.
    pub(crate) fn wait_until_outside(&self, tree: &Tree) {
        let is_outside = |pid| process::stat(pid).is_ok_and(|stat| stat.sid != tree.session);
        wait_until("one has left the session", SOON, || {
            self.alive().into_iter().any(is_outside)
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let alive = self.alive();
            if alive.is_empty() {
                return;
            }
            for stat in alive.into_iter().flat_map(process::stat) {
                let _ = Handle::open(stat.process).and_then(|handle| handle.signal(libc::SIGKILL));
            }
        }
    }
}

/// Kills it here and now.
pub(crate) fn kill(tree: &Tree) -> KillOutcome {
    tree.clone().kill(SOON, &|_| {})
}
