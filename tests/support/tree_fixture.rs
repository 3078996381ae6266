//! Instances of the test service with everything that stayd gives an instance, and the process trees that come of them.

use super::{SOON, TempDir, plan, test_service, wait_for_exit, wait_until};
use stayd::act::tree::{KillOutcome, Tree};
use stayd::sys::listen_fds::FIRST_INHERITED;
use stayd::sys::pipe::mark_for_child;
use stayd::sys::process::{self, Handle, InheritedFile};
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::{Child, Plan, spawn};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

/// How often a dropped fixture lists and kills what is left; a process that forks without end needs several passes.
const KILL_PASSES_MAX: usize = 200;

/// The outcome of a kill that ended everything.
pub(crate) const NOTHING_LEFT: KillOutcome = KillOutcome {
    left: 0,
    stuck: 0,
    refusal: None,
};
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A folder that another user can enter, with a copy of the test service in it. All processes of that copy are killed
/// when it is dropped.
pub(crate) struct TreeFixture {
    /// Its folder.
    pub(crate) dir: TempDir,
    /// The copy of the test service: no other test's processes run this file.
    pub(crate) program: PathBuf,
}

impl TreeFixture {
    /// Makes it, and makes this process the subreaper of its descendants.
    pub(crate) fn new() -> Self {
        reaper::become_subreaper().expect("subreaper");
        let dir = TempDir::new();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let program = dir.join("test_service");
        fs::copy(test_service(), &program).expect("a copy of the test service");
        Self { dir, program }
    }

    /// An instance of the test service with a claim file, a token and a session.
    pub(crate) fn spawn(&self, words: &str, change: impl FnOnce(&mut Plan)) -> (Child, Tree) {
        let words: Vec<&str> = words.split(' ').collect();
        let mut plan = plan(&self.program, &words, &self.dir.join("out"));
        let path = self.dir.join(&format!("claim-{}", words.join("-")));
        File::create(&path).expect("claim");
        let claim = File::open(path).expect("claim");
        mark_for_child(&claim).expect("marked");
        let meta = claim.metadata().expect("claim");
        plan.fds.push((FIRST_INHERITED, claim.into()));
        plan.env
            .push(CString::new(format!("STAYD_TOKEN={TOKEN}")).expect("no NUL"));
        change(&mut plan);
        let uid = plan
            .user
            .as_ref()
            .map_or_else(stayd::sys::identity::euid, |user| user.uid);
        let child = spawn(plan).expect("spawned");
        let mut tree = Tree::new(child.process, uid);
        tree.claim_file = Some(InheritedFile {
            dev: meta.dev(),
            ino: meta.ino(),
            number: FIRST_INHERITED,
        });
        tree.token = TOKEN.to_owned();
        (child, tree)
    }

    /// All processes that run this copy, whatever their parents. Zombies have no command line and are not counted.
    pub(crate) fn alive(&self) -> Vec<i32> {
        let path = self.program.to_str().expect("a plain path");
        let runs = |pid: i32| process::command_line(pid).is_ok_and(|line| line.starts_with(path));
        process::all()
            .expect("/proc")
            .into_iter()
            .filter(|&pid| runs(pid))
            .collect()
    }

    /// Waits until that many run.
    pub(crate) fn wait_for_alive(&self, count: usize) {
        wait_until("the tree is complete", SOON, || {
            reaper::reap_exited(64);
            self.alive().len() == count
        });
    }

    /// The tree of an instance whose main process has exited. Its child is in a session of its own, has no token in its
    /// environment and no descriptor of the claim file.
    pub(crate) fn instance_that_leaves_an_unproven_orphan(&self) -> Tree {
        let (stdin, stdin_writer) = std::io::pipe().expect("pipe");
        let (child, mut tree) = self.spawn("wait-for-eof double-fork close-fds sleep", |plan| {
            plan.fds[0].1 = stdin.into();
            plan.env.pop();
        });
        drop(stdin_writer); // only now: the Tree is made while the main process is the only child
        assert_eq!(wait_for_exit(child), Status::Code(0));
        self.wait_until_outside(&tree);
        tree.claim_file = None; // the orphan may not have closed its descriptor yet
        tree
    }

    /// Waits until a process is in another session than the instance's.
    pub(crate) fn wait_until_outside(&self, tree: &Tree) {
        let is_outside = |pid| process::stat(pid).is_ok_and(|stat| stat.sid != tree.session);
        wait_until("a process has left the session", SOON, || {
            self.alive().into_iter().any(is_outside)
        });
    }
}

impl Drop for TreeFixture {
    fn drop(&mut self) {
        for _ in 0..KILL_PASSES_MAX {
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

/// Kills the tree on this thread.
pub(crate) fn kill(tree: &Tree) -> KillOutcome {
    tree.clone().kill(SOON, &|_| {})
}
